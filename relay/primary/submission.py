"""The primary's submission service, used under the users' own credentials.

Credentials enter; a pool leaves whose one connection is logged in as that user (and logs in again where it was lost),
or the server's refusal.

1. Credentials go out only as the endpoint is configured to be protected, and are kept no longer than the pool.
2. Which token mechanisms the server takes is what it showed last.
"""

from __future__ import annotations

import asyncio
import ssl

import msgspec

from relay.core.clock import Clock
from relay.core.mode import USES_PRIMARY, ModeBoard, Service
from relay.core.reply import QUARREL, Reply
from relay.primary.connection import Dialer
from relay.primary.errors import LoginRefused, NoContact
from relay.primary.settings import PoolSettings, SmtpSettings, TlsMode
from relay.primary.smtp import SmtpPool
from relay.primary.tls import client_context
from relay.proto.sasl.credentials import Credentials, Proof
from relay.proto.sasl.mechanisms import MECHANISMS
from relay.proto.smtp.ehlo import Extensions

ONE_USER = PoolSettings(connections=1, wait=10.0, idle=600.0, age=3600.0)
"""A user sends one message at a time, and is gone before this is."""
_EVERY = 600.0
_AGAIN = 5.0


def judges(reply: Reply) -> bool:
    """Whether a refusal of AUTH is about the credentials (RFC 4954 6), not about the conversation."""
    return reply.permanent and (reply.code == 535 or reply.code not in QUARREL)


class SubmissionPrimary:
    """One per worker."""

    def __init__(self, settings: SmtpSettings, clock: Clock, limits: PoolSettings = ONE_USER) -> None:
        self.settings = settings
        self.tokens: tuple[str, ...] = ()
        """Token mechanisms that it takes."""
        self._limits = limits
        self._clock = clock
        self._context: ssl.SSLContext | None = None

    async def login(self, claimed: Credentials) -> SmtpPool | Reply:
        """Log in: a pool to be closed by the caller, or the server's answer to AUTH. NoContact."""
        mine = msgspec.structs.replace(self.settings, credentials=claimed)
        pool = SmtpPool(mine, self._limits, self._clock, context=self._shared_context())
        try:
            self._learn(await pool.open())
        except LoginRefused as refused:
            return refused.reply
        return pool

    async def look(self) -> None:
        """See what it offers. NoContact."""
        connection = await Dialer(self.settings, self._clock, context=self._shared_context()).dial(None)
        connection.wire.leave()
        self._learn(connection.extensions)

    async def run(self, board: ModeBoard) -> None:
        """Look every now and then, until cancelled."""
        while True:
            seen = False
            if USES_PRIMARY[board.mode(Service.SUBMISSION)]:
                try:
                    await self.look()
                    seen = True
                except NoContact:
                    pass  # the probes judge the primary, not we
            await asyncio.sleep(_EVERY if seen else _AGAIN)

    def _learn(self, offered: Extensions) -> None:
        words = {word.upper() for word in offered.parameters("AUTH")}
        self.tokens = tuple(name for name, row in MECHANISMS.items() if row.proof is Proof.TOKEN and name in words)

    def _shared_context(self) -> ssl.SSLContext | None:
        if self._context is None and self.settings.endpoint.tls is not TlsMode.NONE:
            self._context = client_context(self.settings.endpoint)
        return self._context
