"""What a connection has received and nobody has used yet: lines and blocks, with bounded memory.

1. Above the high-water mark, or while the budget of all connections is full, the transport is not read from.
2. An octet counts in the budget from its arrival, unless a line is done with while it arrives, until the line or block
   it left in is done with (the next one is asked for, or `close`).
3. A line that exceeds its limit is eaten to its end and reported once; it is never taken for two.
4. Who waits longer than it may gets TimeoutError.
5. What `block` has is held back for two milliseconds at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

from relay.inbound.budget import ByteBudget
from relay.primary.alarm import Alarm

HIGH_WATER = 128 * 1024
LOW_WATER = 32 * 1024
ENOUGH = 32 * 1024
_MOMENT = 0.002
"""Seconds that a few octets of content wait for more."""


class Gone(Exception):
    """The peer has closed; nothing more will come."""


class LineTooLong(Exception):
    """The line was longer than allowed, and has been eaten."""


class Inlet:
    """The receiving half of one connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, budget: ByteBudget) -> None:
        self.heed: Callable[[], None] | None = None
        """Called when there is something to look at: octets, the end, or too late a line. None = who waits is woken."""
        self._loop = loop
        self._budget = budget
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._searched = 0
        self._eaten = False
        self._lent = 0
        self._counted = 0
        """What the budget knows of."""
        self._ended = False
        self._closed = False
        self._paused = False
        self._expired = False
        self._alarm = Alarm(self.expire)
        self._enough = 0
        """Octets that `block` waits for at best; 0 while nobody waits for a block."""
        self._rested = False
        self._arrival: asyncio.Future[None] | None = None

    # --- the transport's side ---

    def attach(self, transport: asyncio.Transport) -> None:
        """Read from this transport from now on."""
        self._transport = transport
        self._paused = False

    def feed(self, data: bytes) -> None:
        """Octets have arrived."""
        if self._closed:
            return
        self._buffer += data
        if self.heed is not None:
            self.heed()
        elif not self._enough or self._gathered or len(self._buffer) == len(data):
            self._wake()
        self._settle()

    def end(self) -> None:
        """No more will arrive."""
        self._ended = True
        self._wake()

    def close(self) -> None:
        """The connection is gone. Idempotent."""
        if self._closed:
            return
        self._closed = self._ended = True
        self._budget.forget(self)
        self._budget.give(self._counted)
        self._buffer.clear()
        self._lent = self._counted = 0
        self._transport = None
        self._alarm.close()
        self._wake()

    # --- the session's side ---

    @property
    def pending(self) -> int:
        """Octets that wait to be used."""
        return len(self._buffer)

    @property
    def has_line(self) -> bool:
        """Whether `next_line` has one."""
        return self._buffer.find(b"\n", self._searched) >= 0

    @property
    def stopped(self) -> bool:
        """Nothing arrives because of us, not because of the peer."""
        return self._paused

    @property
    def expects_line(self) -> bool:
        """Whether a line is waited for, and nothing else."""
        return self._alarm.on and not self._enough

    def expire(self) -> None:
        """Whoever waits has waited long enough."""
        self._expired = True
        self._wake()

    def next_line(self, limit: int) -> bytes | None:
        """The next line with its end, if it is here. LineTooLong."""
        if self._lent:
            self._lent = 0
            self._settle()
        end = self._buffer.find(b"\n", self._searched) + 1
        if end:
            self._alarm.off()
            line = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._searched, self._lent = 0, end
            if self._eaten or end > limit:
                self._eaten = False
                raise LineTooLong
            return line
        self._searched = len(self._buffer)
        if self._searched > limit:
            self._cut(self._searched)
            self._eaten = True
        return None

    def expect(self, within: float) -> None:
        """The next line is not here: it has so many seconds from when this is said first. Gone, TimeoutError."""
        if self._ended or self._expired:
            self._over()
        self._alarm.begin(within)

    async def line(self, limit: int, *, within: float | None = None) -> bytes:
        """The next line with its end, `within` seconds. LineTooLong, Gone, TimeoutError."""
        self._arm(within)
        try:
            while (line := self.next_line(limit)) is None:
                await self._more()
            return line
        finally:
            self._alarm.off()

    async def block(self, most: int, *, within: float | None = None) -> bytes:
        """Some octets, at least one, `within` seconds. Gone, TimeoutError.

        Content comes in many small pieces, and each costs a turn: a moment is given to gather some (invariant 5).
        """
        self._lent = 0
        self._settle()
        self._enough = min(most, ENOUGH)
        if self._gathered:
            self._enough = 0
        else:
            self._arm(within)
            moment = self._loop.call_later(_MOMENT, self._rest) if self._buffer else None
            try:
                while not self._gathered:
                    try:
                        await self._more()
                    except (Gone, TimeoutError):
                        if self._buffer:
                            break
                        raise
                    if moment is None and self._buffer and not self._gathered:
                        moment = self._loop.call_later(_MOMENT, self._rest)
            finally:
                self._enough, self._rested = 0, False
                self._alarm.off()
                if moment is not None:
                    moment.cancel()
        return self._cut(min(most, len(self._buffer)))

    @property
    def _gathered(self) -> bool:
        """Whether what is there is worth a turn: enough, the end of data by the look of it, or all for now."""
        buffer = self._buffer
        return len(buffer) >= self._enough or buffer.endswith(b".\r\n") or (self._rested and bool(buffer))

    def _rest(self) -> None:
        self._rested = True
        self._wake()

    def unread(self, data: bytes) -> None:
        """Put back the tail of the last block."""
        self._buffer[:0] = data
        self._lent -= len(data)
        self._searched = 0

    def _arm(self, within: float | None) -> None:
        self._expired = False
        if within is not None:
            self._alarm.set(within)

    def _cut(self, size: int) -> bytes:
        data = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        self._searched = 0
        self._lent += size
        return data

    def _settle(self) -> None:
        """Invariants 1 and 2."""
        size, budget = len(self._buffer), self._budget
        if (more := size + self._lent - self._counted) and not self._closed:
            self._counted += more
            if more > 0:
                budget.take(more)
            else:
                budget.give(-more)
        if self._paused or size > HIGH_WATER or budget.full:
            self._balance()

    def _over(self) -> NoReturn:
        raise Gone if self._ended else TimeoutError

    async def _more(self) -> None:
        if self._ended or self._expired:
            self._over()
        self._arrival = self._loop.create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None

    def _wake(self) -> None:
        if self.heed is not None:
            self.heed()
        elif self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _balance(self) -> None:
        size, transport = len(self._buffer), self._transport
        if transport is None or self._closed or transport.is_closing():
            return
        if self._budget.full and size:
            self._pause(transport)
            self._budget.stop(self, self._resume)
        elif size > HIGH_WATER:
            self._pause(transport)
        elif self._paused and size <= LOW_WATER:
            if self._budget.full:
                self._budget.stop(self, self._resume)
            else:
                self._resume()

    def _pause(self, transport: asyncio.Transport) -> None:
        if not self._paused:
            self._paused = True
            transport.pause_reading()

    def _resume(self) -> bool:
        transport = self._transport
        if not self._paused or transport is None or transport.is_closing() or len(self._buffer) > HIGH_WATER:
            return False
        self._paused = False
        transport.resume_reading()
        return True
