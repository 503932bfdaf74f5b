"""Loading: the file, the environment, and every fault at once with its key and a remedy."""

from __future__ import annotations

import re
import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest

from relay import wiring
from relay.config import ConfigFaults, load, read_secret
from relay.config.faults import toml_value
from relay.config.load import parse
from relay.config.model import Config
from relay.config.printed import groups
from relay.core.errors import ConfigFault
from relay.primary.settings import TlsMode

SMALLEST = '[node]\nhostname = "mx1.example.org"\n'


def faults_of(text: str) -> dict[str, str]:
    with pytest.raises(ConfigFaults) as caught:
        parse(text)
    return {fault.key: str(fault) for fault in caught.value.faults}


def test_the_smallest_configuration() -> None:
    config = parse(SMALLEST)
    assert config.primary is None
    assert config.database == Path("/var/lib/relay/relay.db")
    assert config.failover.probe_interval == 2
    assert config.retention.spool == 30 * 86_400
    assert config.limits.message_size == 50_000_000
    assert config.listen.mx == ()
    assert [str(bind) for bind in config.listen.http] == ["127.0.0.1:8080"]


def test_a_node_has_a_name() -> None:
    assert parse(SMALLEST).node.name
    assert parse(SMALLEST + 'name = "edge-1"').node.name == "edge-1"
    assert "not a name" in faults_of(SMALLEST + 'name = "a/b"')["node.name"]


def test_what_the_file_says() -> None:
    config = parse(
        SMALLEST
        + """
        [store]
        url = "sqlite:////srv/relay/x.db"
        [domains]
        accept = ["Example.ORG", "example.net"]
        [primary.smtp]
        host = "10.0.0.5"
        tls = "implicit"
        [listen]
        mx = ["0.0.0.0:25", "[::]:25"]
        [proxy_protocol]
        mx = ["10.0.0.0/8", "2001:db8::/32"]
        """
    )
    assert config.database == Path("/srv/relay/x.db")
    assert config.domains.accept == ("example.org", "example.net")
    assert config.home_domain == "example.org"
    assert config.primary is not None
    assert config.primary.smtp is not None
    assert (config.primary.smtp.port, config.primary.smtp.tls) == (25, TlsMode.IMPLICIT)
    assert config.primary.imap is None
    assert config.listen.mx[1] == ("::", 25)
    assert config.proxy_protocol.mx == (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))


def test_the_environment_wins_and_reaches_every_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(SMALLEST + '[primary.smtp]\nhost = "10.0.0.5"\nport = 26\n')
    monkeypatch.setenv("RELAY_PRIMARY__SMTP__HOST", "10.0.0.9")
    monkeypatch.setenv("RELAY_PRIMARY__IMAP__HOST", "10.0.0.8")
    monkeypatch.setenv("RELAY_LISTEN__MX", "0.0.0.0:25, [::]:25")
    monkeypatch.setenv("RELAY_DOMAINS__ACCEPT", '["example.org"]')
    monkeypatch.setenv("RELAY_LIMITS__MESSAGE_SIZE", "10MB")
    monkeypatch.setenv("RELAY_NODE__WORKERS", "4")
    monkeypatch.setenv("RELAY_LOGIN__REMEMBER", "false")
    config = load(file)
    assert config.primary is not None
    assert config.primary.smtp is not None
    assert config.primary.imap is not None
    assert (config.primary.smtp.host, config.primary.smtp.port) == ("10.0.0.9", 26)
    assert config.primary.imap.host == "10.0.0.8"
    assert [str(bind) for bind in config.listen.mx] == ["0.0.0.0:25", "[::]:25"]
    assert config.domains.accept == ("example.org",)
    assert config.limits.message_size == 10_000_000
    assert config.node.workers == 4
    assert config.login.remember is False


def test_the_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_NODE__HOSTNAME", "mx1.example.org")
    assert load(None).node.hostname == "mx1.example.org"


def test_all_faults_at_once_each_with_a_remedy() -> None:
    found = faults_of(
        """
        [node]
        hostnam = "x"
        workers = 0
        [listen]
        mx = ["0.0.0.0"]
        [primary.smtp]
        port = 70000
        tls = "ssl"
        [failover]
        timeout = 3
        [limits]
        message_size = "50"
        [proxy_protocol]
        mx = ["10.0.0.1/8"]
        [domains]
        accept = ["a b"]
        [nod]
        x = 1
        """
    )
    assert found["node.hostname"] == 'node.hostname: missing. Write hostname = "mx1.example.org"'
    assert found["node.hostnam"] == "node.hostnam: no such key. Did you mean hostname?"
    assert found["nod"] == "nod: no such key. Did you mean node?"
    assert found["primary.smtp.port"] == "primary.smtp.port: 70000 is not a port. Write a number from 1 to 65535"
    assert "Choose 'none', 'opportunistic', 'starttls' or 'implicit'" in found["primary.smtp.tls"]
    assert 'Write it in quotes, with its unit where it has one: "3s"' in found["failover.timeout"]
    assert "units: B, kB" in found["limits.message_size"]
    assert "host:port" in found["listen.mx[0]"]
    assert " ".join(sorted(found)) == (
        "domains.accept[0] failover.timeout limits.message_size listen.mx[0] nod node.hostnam node.hostname "
        "node.workers primary.smtp.host primary.smtp.port primary.smtp.tls proxy_protocol.mx[0]"
    )


def test_certificates_by_name() -> None:
    pair = SMALLEST + '[tls]\ncertificate = "a.pem"\nprivate_key = "a.key"\n'
    more = [("b.pem", "b.key"), ("c.pem", "c.key")]
    tables = "".join(f'[[tls.more]]\ncertificate = "{c}"\nprivate_key = "{k}"\n' for c, k in more)
    for text in (pair + tables, pair + f"more = {toml_value([{'certificate': c, 'private_key': k} for c, k in more])}"):
        config = parse(text)
        assert [(str(one.certificate), str(one.private_key)) for one in config.tls.more] == more
        assert [(str(one.certificate), one.where) for one in wiring.certificates(config)] == [
            ("a.pem", "tls"),
            ("b.pem", "tls.more[0]"),
            ("c.pem", "tls.more[1]"),
        ]
    assert wiring.certificates(parse(SMALLEST)) == []


def test_a_fault_in_a_list_of_sections_names_its_place() -> None:
    pair = SMALLEST + '[tls]\ncertificate = "a.pem"\nprivate_key = "a.key"\n'
    found = faults_of(pair + '[[tls.more]]\ncertificate = "b.pem"\nprivate_kez = "b.key"\n')
    assert found["tls.more[0].private_kez"] == "tls.more[0].private_kez: no such key. Did you mean private_key?"
    assert found["tls.more[0].private_key"].endswith('missing. Write private_key = "certs/imap.key"')
    assert faults_of(pair + 'more = ["b.pem"]') == {
        "tls.more[0]": "tls.more[0]: must be a section. Write [[tls.more]] and its keys below"
    }


@pytest.mark.parametrize(
    ("text", "keys", "words"),
    [
        ('[listen]\nmx = ["127.0.0.1:25"]', "domains.accept", "domains.accept is empty"),
        ('[listen]\nimaps = ["127.0.0.1:993"]', "listen.imaps", "needs a certificate"),
        (
            '[listen]\nhttps = ["127.0.0.1:443"]\nsubmissions = ["127.0.0.1:465"]',
            "listen.submissions listen.https",
            "needs a certificate",
        ),
        ('[listen]\nimap = ["127.0.0.1:143"]\n[imap]\nplaintext_auth = "never"', "listen.imap", "nobody could log in"),
        ('[tls]\ncertificate = "a.pem"', "tls.private_key", "go together"),
        ('[tls]\nprivate_key = "a.key"', "tls.certificate", "go together"),
        ('[[tls.more]]\ncertificate = "a.pem"\nprivate_key = "a.key"', "tls.more", "not instead of them"),
        (
            '[primary.imap]\nhost = "a"\naccess = "master"',
            "primary.imap.master_user primary.imap.master_password_file",
            "master_password_file",
        ),
        ('[primary.imap]\nhost = "a"\naccess = "user"', "primary.imap.access", "access = user is not offered"),
        ('[primary.imap]\nhost = "a"\nprobe_user = "p"', "primary.imap.probe_password_file", "go together"),
        ('[primary.imap]\nhost = "a"\nprobe_password_file = "p"', "primary.imap.probe_user", "go together"),
        ('[domains]\nunknown_recipients = "reject"', "domains.recipients_file", "recipients_file"),
        ('[retention]\nspool = "2d"', "retention.warn", "shorter than retention.spool"),
        ('[replay]\nmost_delay = "1s"', "replay.most_delay", "shorter than replay.first_delay"),
        ('[store]\nurl = "mysql://x"', "store.url", '"mysql" is not a store'),
    ],
)
def test_what_does_not_fit_together(text: str, keys: str, words: str) -> None:
    found = faults_of(SMALLEST + text)
    assert list(found) == keys.split()
    assert all(words in fault for fault in found.values())


def test_what_does_not_fit_together_is_said_beside_all_other_faults() -> None:
    found = faults_of(
        """
        [listen]
        imaps = ["0.0.0.0:993"]
        [primary.imap]
        access = "user"
        [primary.smtp]
        port = "x"
        [retention]
        warn = "30d"
        [limits]
        memory = "1B"
        """
    )
    assert list(found) == [
        "node.hostname",
        "primary.smtp.host",
        "primary.smtp.port",
        "primary.imap.host",
        "primary.imap.access",
        "listen.imaps",
        "retention.warn",
        "limits.memory",
    ]


def test_nothing_is_said_about_what_rests_on_a_value_that_could_not_be_read() -> None:
    found = faults_of(
        SMALLEST
        + """
        [listen]
        mx = ["127.0.0.1:25"]
        imaps = ["127.0.0.1:993"]
        [domains]
        accept = ["a b"]
        [tls]
        certificate = 5
        private_key = "a.key"
        [retention]
        spool = "2 days"
        """
    )
    assert list(found) == ["tls.certificate", "domains.accept[0]", "retention.spool"]


def test_a_clash_that_the_environment_made_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_RETENTION__WARN", "90d")
    assert faults_of(SMALLEST)["retention.warn"].endswith("(it was set by RELAY_RETENTION__WARN)")


@pytest.mark.parametrize(
    ("section", "line", "least"),
    [
        ("failover", 'timeout = "0s"', "100ms"),
        ("failover", 'probe_interval = "0s"', "100ms"),
        ("limits", 'message_size = "0B"', "64kB"),
        ("limits", 'memory = "1B"', "1MB"),
        ("login", 'max_age = "0s"', "1m"),
        ("retention", 'spool = "0d"', "1h"),
        ("imap", 'quota = "1B"', "1MB"),
    ],
)
def test_what_nobody_can_mean(section: str, line: str, least: str) -> None:
    found = faults_of(f"{SMALLEST}[{section}]\n{line}\n")[f"{section}.{line.split(maxsplit=1)[0]}"]
    assert f'is less than "{least}". Write "{least}" or more' in found


def test_whatever_is_written_for_a_key_is_taken_or_refused_in_words_for_it() -> None:
    """Values of every TOML type for every key: the fault is about that key, says what is wrong and what to do."""
    for group in groups():
        for key in group.keys:
            for value in ("5", "-1", "1.5", "true", '""', '"x y"', '"0s"', "[]", "[5]", "{ x = 1 }", "1979-05-27"):
                data = tomllib.loads(SMALLEST)
                inside = data
                for part in key.path.split(".")[:-1]:
                    inside = inside.setdefault(part, {})
                inside[key.name] = tomllib.loads(f"it = {value}")["it"]
                try:
                    Config(**data)
                except ConfigFaults as caught:
                    for fault in caught.faults:
                        assert fault.key.split(".")[0] in Config.model_fields, (key.path, value, fault)
                        assert fault.problem, (key.path, value, fault)
                        assert fault.hint, (key.path, value, fault)
                        assert not re.search(r"<class|pydantic|Undefined|object at", str(fault)), str(fault)
                        assert fault.key not in Config.model_fields, fault


def test_a_fault_from_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_NODE__HOSTNAME", "mx1.example.org")
    monkeypatch.setenv("RELAY_FAILOVER__TIMEOUT", "3")
    monkeypatch.setenv("RELAY_FAILOVR__FAILURES", "3")
    with pytest.raises(ConfigFaults) as caught:
        load(None)
    text = str(caught.value)
    assert "RELAY_FAILOVR__FAILURES: no such section. Did you mean FAILOVER?" in text
    assert "failover.timeout" in text
    assert "(it was set by RELAY_FAILOVER__TIMEOUT)" in text


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match=r"No such file.*relay config sample"):
        load(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[node]\nhostname = mx1\n")
    with pytest.raises(ConfigFaults, match=r"broken.toml: is not TOML: .*line 2.*quotes"):
        load(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigFaults, match="UTF-8"):
        load(broken)


def test_secrets_are_read_from_files_and_never_quoted(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2 \nsecond line\n")
    assert read_secret(file, "primary.imap.master_password_file") == "hunter2 "
    for content in (b"", b"\n", b"\xff\xff", b"hunter2" * 1000):
        file.write_bytes(content)
        with pytest.raises(ConfigFault, match=r"^primary\.imap\.master_password_file: ") as caught:
            read_secret(file, "primary.imap.master_password_file")
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigFault, match="cannot be read"):
        read_secret(tmp_path / "none", "key")
