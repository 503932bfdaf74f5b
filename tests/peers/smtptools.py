"""Postfix's own load tools, as the yardstick that nobody here wrote: smtp-source sends, smtp-sink swallows."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import time
from collections.abc import Sequence
from typing import Final

from tests.peers.ports import LOOPBACK, free_port
from tests.peers.process import Peer, PeerFailed, PeerProcess

_COUNT: Final = re.compile(rb"(\d+)\r")


@dataclasses.dataclass(frozen=True)
class Load:
    """One run of smtp-source."""

    messages: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds


def smtp_source(
    port: int,
    *,
    messages: int,
    size: int,
    sessions: int = 20,
    sender: str = "sender@example.net",
    recipient: str = "alice@example.org",
    reuse: bool = False,
    timeout: float = 600.0,
) -> Load:
    """Send messages of `size` bytes each, a connection per message unless `reuse`; PeerFailed when one is refused."""
    argv = ["/usr/sbin/smtp-source", "-c", "-m", str(messages), "-s", str(sessions), "-l", str(size)]
    argv += ["-f", sender, "-t", recipient, *(["-d"] if reuse else []), f"inet:{LOOPBACK}:{port}"]
    started = time.monotonic()
    result = subprocess.run(argv, check=False, capture_output=True, timeout=timeout)
    seconds = time.monotonic() - started
    counts = _COUNT.findall(result.stdout)
    if result.returncode or not counts or int(counts[-1]) != messages:
        raise PeerFailed(f"smtp-source: {result.returncode} {counts[-1:]} {result.stderr.decode(errors='replace')}")
    return Load(messages, seconds)


class SmtpSink(Peer):
    """smtp-sink on a loopback port: takes every message and forgets it; `received` counts them."""

    def __init__(self, *options: str) -> None:
        super().__init__("sink")
        self.port = free_port()
        self.log = self.directory / "sink.log"
        argv: Sequence[str] = [
            *("/usr/sbin/smtp-sink", "-c", "-u", "nobody", *options),
            *(f"inet:{LOOPBACK}:{self.port}", "1024"),
        ]
        self._process = PeerProcess(argv, log=self.log)

    def start(self) -> None:
        """Start it and wait for its greeting."""
        self.process.spawn()
        self.process.await_port(self.port, expect=b"220 ")

    def spawn(self) -> None:
        """Start it (again) without waiting or connecting: the first session is somebody else's. Counts begin anew."""
        self.log.write_bytes(b"")
        self.process.spawn()

    @property
    def received(self) -> int:
        """Messages swallowed so far."""
        return self._last(rb"mesg=(\d+)\r")

    @property
    def sessions(self) -> int:
        """Connections greeted so far."""
        return self._last(rb"sess=(\d+) ")

    def _last(self, counter: bytes) -> int:
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 1000))
            counts = re.findall(counter, log.read())
        return int(counts[-1]) if counts else 0
