"""Image, compose file and unit say what the documents promise. `deploy/prove-container.sh` runs the image."""

from __future__ import annotations

import configparser
import itertools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from relay.config.load import load, parse
from tests.house.sources import ROOT

DEPLOY = ROOT / "deploy"
SECONDS_TO_DRAIN = 45
HEALTH = ["relay", "status", "--live", "-c", "/etc/relay/relay.toml"]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, rest), continuation lines joined, comments gone."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def final_stage() -> list[tuple[str, str]]:
    """What comes after the last FROM."""
    all_of_them = instructions()
    last = max(i for i, (word, _) in enumerate(all_of_them) if word == "FROM")
    return all_of_them[last:]


def compose() -> dict[str, Any]:
    loaded = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def pins(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Package to version and hashes of a lock file."""
    found = {}
    for block in re.split(r"^(?=[A-Za-z0-9_.-]+==)", path.read_text(), flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition("==")
        found[name] = (rest.split()[0], frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", block)))
    return found


def test_what_builds_the_wheel_is_pinned_as_for_development() -> None:
    build, dev = pins(DEPLOY / "requirements-build.lock"), pins(ROOT / "requirements-dev.lock")
    assert "hatchling" in build
    assert {name: dev.get(name) for name in build} == build


def test_the_image_installs_by_hash() -> None:
    runs = [rest for word, rest in instructions() if word == "RUN"]
    calls = [shlex.split(part.replace("\\\n", " ")) for rest in runs for part in rest.split("&&") if " pip " in part]
    assert len(calls) == 4
    for words in calls:
        assert {"--require-hashes", "--only-binary"} <= set(words) or {"--no-deps", "--no-index"} <= set(words), words
        # Only what has no wheel is built, and with what the lock file pins.
        built = [value for word, value in itertools.pairwise(words) if word == "--no-binary"]
        assert built == (["dkimpy"] if "wheel" in words else [])
        assert ("--no-build-isolation" in words) is bool(built)


def test_the_final_stage_is_a_user_and_its_files() -> None:
    stage = dict(final_stage())
    assert stage["USER"] == "10001:10001"
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert stage["ENTRYPOINT"] == '["relay"]'
    assert stage["CMD"] == '["run", "-c", "/etc/relay/relay.toml"]'
    assert stage["VOLUME"] == "/var/lib/relay"
    _, _, health = stage["HEALTHCHECK"].partition("CMD ")
    assert json.loads(health) == HEALTH
    assert [rest for word, rest in final_stage() if word in ("COPY", "ADD")] == ["--from=build /opt/relay /opt/relay"]
    assert "pip" not in stage["RUN"]


def test_only_listed_files_enter_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source.removeprefix("./")
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_the_service_has_no_privilege_and_writes_only_to_its_volumes() -> None:
    relay = compose()["services"]["relay"]
    assert relay["read_only"] is True
    assert relay["cap_drop"] == ["ALL"]
    assert "cap_add" not in relay
    assert relay["security_opt"] == ["no-new-privileges:true"]
    assert relay["sysctls"] == {"net.ipv4.ip_unprivileged_port_start": 0}
    writable = [volume for volume in relay["volumes"] if not volume.endswith(":ro")]
    assert writable == ["data:/var/lib/relay", "key:/var/lib/relay-key"]
    for volume in writable:  # or the engine would make the mount point root's
        assert re.search(
            rf"install -d -o 10001 -g 10001 -m 0700 {volume.partition(':')[2]}(\s|$)", dict(final_stage())["RUN"]
        )
    assert relay["healthcheck"]["test"] == ["CMD", *HEALTH]
    for service in compose()["services"].values():
        for port in service["ports"]:
            host = port.split(":")
            assert len(host) == 2 or host[0] == "127.0.0.1", port


def test_the_compose_file_and_its_configuration_agree() -> None:
    relay = compose()["services"]["relay"]
    config = load(DEPLOY / "relay.example.toml")
    listen = config.listen
    ours = [
        bind.port
        for binds in (listen.mx, listen.submission, listen.submissions, listen.imap, listen.imaps, listen.http)
        for bind in binds
    ]
    assert sorted(int(port.rsplit(":", 1)[1]) for port in relay["ports"]) == sorted(ours)
    inside = {volume.split(":")[1] for volume in relay["volumes"]}
    assert str(config.node.data_dir) in inside
    assert str(config.vault.key_file.parent) in inside
    assert config.tls.certificate is not None
    assert config.tls.private_key is not None
    for file in (config.tls.certificate, config.tls.private_key):  # a file mounted by itself is never renewed inside
        assert f"./secrets/tls:{file.parent}:ro" in relay["volumes"]
        assert str(file) not in inside


def test_the_way_to_the_set_up_pages_is_shown_where_it_is_switched_on() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    assert re.search(r'^      # - "443:443" +# with listen\.https: .*docs/clients\.md', text, re.MULTILINE)
    example = (DEPLOY / "relay.example.toml").read_text()
    assert re.search(r'^# https = \["0\.0\.0\.0:443"\]', example, re.MULTILINE)
    assert load(DEPLOY / "relay.example.toml").listen.https == ()


def test_nobody_is_left_to_believe_that_alerts_reach_them() -> None:
    loaded = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    told = "`alertmanagers: []`" in (DEPLOY / "compose.yaml").read_text().partition("\nname:")[0]
    assert told is (loaded["alerting"]["alertmanagers"] == [])


def test_mounted_files_of_the_monitoring_are_shipped() -> None:
    services = compose()["services"]
    for name in ("prometheus", "grafana"):
        for volume in services[name]["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("./") and "secrets" not in source:
                assert (DEPLOY / source).is_dir(), volume
    assert {volume.split(":")[0] for s in services.values() for volume in s["volumes"] if volume[0] != "."} == set(
        compose()["volumes"]
    )


def unit() -> configparser.RawConfigParser:
    class Many(dict[str, str]):
        """Keeps repeated keys, one per line, as systemd does."""

        def __setitem__(self, key: str, value: Any) -> None:
            if isinstance(value, list) and key in self:
                value = [*self[key], *value]
            super().__setitem__(key, value)

    parser = configparser.RawConfigParser(strict=False, dict_type=Many)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep the case of keys
    parser.read(DEPLOY / "systemd" / "relay.service")
    return parser


def test_the_unit_confines_the_service() -> None:
    service = unit()["Service"]
    assert service["ExecStart"] == "/opt/relay/bin/relay run -c /etc/relay/relay.toml"
    assert service["User"] == "relay"
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["LimitCORE"] == "0"
    assert service["Restart"] == "always"
    # A credential is read at the start only: no renewed certificate and no new key would reach the service.
    assert not [name for name in service if name.startswith("LoadCredential")]
    assert service["ExecReload"] == "kill -HUP $MAINPID"


def installing() -> str:
    """The commands of docs/install.md."""
    blocks = re.findall(
        r"^```([a-z]*)\n(.*?)^```", (ROOT / "docs" / "install.md").read_text(), re.DOTALL | re.MULTILINE
    )
    return "\n".join(text for language, text in blocks if not language)


def test_the_installation_makes_what_the_unit_and_the_documents_name() -> None:
    commands = installing()
    assert "ln -s /opt/relay/bin/relay /usr/local/bin/relay" in commands
    documents = unit()["Unit"]["Documentation"].removeprefix("file://")
    assert f"install -d {documents}\n" in commands
    (block,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "install.md").read_text(), re.DOTALL)
    config = parse('[node]\nhostname = "mx1.example.org"\n' + block)
    assert f"install -d -o relay -g relay -m 0700 {config.node.data_dir} {config.vault.key_file.parent}\n" in commands
    assert config.tls.private_key is not None
    assert f"install -d -o root -g relay -m 0750 {config.tls.private_key.parent}\n" in commands
    for file in (config.tls.certificate, config.tls.private_key):
        assert re.search(rf"install -o root -g relay -m 0640 \S+ {file}\n", commands)
    assert commands.index("relay keys init") < commands.index("relay check") < commands.index("systemctl enable --now")


def test_the_renewal_is_said_for_both_deployments() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    certificates = text[text.index("## Certificates") : text.index("## Logins")]
    assert "systemctl reload relay" in certificates
    assert "docker compose kill -s HUP relay" in certificates


def test_everybody_gives_the_same_time_to_drain() -> None:
    assert unit()["Service"]["TimeoutStopSec"] == f"{SECONDS_TO_DRAIN}s"
    assert compose()["services"]["relay"]["stop_grace_period"] == f"{SECONDS_TO_DRAIN}s"
    assert f"--stop-timeout {SECONDS_TO_DRAIN}" in (ROOT / "Dockerfile").read_text()


def test_the_configuration_in_the_readme_is_complete() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    config = parse(block)
    assert config.primary is not None
    assert config.primary.smtp is not None
    assert config.primary.smtp.port == 25
