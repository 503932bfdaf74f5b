"""Pass-through: a client and its own connection to the primary, joined byte for byte.

1. The primary's answers are the client's answers, at the speed of the slower side; only words that a proxy cannot keep
   are left out of its answer to CAPABILITY.
2. When the primary's side ends, or the primary is declared down, the client is told BYE at once, unless it is in the
   middle of a response; then the connection just closes.
3. A pair costs two transports and no task beyond the connection's own.
4. A pair on which nothing moves in either direction for `deadlines.idle` is told BYE, at twice that time the latest.
"""

from __future__ import annotations

import asyncio

from relay.core.mode import USES_PRIMARY, Service, Signal
from relay.primary.stream import Stream
from relay.proto.imap import encode
from relay.proto.imap.passing import Passing
from relay.serve.ports import Services

_COUNT_AT = 64 * 1024


class Passage:
    """One joined pair."""

    def __init__(self, client: Stream, primary: Stream, services: Services) -> None:
        self._client = client
        self._primary = primary
        self._services = services
        self._passing = Passing()
        self._down = False
        self._quiet = False
        """Nothing has moved since the last look."""
        self._watch: asyncio.TimerHandle
        self._expired = False
        self._down_octets = self._up_octets = 0
        """Passed, and not counted yet."""

    async def run(self, to_client: bytes, to_primary: bytes) -> None:
        """Pass until either side ends; what each had sent before goes first."""
        client, primary, metrics = self._client, self._primary, self._services.metrics
        client.put(self._to_client(to_client))
        primary.put(self._to_primary(to_primary))
        primary.pipe_to(client, self._to_client)
        client.pipe_to(primary, self._to_primary)
        client.when_ended(primary.poke)
        self._watch = asyncio.get_running_loop().call_later(self._services.settings.deadlines.idle, self._look)
        metrics.sessions["passed"].inc()
        try:
            while not (client.ended or primary.ended):
                await primary.wait(None)
            # A client that has closed only its sending half (`printf ... | nc`) still waits for answers.
            async with asyncio.timeout(self._services.settings.deadlines.goodbye):
                while not (client.lost or primary.ended):
                    await primary.wait(None)
        except TimeoutError:
            pass
        finally:
            metrics.sessions["passed"].dec()
            self._watch.cancel()
            self._count()
            client.unpipe()
            primary.unpipe()
            primary.abort()
        if not client.lost:
            self._farewell(client_left=client.ended)

    def end_if_down(self) -> None:
        """Let go of a primary that is not to be used any more."""
        if not USES_PRIMARY[self._services.board.mode(Service.IMAP)]:
            self._down = True
            self._primary.abort()

    def stop(self) -> None:
        """The node stops."""
        self._down = True
        self._primary.abort()

    def _farewell(self, *, client_left: bool) -> None:
        said_bye = client_left or self._passing.said_bye
        if not said_bye and not self._down:
            self._services.board.evidence(Service.IMAP, Signal.FAIL, "a session broke")
        if said_bye or not self._passing.at_line_start:
            return
        if self._expired:
            self._client.put(encode.condition(None, "BYE", "Too long without a command"))
        else:
            self._client.put(encode.condition(None, "BYE", "Server has gone away, connect again", b"UNAVAILABLE"))

    def _look(self) -> None:
        """Invariant 4: a flag and a slow clock, because traffic must not pay for timers."""
        if self._quiet:
            self._services.metrics.faults["timeout"].inc()
            self._down = self._expired = True
            self._primary.abort()
            return
        self._quiet = True
        self._watch = asyncio.get_running_loop().call_later(self._services.settings.deadlines.idle, self._look)

    def _to_client(self, data: bytes) -> bytes:
        self._quiet = False
        self._down_octets += len(data)
        if self._down_octets >= _COUNT_AT:
            self._count()
        return self._passing.feed(data)

    def _to_primary(self, data: bytes) -> bytes:
        self._quiet = False
        self._up_octets += len(data)
        if self._up_octets >= _COUNT_AT:
            self._count()
        self._passing.client_said(data)
        return data

    def _count(self) -> None:
        """A metric costs as much as the rest of what a small command costs here: not for each of them."""
        passed = self._services.metrics.passed_bytes
        passed["to_client"].inc(self._down_octets)
        passed["to_primary"].inc(self._up_octets)
        self._down_octets = self._up_octets = 0
