"""Pass-through: what a session costs that goes through the relay to Dovecot; beside it nginx's mail proxy.

One blocking client, so that what is measured is the way and not the client: large FETCH, NOOP round trips, and memory
per idle session against a primary that costs nothing itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

from tests.bench.report import Figure, median_figure
from tests.bench.stands import dovecot_alone, resident_bytes
from tests.peers import people
from tests.peers.nginx import Nginx, version
from tests.peers.ports import LOOPBACK
from tests.peers.relay import Relay, RelaySettings

_USER = people.PEOPLE[0]
_MESSAGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 4 + b"\r\n"
_LINE = b"0123456789abcdef" * 4 + b"\r\n"


class Session:
    """A logged-in client that waits."""

    def __init__(self, port: int, password: str) -> None:
        self._socket = socket.create_connection((LOOPBACK, port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(1 << 18)
        self._until(b"\r\n")
        self.command(f'LOGIN {_USER} "{password}"')

    def command(self, text: str) -> bytes:
        """Say it; the last octets of the answer. AssertionError unless it is OK."""
        self._socket.sendall(f"x {text}\r\n".encode())
        answer = self._until(b"\r\n", tagged=True)
        assert re.search(rb"(?:^|\n)x OK[^\n]*\r\n$", answer), answer[-200:]
        return answer

    def append(self, body: bytes) -> None:
        """Into INBOX."""
        self._socket.sendall(f"x APPEND INBOX {{{len(body)}}}\r\n".encode())
        self._until(b"\r\n")
        self._socket.sendall(body + b"\r\n")
        self._until(b"\r\n", tagged=True)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _until(self, end: bytes, *, tagged: bool = False) -> bytes:
        tail = b""
        while True:
            count = self._socket.recv_into(self._buffer)
            assert count, "the server hung up"
            tail = (tail + bytes(self._buffer[max(0, count - 512) : count]))[-512:]
            if tail.endswith(end) and (not tagged or re.search(rb"(?:^|\n)x (?:OK|NO|BAD)[^\n]*\n$", tail)):
                return tail


def through(rounds: int, megabytes: int, commands: int) -> Iterator[Figure]:
    """Throughput of FETCH, and time added to a command."""
    with ExitStack() as stack:
        dovecot = stack.enter_context(dovecot_alone())
        relay = stack.enter_context(Relay(RelaySettings(imap_port=dovecot.imap_port)))
        nginx = stack.enter_context(Nginx(dovecot.imap_port))
        _await_primary(relay)
        ports = {"direct": dovecot.imap_port, "relay": relay.imap_port, "nginx": nginx.port}
        sessions = {
            name: stack.enter_context(contextlib.closing(Session(port, dovecot.password(_USER))))
            for name, port in ports.items()
        }
        sessions["direct"].append(_MESSAGE + _LINE * (megabytes * 1_000_000 // len(_LINE)))
        rates: dict[str, list[float]] = {name: [] for name in ports}
        trips: dict[str, list[float]] = {name: [] for name in ports}
        for session in sessions.values():
            session.command("SELECT INBOX")
            session.command("FETCH 1 BODY.PEEK[]")
        for number in range(rounds):
            # Each round starts with another one, so that a slow minute of the machine hits all.
            for name in [list(ports)[(number + step) % 3] for step in range(3)]:
                rates[name].append(megabytes / _seconds(sessions[name], "FETCH 1 BODY.PEEK[]", 5) * 5)
                trips[name].append(1000 * _seconds(sessions[name], "NOOP", commands) / commands)
    middle = {name: statistics.median(times) for name, times in trips.items()}
    for against, aim in (("direct", 0.8), ("nginx", None)):
        yield median_figure(
            f"pass-through, FETCH of {megabytes} MB",
            rates["relay"],
            "MB/s",
            against="Dovecot, direct" if against == "direct" else f"nginx {version()}",
            yardstick=statistics.median(rates[against]),
            aim=aim,
        )
    added = [one - middle["direct"] for one in trips["relay"]]
    yield median_figure("pass-through, added per command", added, "ms", aim=0.3, most=True)
    yield Figure(what="the same, by nginx", value=middle["nginx"] - middle["direct"], unit="ms")


def idle(count: int) -> Iterator[Figure]:
    """Memory per idle session that is passed through, clear text on both sides."""
    with _primary() as upstream, ExitStack() as stack:
        config = {"limits": {"user_connections": count + 100, "user_connections_per_address": 0}}
        relay = stack.enter_context(Relay(RelaySettings(imap_port=upstream, config=config)))
        nginx = stack.enter_context(Nginx(upstream))
        _await_primary(relay)
        found = {}
        for name, port, leader in (("relay", relay.imap_port, relay.pid), ("nginx", nginx.port, nginx.pid)):
            with ExitStack() as clients:
                for _ in range(100):  # what the first sessions cost is not what a session costs
                    Session(port, people.password_of(_USER)).close()
                # Nor is the hashing of the first password, which goes on beside them.
                relay.until(lambda: _USER in relay.command("user", "list").stdout)
                before = resident_bytes(leader)
                for _ in range(count):
                    clients.enter_context(contextlib.closing(Session(port, people.password_of(_USER))))
                found[name] = (resident_bytes(leader) - before) / count / 1000
    yield Figure(
        what=f"pass-through, memory per session, {count} idle",
        value=found["relay"],
        unit="kB",
        against=f"nginx {version()}",
        yardstick=found["nginx"],
    )


def _seconds(session: Session, text: str, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        session.command(text)
    return time.perf_counter() - started


def _await_primary(relay: Relay) -> None:
    relay.until(
        lambda: all(relay.status()["modes"][name]["mode"] == "normal" for name in ("imap", "login")),
        why="the primary was not noticed",
    )


@contextlib.contextmanager
def _primary() -> Iterator[int]:
    """An IMAP server that lets everybody in, in a thread; its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(_listen(loop), loop).result(10)
        yield int(server.sockets[0].getsockname()[1])
        loop.call_soon_threadsafe(server.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _listen(loop: asyncio.AbstractEventLoop) -> asyncio.Server:
    return await loop.create_server(_Primary, LOOPBACK, 0, backlog=512)


class _Primary(asyncio.Protocol):
    """One connection of it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._tag = b""
        """Of a command that is cut up by literals, as nginx logs in."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"* OK [CAPABILITY IMAP4rev1 ID SASL-IR AUTH=PLAIN] ready\r\n")

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        for line in data.splitlines():
            tag, _, command = line.partition(b" ")
            if line.endswith(b"}"):
                self._tag = self._tag or tag
                self._transport.write(b"+ go on\r\n")
                continue
            tag, self._tag = self._tag or tag, b""
            if command.upper() == b"CAPABILITY":
                self._transport.write(b"* CAPABILITY IMAP4rev1 ID SASL-IR AUTH=PLAIN\r\n")
            self._transport.write(tag + b" OK [CAPABILITY IMAP4rev1 IDLE] done\r\n")
