"""Pass-through: a client and its own connection to the primary, joined byte for byte.

1. Nothing is read into and nothing is changed: the primary's answers are the client's answers, at the speed of the
   slower side.
2. When the primary's side ends, or the primary is declared down, the client is told BYE at once, unless it is in the
   middle of a response; then the connection just closes.
3. A pair costs two transports and no task beyond the connection's own.
"""

from __future__ import annotations

import asyncio

from relay.core.mode import USES_PRIMARY, Service, Signal
from relay.obs.metrics import ServeMetrics
from relay.primary.stream import Stream
from relay.proto.imap import encode
from relay.proto.imap.boundary import Boundary
from relay.serve.ports import Services

_BROKEN_BY_A_PROXY = ("STARTTLS", "LOGINDISABLED", "AUTH=", "SASL-IR", "COMPRESS=", "UNAUTHENTICATE", "LOGIN-REFERRALS",
                      "MAILBOX-REFERRALS", "URLAUTH")  # fmt: skip
"""Not shown after login: they end or change what a connection is, or send the client past us."""


def passable(capabilities: tuple[str, ...]) -> bytes:
    """The primary's capabilities, as far as they hold through us."""
    shown = [name for name in capabilities if not name.startswith(_BROKEN_BY_A_PROXY)]
    return b"CAPABILITY " + " ".join(shown).encode("ascii", "replace")


class Passage:
    """One joined pair."""

    def __init__(self, client: Stream, primary: Stream, services: Services) -> None:
        self._client = client
        self._primary = primary
        self._services = services
        self._boundary = Boundary()
        self._down = False

    async def run(self, to_client: bytes, to_primary: bytes) -> None:
        """Pass until either side ends; what each had sent before goes first."""
        client, primary, metrics = self._client, self._primary, self._services.metrics
        self._seen_by_client(to_client)
        client.put(to_client)
        primary.put(to_primary)
        primary.pipe_to(client, self._seen_by_client)
        client.pipe_to(primary, lambda data: _count(metrics, data))
        client.when_ended(primary.poke)
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
        said_bye = client_left or b"* BYE" in self._boundary.last
        if not said_bye and not self._down:
            self._services.board.evidence(Service.IMAP, Signal.FAIL, "a session broke")
        if not said_bye and self._boundary.at_line_start:
            self._client.put(encode.condition(None, "BYE", "Server has gone away, connect again", b"UNAVAILABLE"))

    def _seen_by_client(self, data: bytes) -> None:
        self._boundary.feed(data)
        self._services.metrics.passed_bytes["to_client"].inc(len(data))


def _count(metrics: ServeMetrics, data: bytes) -> None:
    metrics.passed_bytes["to_primary"].inc(len(data))
