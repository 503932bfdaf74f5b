"""Which SASL mechanisms the primary shows: what it takes is offered through us, and nothing that it does not take.

Only token mechanisms are of interest; passwords are taken by every primary, one way or the other.
"""

from __future__ import annotations

import asyncio
import ssl

from relay.core.mode import USES_PRIMARY, ModeBoard, Service
from relay.primary import imap_raw
from relay.primary.errors import NoContact
from relay.primary.imap_raw import RawSettings
from relay.primary.settings import TlsMode
from relay.primary.tls import client_context
from relay.proto.sasl.credentials import Proof
from relay.proto.sasl.mechanisms import MECHANISMS

TOKENS = tuple(name for name, row in MECHANISMS.items() if row.proof is Proof.TOKEN)
PASSWORDS = tuple(name for name, row in MECHANISMS.items() if row.proof is Proof.PASSWORD)
_EVERY = 600.0
_AGAIN = 5.0


class Offer:
    """What was seen last; it stays when the primary goes."""

    def __init__(self) -> None:
        self.tokens: tuple[str, ...] = ()

    def learn(self, capabilities: tuple[str, ...]) -> None:
        """From a connection that is not logged in yet."""
        self.tokens = tuple(name for name in TOKENS if f"AUTH={name}" in capabilities)

    async def run(self, primary: RawSettings, board: ModeBoard) -> None:
        """Look every now and then, until cancelled. Nobody logs in by token before it was seen once."""
        tls = None if primary.endpoint.tls is TlsMode.NONE else client_context(primary.endpoint)
        while True:
            seen = USES_PRIMARY[board.mode(Service.IMAP)] and await self.look(primary, tls)
            await asyncio.sleep(_EVERY if seen else _AGAIN)

    async def look(self, primary: RawSettings, tls: ssl.SSLContext | None) -> bool:
        """Look once; whether that went well."""
        try:
            session = await imap_raw.connect(primary, tls)
        except NoContact:
            return False  # the probes judge the primary, not we
        self.learn(session.capabilities)
        session.close()
        return True
