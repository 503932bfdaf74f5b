"""What a connection says: replies gather, and leave together (RFC 2920 3.2).

1. What was said leaves with `send` or `flush`, in order.
2. Who does not read its replies in time is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from relay.core.reply import Reply
from relay.inbound.inlet import Gone
from relay.obs.metrics import CodeClass, InboundMetrics

_CLASSES: Mapping[int, CodeClass] = {2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}


class Outlet:
    """The sending half of one connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, metrics: InboundMetrics, within: float) -> None:
        """`within` seconds the peer reads what it was sent."""
        self.choked = False
        """The peer does not read its replies, and too many wait for it."""
        self._loop = loop
        self._metrics = metrics
        self._within = within
        self._transport: asyncio.Transport | None = None
        self._out = bytearray()
        self._said: dict[CodeClass, int] = {}
        self._room: asyncio.Future[None] | None = None

    def attach(self, transport: asyncio.Transport | None) -> None:
        """Write to this transport from now on; None = it is gone."""
        self._transport = transport

    @property
    def waiting(self) -> int:
        """Octets that were said and not sent."""
        return len(self._out)

    def say(self, answer: Reply) -> None:
        """Queue a reply; it leaves before the next wait for the peer."""
        kind = _CLASSES[answer.code // 100]
        self._said[kind] = self._said.get(kind, 0) + 1
        self._out += answer.encode()

    def send(self) -> None:
        """Hand what was said to the transport, which may be `choked` by it. Gone."""
        if not self._out:
            return
        if self._transport is None or self._transport.is_closing():
            raise Gone
        data, self._out = bytes(self._out), bytearray()
        self._transport.write(data)

    async def flush(self) -> None:
        """Give what was said to the peer, within the deadline. Gone."""
        self.send()
        if not self.choked:
            return
        self._room = self._loop.create_future()
        try:
            async with asyncio.timeout(self._within):
                await self._room
        except TimeoutError:
            self._metrics.faults["timeout"].inc()
            if self._transport is not None:
                self._transport.abort()
            raise Gone from None
        finally:
            self._room = None

    def resume(self) -> None:
        """The peer reads again, or never will."""
        self.choked = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def count(self) -> None:
        """Now and then, and at the end: one by one they would cost as much as the work that they count."""
        for kind, number in self._said.items():
            self._metrics.replies[kind].inc(number)
        self._said.clear()
