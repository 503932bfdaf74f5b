"""The two processes of the demo, and where they live. Everything in one temporary directory, on free loopback ports.

1. A node runs exactly as in production: `python -m relay run -c FILE`, in a session of its own.
2. `kill` is SIGKILL to every process of the node. `close` leaves neither processes nor files behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relay.cli.demo.traffic import RECIPIENT
from relay.vault.keys import init_key_file

HOST = "127.0.0.1"
USER = RECIPIENT
_DOMAIN = RECIPIENT.partition("@")[2]
_START_DEADLINE = 30.0
_STOP_DEADLINE = 20.0
_PAUSE = 0.05


class SiteTrouble(Exception):
    """A node did not start, or ended by itself."""


class Node:
    """One relay process group: its configuration, ports and log."""

    def __init__(self, name: str, directory: Path, sections: Mapping[str, Mapping[str, Any]]) -> None:
        self.name = name
        self.directory = directory
        self.config_file = directory / "relay.toml"
        self.log = directory / "relay.log"
        self.smtp_port, self.imap_port, self.http_port = _free_ports(3)
        data = directory / "data"
        data.mkdir(parents=True)
        key_file = directory / "relay.key"
        init_key_file(key_file)
        own: dict[str, Mapping[str, Any]] = {
            "node": {"name": name, "hostname": f"{name}.demo.example", "data_dir": str(data)},
            "vault": {"key_file": str(key_file)},
            "domains": {"accept": [_DOMAIN], "unknown_recipients": "accept"},
            "listen": {
                "mx": [f"{HOST}:{self.smtp_port}"],
                "imap": [f"{HOST}:{self.imap_port}"],
                "http": [f"{HOST}:{self.http_port}"],
            },
            "limits": {"connections_per_address": 0, "user_connections_per_address": 0},
            "log": {"format": "json"},
        }
        self.config_file.write_text(_toml({**own, **sections}))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Of its process group."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it and wait until it greets by SMTP and IMAP."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and file
                [sys.executable, "-m", "relay", "run", "-c", str(self.config_file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _START_DEADLINE
        for port, greeting in ((self.smtp_port, b"220"), (self.imap_port, b"* OK")):
            while not _greets(port, greeting):
                if not self.running:
                    raise SiteTrouble(f"the {self.name} ended while it started\n{self.log_tail()}")
                if time.monotonic() > deadline:
                    raise SiteTrouble(f"the {self.name} did not greet in time\n{self.log_tail()}")
                time.sleep(_PAUSE)

    def kill(self) -> None:
        """SIGKILL, all of it."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """SIGTERM; SIGKILL when it takes too long."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()

    def command(self, arguments: Sequence[str], *, given: str = "") -> str:
        """An operator's command on this node; its output."""
        done = subprocess.run(  # noqa: S603  # our own interpreter and file
            [sys.executable, "-m", "relay", *arguments, "-c", str(self.config_file)],
            input=given, capture_output=True, text=True, timeout=_START_DEADLINE, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SiteTrouble(f"relay {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def log_tail(self, lines: int = 15) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._process is not None:
            os.killpg(self._process.pid, number)


class Site:
    """The primary and the relay of one demo."""

    def __init__(self, *, tls: bool = False) -> None:
        """`tls`: the relay gets a certificate for this host, where openssl is there to make one."""
        self.directory = Path(tempfile.mkdtemp(prefix="relay-demo-"))
        self.password = secrets.token_urlsafe(9)
        self.primary = Node("primary", self.directory / "primary", {})
        self.relay = Node(
            "relay",
            self.directory / "relay",
            {
                "primary.smtp": {"host": HOST, "port": self.primary.smtp_port, "tls": "none"},
                "primary.imap": {"host": HOST, "port": self.primary.imap_port, "tls": "none"},
                "failover": {"probe_interval": "500ms", "timeout": "1s"},
                "replay": {"first_delay": "500ms", "most_delay": "2s", "unknown_wait": "2s"},
                **({"tls": self._certificate()} if tls and shutil.which("openssl") else {}),
            },
        )

    def _certificate(self) -> dict[str, str]:
        pair = {"certificate": str(self.directory / "relay.pem"), "private_key": str(self.directory / "relay-tls.key")}
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=relay-demo"
        names = ["-addext", f"subjectAltName=IP:{HOST},DNS:localhost"]
        files = ["-out", pair["certificate"], "-keyout", pair["private_key"]]
        subprocess.run(  # noqa: S603  # fixed words and our own paths
            [*words.split(), *names, *files], check=True, capture_output=True, timeout=_START_DEADLINE
        )
        return pair

    def open(self) -> None:
        """The user gets a mailbox on the primary, and only there; then both run."""
        self.primary.command(["user", "add", USER, "--password-stdin"], given=self.password + "\n")
        self.primary.start()
        self.relay.start()

    def close(self) -> None:
        """End both and remove everything."""
        for node in (self.relay, self.primary):
            node.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has now, below those that the kernel gives to outgoing connections: it would take one of them
    while the server that it is meant for is down."""
    ports: list[int] = []
    while len(ports) < count:
        port = secrets.choice(range(15_000, 32_000))
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            ports.append(port)
    return ports if len(set(ports)) == count else _free_ports(count)


def _greets(port: int, greeting: bytes) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            return connection.recv(512).startswith(greeting)
    except OSError:
        return False


def _toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """JSON's strings, numbers and lists of them are TOML's too."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for name, keys in sections.items()
    )
