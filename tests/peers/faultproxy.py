"""A TCP proxy that breaks connections at an exact place.

In: a port to pass connections on to, and for each connection a script: faults that fire at a byte number or when a
pattern passes, and a shape for the stream. Out: the bytes, unchanged, until a fault fires.

1. Before a fault with `after=False` fires, no byte at or behind its place has been passed on.
2. Faults of one direction fire in the order in which the script names them, each once; the next one looks only behind
   the place where the last one fired.
3. An action that is a coroutine function is awaited before anything else passes in that direction: killing a server
   "between the dot and its reply" is exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Final

from tests.peers.ports import LOOPBACK, free_port, reset
from tests.peers.process import PATIENCE


class Side(Enum):
    """A direction of flow."""

    UP = auto()
    """From the client to the server."""
    DOWN = auto()
    """From the server to the client."""


class Break(Enum):
    """What a fault does to the connection."""

    CUT = auto()
    """Close both sides in order (FIN)."""
    RESET = auto()
    """Abort both sides (RST)."""
    STALL = auto()
    """Pass nothing more in this direction, take nothing more either; both stay open."""
    DEAFEN = auto()
    """Take everything in this direction and pass nothing on: the sender believes it arrived."""
    END_OF_DATA = auto()
    """Pass EOF on in this direction (half-close); the other direction goes on."""


Action = Break | Callable[[], Awaitable[None]]
"""A break, or something to do before the stream goes on."""

END_OF_MAIL: Final = rb"\r\n\.\r\n"
"""The final dot, as a pattern for `Fault.at`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong at one place of one direction."""

    side: Side
    at: int | bytes
    """Offset in the stream, or a regular expression over its bytes (matched over at most 64 KiB)."""
    action: Action
    after: bool = False
    """Act behind the matched bytes instead of before them."""
    nth: int = 1
    """Which match of the pattern."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """How bytes travel in one direction."""

    block: int = 1 << 16
    """Pass on at most so many bytes at once."""
    delay: float = 0.0
    """Seconds before each block."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Script:
    """What happens on one connection."""

    faults: tuple[Fault, ...] = ()
    up: Shape = Shape()
    down: Shape = Shape()


CLEAN: Final = Script()
_WINDOW: Final = 1 << 16


class _Trigger:
    """Finds the place of one fault in a stream that arrives in blocks."""

    def __init__(self, fault: Fault, offset: int) -> None:
        self.fault = fault
        self._pattern = re.compile(fault.at) if isinstance(fault.at, bytes) else None
        self._offset = offset
        self._window = b""
        self._left = fault.nth

    def place(self, block: bytes) -> int | None:
        """Bytes of the next block that pass before the fault; None when it is not in this block."""
        if self._pattern is None:
            assert isinstance(self.fault.at, int)
            there = self.fault.at - self._offset
            self._offset += len(block)
            return max(0, there) if there <= len(block) else None
        start = len(self._window)
        window = self._window + block
        for match in self._pattern.finditer(window):
            if match.end() > start:
                self._left -= 1
                if not self._left:
                    return max(0, (match.end() if self.fault.after else match.start()) - start)
        self._window = window[-_WINDOW:]
        return None


class _Broken(Exception):
    """The script has closed this connection."""


@dataclasses.dataclass(eq=False)
class _Connection:
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter]

    def close(self, *, hard: bool) -> None:
        for _, writer in (self.client, self.server):
            if hard:
                reset(writer)
            else:
                writer.close()


class FaultProxy:
    """`async with FaultProxy(port) as proxy`: connect to `proxy.port`. Set `scripts` or `script_for` at any time."""

    def __init__(self, upstream_port: int, *scripts: Script, default: Script = CLEAN) -> None:
        self.upstream_port = upstream_port
        self.port = free_port()
        self.scripts: list[Script] = list(scripts)
        """Used up one by one by the next connections."""
        self.default = default
        """For connections without a script of their own."""
        self.connections = 0
        """How many were accepted so far."""
        self.fired: list[Fault] = []
        """Faults that have happened, in order."""
        self._happened = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()
        self._open: set[_Connection] = set()

    async def __aenter__(self) -> FaultProxy:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def listen(self) -> None:
        """Open the port (again)."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, backlog=1024)

    async def refuse(self) -> None:
        """Close the port and every connection: the server is gone."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        await self._drain()

    def cut(self, *, hard: bool = False) -> None:
        """Close every open connection now."""
        for connection in tuple(self._open):
            connection.close(hard=hard)

    def release(self) -> None:
        """Let stalled directions go on."""
        self._released.set()
        self._released = asyncio.Event()

    async def close(self) -> None:
        """Close everything; no task is left."""
        await self.refuse()

    async def wait_fired(self, count: int = 1, *, timeout: float = PATIENCE) -> None:
        """Until so many faults have happened."""
        async with asyncio.timeout(timeout), self._happened:
            await self._happened.wait_for(lambda: len(self.fired) >= count)

    async def wait_connections(self, count: int, *, timeout: float = PATIENCE) -> None:
        """Until so many connections have been accepted."""
        async with asyncio.timeout(timeout), self._happened:
            await self._happened.wait_for(lambda: self.connections >= count)

    async def _drain(self) -> None:
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The task that start_server made for this call must end with the proxy, like all others.
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        script = self.scripts.pop(0) if self.scripts else self.default
        async with self._happened:
            self.connections += 1
            self._happened.notify_all()
        try:
            upstream = await asyncio.open_connection(LOOPBACK, self.upstream_port)
        except OSError:
            reset(writer)
            return
        connection = _Connection((reader, writer), upstream)
        self._open.add(connection)
        try:
            await asyncio.gather(
                self._pump(connection, Side.UP, script),
                self._pump(connection, Side.DOWN, script),
            )
        except asyncio.CancelledError:
            # Ours to end: asyncio's callback for accepted connections logs a cancelled one as an error on 3.11.
            return
        finally:
            self._open.discard(connection)
            connection.close(hard=False)
            for side in (writer, upstream[1]):
                with contextlib.suppress(OSError):
                    await side.wait_closed()

    async def _pump(self, connection: _Connection, side: Side, script: Script) -> None:
        up = side is Side.UP
        reader = (connection.client if up else connection.server)[0]
        writer = (connection.server if up else connection.client)[1]
        shape = script.up if up else script.down
        waiting = [fault for fault in script.faults if fault.side is side]
        trigger = _Trigger(waiting.pop(0), 0) if waiting else None
        offset = 0
        deaf = False
        try:
            while rest := await reader.read(shape.block):
                while True:
                    here = trigger.place(rest) if trigger is not None else None
                    head = rest[:here]
                    if head and not deaf:
                        await self._pass(writer, head, shape)
                    offset += len(head)
                    rest = rest[len(head) :]
                    if trigger is None or here is None:
                        break
                    deaf = await self._act(connection, trigger.fault, writer) or deaf
                    trigger = _Trigger(waiting.pop(0), offset) if waiting else None
            if not writer.is_closing():
                writer.write_eof()
        except _Broken:
            return
        except OSError:
            connection.close(hard=True)

    async def _pass(self, writer: asyncio.StreamWriter, data: bytes, shape: Shape) -> None:
        if shape.delay:
            with contextlib.suppress(TimeoutError):
                # A wait that closing the proxy cancels; nobody sets this event.
                await asyncio.wait_for(asyncio.Event().wait(), shape.delay)
        writer.write(data)
        await writer.drain()

    async def _act(self, connection: _Connection, fault: Fault, writer: asyncio.StreamWriter) -> bool:
        """Do what the fault says; whether the direction is deaf from now on."""
        released = self._released
        match fault.action:
            case Break.CUT:
                connection.close(hard=False)
            case Break.RESET:
                connection.close(hard=True)
            case Break.END_OF_DATA:
                writer.write_eof()
            case Break.STALL | Break.DEAFEN:
                pass
            case action:
                await action()
        async with self._happened:
            self.fired.append(fault)
            self._happened.notify_all()
        if fault.action in (Break.CUT, Break.RESET):
            raise _Broken
        if fault.action is Break.STALL:
            await released.wait()
        return fault.action in (Break.DEAFEN, Break.END_OF_DATA)
