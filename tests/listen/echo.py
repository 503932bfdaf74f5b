"""A listener whose protocol tells each client how it is seen, and gives lines back until one says `bye`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from types import TracebackType
from typing import Literal, cast, get_args

from relay.listen.front import Peer, hand_over
from relay.listen.gate import Gate
from relay.listen.listener import Listener
from relay.listen.settings import Arrival, Crowd, Network, Port
from relay.listen.sharing import Neighbours
from relay.obs.metrics import Admission, HandingOver

Mx = Literal["mx"]
PORT: Mx = "mx"


class Number:
    """A metric."""

    def __init__(self) -> None:
        self.value = 0
        self.changed = asyncio.Event()

    def inc(self) -> None:
        """One more."""
        self.value += 1
        self.changed.set()

    def dec(self) -> None:
        """One less."""
        self.value -= 1
        self.changed.set()


class Numbers:
    """As `Counted`."""

    def __init__(self) -> None:
        self.connections: dict[tuple[Mx, Admission], Number] = {(PORT, one): Number() for one in get_args(Admission)}
        self.open = {PORT: Number()}

    def met(self) -> dict[str, int]:
        """What was counted, without the zeros."""
        return {result: number.value for (_, result), number in self.connections.items() if number.value}


def handed_over() -> dict[tuple[Mx, HandingOver], Number]:
    """As `Sharing` counts."""
    return {(PORT, one): Number() for one in get_args(HandingOver)}


class Echo(asyncio.Protocol):
    """One conversation."""

    def __init__(self, peer: Peer) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._peer = peer
        self._transport: asyncio.Transport | None = None
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who is there."""
        self._transport = cast(asyncio.Transport, transport)
        private = transport.get_extra_info("ssl_object") is not None
        self._transport.write(f"{self._peer.address} {self._peer.port} {private}\n".encode())

    def data_received(self, data: bytes) -> None:
        """Give it back."""
        assert self._transport is not None
        self._pending += data
        while (end := self._pending.find(b"\n") + 1) > 0:
            line, self._pending = self._pending[:end], self._pending[end:]
            self._transport.write(line)
            if line == b"bye\n":
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Over."""
        self.ended.set_result(None)

    def stop(self) -> None:
        """Polite ones end by themselves; this one says so and waits for the client."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"stopping\n")

    def cut(self) -> None:
        """Now."""
        if self._transport is not None:
            self._transport.abort()


class World:
    """A listener; use as an async context manager."""

    busy = b"busy\n"

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        proxy_from: tuple[Network, ...] = (),
        connections: int = 10,
        per_address: int = 10,
        goodbye: float = 5.0,
        proxy_header: float = 5.0,
        handshake: float = 5.0,
        neighbours: Neighbours[Mx] | None = None,
    ) -> None:
        self.gate = Gate(Crowd(connections, per_address))
        self.numbers = Numbers()
        self.told: Counter[str] = Counter()
        self.fail = False
        self.failed = asyncio.Event()
        self._clients: list[Client] = []
        self.listener = Listener(
            Port(PORT, "127.0.0.1", 0, implicit_tls=tls is not None, proxy_from=proxy_from),
            self,
            gate=self.gate,
            deadlines=Arrival(goodbye=goodbye, proxy_header=proxy_header, handshake=handshake),
            metrics=self.numbers,
            context=tls,
            neighbours=neighbours,
        )

    # --- the front ---

    def begin(self, transport: asyncio.Transport, peer: Peer) -> Echo:
        """As `Front`."""
        if self.fail:
            raise RuntimeError("told to fail")
        echo = Echo(peer)
        hand_over(transport, echo)
        return echo

    def handshake_failed(self) -> None:
        """As `Front`."""
        self.told["handshake_failed"] += 1
        self.failed.set()

    async def drain(self) -> None:
        """As `Front`."""
        assert not self.listener.ends
        self.told["drained"] += 1

    # --- for the test ---

    async def __aenter__(self) -> World:
        await self.listener.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.close()
        await self.listener.stop()
        # What was entered was left, on every path.
        assert self.gate.open == 0
        assert self.numbers.open[PORT].value == 0

    async def client(self, tls: ssl.SSLContext | None = None, *, source: str = "127.0.0.1") -> Client:
        """A connection; it ends with this world, if not before."""
        name, port = "localhost" if tls else None, self.listener.port
        async with asyncio.timeout(20):
            opening = asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name, local_addr=(source, 0))
            client = Client(*await opening)
        self._clients.append(client)
        return client

    async def until_met(self, result: Admission, times: int) -> None:
        """Wait until so many connections were met so."""
        await _until(self.numbers.connections[PORT, result], times)

    async def until_open(self, most: int) -> None:
        """Wait until so few conversations go on."""
        await _until(self.numbers.open[PORT], most)


async def _until(number: Number, value: int) -> None:
    async with asyncio.timeout(20):
        while number.value != value:
            number.changed.clear()
            await number.changed.wait()


class Client:
    """One connection to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def line(self) -> str:
        """The next line; empty at the end."""
        async with asyncio.timeout(20):
            try:
                return (await self.reader.readline()).decode()
            except ConnectionError:
                return ""

    async def close(self) -> None:
        """End it, whatever state it is in."""
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()
