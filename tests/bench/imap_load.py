"""A crowd of IMAP clients that do as little as possible: one loop over bare sockets, the same for every server.

Steps of octets enter, seconds leave. An answer is not parsed: only its last line is looked at, so that what is measured
is the server. `Run.busy` says how much of one core the crowd itself took.

1. Every client runs its own steps, one after the other, all clients at the same time.
2. An answer that is not OK ends the run.
"""

from __future__ import annotations

import dataclasses
import select
import socket
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

from tests.peers.ports import LOOPBACK

_TAG: Final = b"zq "
_BLOCK: Final = 1 << 18
_TAIL: Final = 512
_PATIENCE: Final = 120.0


class Step(NamedTuple):
    """What to send, and how the last line of the answer begins. Sending nothing is connecting (again)."""

    send: bytes
    until: bytes


ARRIVE: Final = Step(b"", b"* OK")


def command(text: str) -> Step:
    """A command whose answer is OK."""
    return Step(_TAG + text.encode() + b"\r\n", _TAG + b"OK")


def login(address: str, password: str) -> Step:
    """LOGIN."""
    return command(f'LOGIN {address} "{password}"')


def append(body: bytes, mailbox: str = "INBOX") -> Step:
    """APPEND in one piece (LITERAL+)."""
    return Step(b"%bAPPEND %b {%d+}\r\n%b\r\n" % (_TAG, mailbox.encode(), len(body), body), _TAG + b"OK")


IDLE: Final = Step(_TAG + b"IDLE\r\n", b"+")
DONE: Final = Step(b"DONE\r\n", _TAG + b"OK")


@dataclasses.dataclass(frozen=True)
class Run:
    """What it took."""

    seconds: float
    octets: int
    busy: float
    """Processor time of the crowd / time."""


class _Client:
    def __init__(self, port: int) -> None:
        self.socket: socket.socket | None = None
        self.octets = 0
        self._port = port
        self._steps: list[Step] = []
        self._tail = b""

    def begin(self, steps: Sequence[Step], poll: select.epoll, known: dict[int, _Client]) -> None:
        self._steps = list(reversed(steps))
        self._next(poll, known)

    def _next(self, poll: select.epoll, known: dict[int, _Client]) -> None:
        step = self._steps[-1]
        self._tail = b""
        if step.send:
            assert self.socket is not None
            self.socket.sendall(step.send)
            return
        self.close(known)
        self.socket = socket.create_connection((LOOPBACK, self._port), timeout=_PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        known[self.socket.fileno()] = self
        poll.register(self.socket, select.EPOLLIN)

    def readable(self, block: bytearray, poll: select.epoll, known: dict[int, _Client]) -> bool:
        """Take what is there; whether all steps are done."""
        assert self.socket is not None
        count = self.socket.recv_into(block)
        if not self._steps:  # it says goodbye
            self.close(known)
            return False
        if not count:
            raise ConnectionError(f"hung up after {self._steps[-1].send[:80]!r}")
        self.octets += count
        self._tail = (self._tail + bytes(block[max(0, count - _TAIL) : count]))[-_TAIL:]
        if not self._tail.endswith(b"\r\n"):
            return False
        last = self._tail[self._tail.rfind(b"\r\n", 0, -2) + 2 if self._tail.count(b"\r\n") > 1 else 0 :]
        until = self._steps[-1].until
        if not last.startswith(until):
            if last.startswith(_TAG):
                raise AssertionError(f"{self._steps[-1].send[:80]!r}: {last!r}")
            return False
        self._steps.pop()
        if self._steps:
            self._next(poll, known)
        return not self._steps

    def close(self, known: dict[int, _Client]) -> None:
        if self.socket is not None:
            known.pop(self.socket.fileno(), None)
            self.socket.close()
            self.socket = None


class Crowd:
    """Clients of one server; they stay connected from run to run."""

    def __init__(self, port: int, size: int) -> None:
        self._poll = select.epoll()
        self._known: dict[int, _Client] = {}
        self._clients = [_Client(port) for _ in range(size)]
        self._block = bytearray(_BLOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close(self._known)
        self._poll.close()

    @property
    def sockets(self) -> list[socket.socket]:
        """Of those that are connected."""
        return [client.socket for client in self._clients if client.socket is not None]

    def run(self, scripts: Sequence[Sequence[Step]]) -> Run:
        """Each client its script; TimeoutError when nobody hears anything for two minutes."""
        for client in self._clients:
            client.octets = 0
        active = [(client, script) for client, script in zip(self._clients, scripts, strict=True) if script]
        left = len(active)
        started, worked = time.perf_counter(), time.process_time()
        for client, script in active:
            client.begin(script, self._poll, self._known)
        while left:
            ready = self._poll.poll(_PATIENCE)
            if not ready:
                raise TimeoutError("no answer")
            for descriptor, _ in ready:
                speaker = self._known.get(descriptor)
                if speaker is not None:
                    left -= speaker.readable(self._block, self._poll, self._known)
        seconds = time.perf_counter() - started
        octets = sum(client.octets for client in self._clients)
        return Run(seconds, octets, (time.process_time() - worked) / seconds)

    def everybody(self, *steps: Step) -> Run:
        """The same script for all."""
        return self.run([steps] * len(self._clients))
