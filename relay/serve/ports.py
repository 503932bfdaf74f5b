"""What the IMAP front needs of its collaborators, and no more."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from relay.accounts.login import LoginResult
from relay.core.clock import Clock, SystemClock
from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.core.mode import ModeBoard
from relay.listen.gate import Gate
from relay.obs.metrics import ServeMetrics
from relay.primary.imap_raw import RawSettings
from relay.primary.settings import TlsMode
from relay.primary.tls import client_context
from relay.proto.sasl.credentials import Credentials
from relay.serve.bodies import Bodies
from relay.serve.chores import Chores
from relay.serve.offer import Offer
from relay.serve.settings import ServeSettings
from relay.serve.summary import Summaries
from relay.spool.appending import Appends
from relay.spool.feed import Feed
from relay.spool.mailboxes import Mailboxes


class Logins(Protocol):
    """The `accounts` service."""

    async def check(self, claimed: Credentials, *, client: str) -> LoginResult:
        """By what is known here; throttled by account and by `client`, an IP address. NotNow."""
        ...

    async def admits(self, login: str, *, client: str) -> bool:
        """Whether an attempt may be made at all, also on the primary."""
        ...

    async def remember(self, claimed: Credentials, *, client: str) -> None:
        """It has just worked on the primary. NotNow."""
        ...

    async def refused(self, claimed: Credentials, *, client: str) -> None:
        """It has just been refused by the primary: counts for the throttle."""
        ...


async def _nothing(item: ItemId, damage: Damaged) -> None:
    """Damage that nobody wants to know of (tests of the front alone)."""


@dataclass(frozen=True)
class Services:
    """Everything that the connections of a worker share."""

    settings: ServeSettings
    mailboxes: Mailboxes
    appends: Appends
    feed: Feed
    logins: Logins
    board: ModeBoard
    primary: RawSettings | None
    """None = there is no primary to pass anybody through to."""
    metrics: ServeMetrics
    gate: Gate
    clock: Clock = field(default_factory=SystemClock)
    chores: Chores = field(default_factory=Chores)
    offer: Offer = field(default_factory=Offer)
    damaged: Callable[[ItemId, Damaged], Awaitable[None]] = field(default=_nothing)
    """Told of items whose bytes did not verify (`spool.queue.Queue.quarantine`)."""

    @cached_property
    def bodies(self) -> Bodies:
        """Small messages, with a memory that all sessions share."""
        return Bodies(self.mailboxes, self.settings.limits.bodies_memory)

    @cached_property
    def summaries(self) -> Summaries:
        """The same for what FETCH and SEARCH need of messages."""
        return Summaries(self.mailboxes, self.bodies, self.settings.limits.summaries_memory)

    @cached_property
    def uploads(self) -> asyncio.Semaphore:
        """Held while a message is received."""
        return asyncio.Semaphore(self.settings.limits.uploads)

    @cached_property
    def primary_tls(self) -> ssl.SSLContext | None:
        """For connections to the primary; made once, because it takes longer than a login."""
        if self.primary is None or self.primary.endpoint.tls is TlsMode.NONE:
            return None
        return client_context(self.primary.endpoint)
