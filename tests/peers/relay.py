"""The relay itself, as its operator runs it: `python -m relay run -c FILE` in a process group of its own.

In: a primary's ports and keys of the configuration. Out: a running relay on loopback ports, its key, configuration,
data and log in one temporary directory; and the commands and pages that an operator has.

1. `kill` is SIGKILL for every process of it, as a power cut would be without its effect on disks.
2. Ports stay the same after every restart.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from relay.config.faults import toml_value
from relay.vault.keys import init_key_file
from tests.peers import people
from tests.peers.certs import Pair
from tests.peers.ports import LOOPBACK, free_port
from tests.peers.process import PATIENCE, Peer, PeerFailed, PeerProcess

Config = Mapping[str, Mapping[str, Any]]
"""Section (dotted) to its keys."""
_OWED: Final = ("pending", "intent", "unknown", "held", "quarantined")
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelaySettings:
    """What a test may want different."""

    smtp_port: int | None = None
    """The primary's SMTP; None: there is no primary."""
    imap_port: int | None = None
    """The primary's IMAP, with the master user of `people`."""
    workers: int = 1
    certificate: Pair | None = None
    domains: tuple[str, ...] = (people.DOMAIN, people.OTHER_DOMAIN)
    data_dir: Path | None = None
    """Elsewhere than in the temporary directory: a file system that will be broken."""
    config: Config = dataclasses.field(default_factory=dict)
    """Keys that win over ours."""
    prefix: tuple[str, ...] = ()
    """Command that runs the relay, such as strace."""


class Relay(Peer):
    """One relay. `start` it; `mx_port`, `imap_port` and `http_port` are where it listens."""

    _stop_seconds = 45.0  # what docs/install.md tells operators to allow it

    def __init__(self, settings: RelaySettings) -> None:
        super().__init__("rl")
        self.settings = settings
        self.data_dir = settings.data_dir or self.directory / "data"
        self.mx_port, self.imap_port, self.http_port = free_port(), free_port(), free_port()
        self.config_file = self.directory / "relay.toml"
        self.log = self.directory / "relay.log"
        self.key_file = self.directory / "relay.key"
        self.data_dir.mkdir(exist_ok=True)
        init_key_file(self.key_file)
        secret = self.directory / "master.secret"
        secret.write_text(people.MASTER_PASSWORD)
        secret.chmod(0o600)
        self.config_file.write_text(_toml(self._config(secret)))

    def _config(self, secret: Path) -> dict[str, dict[str, Any]]:
        s = self.settings
        config: dict[str, dict[str, Any]] = {
            "node": {
                "name": "edge-test",
                "hostname": "mx1.example.org",
                "data_dir": str(self.data_dir),
                "workers": s.workers,
            },
            "vault": {"key_file": str(self.key_file)},
            "domains": {"accept": list(s.domains)},
            "listen": {
                "mx": [f"{LOOPBACK}:{self.mx_port}"],
                "imap": [f"{LOOPBACK}:{self.imap_port}"],
                "http": [f"{LOOPBACK}:{self.http_port}"],
            },
            # Everything here comes from one address.
            "limits": {"connections_per_address": 0, "user_connections_per_address": 0},
            "failover": {"probe_interval": "200ms", "timeout": "1s"},
            "replay": {"first_delay": "200ms", "most_delay": "1s"},
            "log": {"format": "json"},
        }
        if s.smtp_port is not None:
            config["primary.smtp"] = {"host": LOOPBACK, "port": s.smtp_port, "tls": "none"}
        if s.imap_port is not None:
            config["primary.imap"] = {
                "host": LOOPBACK,
                "port": s.imap_port,
                "tls": "none",
                "access": "master",
                "master_user": people.MASTER_USER,
                "master_password_file": str(secret),
            }
        if s.certificate is not None:
            config["tls"] = {
                "certificate": str(s.certificate.certificate),
                "private_key": str(s.certificate.private_key),
            }
        for section, keys in s.config.items():
            config.setdefault(section, {}).update(keys)
        return config

    def spawn(self, *, crash: str | None = None, prefix: Sequence[str] | None = None) -> None:
        """Start it without waiting; `crash` arms a crash point (`name` or `name:nth`)."""
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        env.pop("RELAY_CRASH", None)
        if crash is not None:
            env["RELAY_CRASH"] = crash
        command = [sys.executable, "-m", "relay", "run", "-c", str(self.config_file)]
        argv = [*(self.settings.prefix if prefix is None else prefix), *command]
        self._process = PeerProcess(argv, log=self.log, env=env)
        self._process.spawn()

    def await_ready(self, *, timeout: float = PATIENCE) -> None:
        """Until it greets on its MX port."""
        self.process.await_port(self.mx_port, expect=b"220 ", timeout=timeout)

    def start(self, *, crash: str | None = None, prefix: Sequence[str] | None = None) -> None:
        """Start it and wait for its greeting."""
        self.spawn(crash=crash, prefix=prefix)
        self.await_ready()

    def workers(self) -> list[int]:
        """Pids of the leader's children."""
        found: list[int] = []
        for listing in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            found += map(int, listing.read_text().split())
        return sorted(found)

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run an operator's command on this relay's configuration."""
        result = subprocess.run(
            [sys.executable, "-m", "relay", *arguments, "-c", str(self.config_file)],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if check and result.returncode:
            raise PeerFailed(f"relay {' '.join(arguments)}: {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a page of its HTTP service."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.http_port}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read()

    def status(self) -> dict[str, Any]:
        """`/api/v1/status`, taken after the call: the relay itself may answer with one that is a second old."""
        asked = time.time()
        while True:
            code, body = self.get("/api/v1/status")
            if code != 200:
                raise PeerFailed(f"status: {code} {body!r}")
            answer = json.loads(body)
            assert isinstance(answer, dict)
            if answer["at"] > asked:
                return answer
            self.process.pause()

    def smtp_mode(self) -> str:
        """How far the primary's SMTP is trusted now."""
        return str(self.status()["modes"]["smtp"]["mode"])

    def owed(self) -> dict[str, int]:
        """Items per state that the relay still has to do something about; empty when there is none."""
        queue = self.status()["queue"]
        if queue is None:
            raise PeerFailed("the store does not answer")
        return {state: queue[state]["items"] for state in _OWED if queue[state]["items"]}

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric that carry these labels; 0 when there is none."""
        total = 0.0
        for line in self.get("/metrics")[1].decode().splitlines():
            match = re.fullmatch(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?", line)
            if match is None or match[1] != name:
                continue
            present = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            if labels.items() <= present.items():
                total += float(match[3])
        return total

    def until(self, what: Callable[[], bool], *, timeout: float = PATIENCE, why: str = "it never happened") -> None:
        """Ask again until it is so; PeerFailed with the relay's log when it never is."""
        deadline = time.monotonic() + timeout
        while not what():
            if time.monotonic() > deadline:
                raise PeerFailed(f"{why}\n{self.process.log_tail(60)}")
            if self._process is not None and not self._process.running:
                raise PeerFailed(f"the relay has ended while waited for\n{self.process.log_tail(60)}")
            # Each question is a pause of its own; this one keeps a quick one from eating a core.
            self.process.pause()


def _toml(config: Mapping[str, Mapping[str, Any]]) -> str:
    sections = (
        f"[{name}]\n" + "".join(f"{key} = {toml_value(value)}\n" for key, value in keys.items())
        for name, keys in config.items()
    )
    return "\n".join(sections)
