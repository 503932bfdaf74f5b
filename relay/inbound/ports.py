"""What inbound needs of its collaborators, and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from relay.accounts.directory import Verdict
from relay.accounts.login import Reason
from relay.accounts.login import Verdict as LoginVerdict
from relay.core.clock import Clock
from relay.core.envelope import Envelope, Origin
from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.core.mode import ModeBoard, Service
from relay.core.reply import Reply
from relay.inbound.budget import ByteBudget
from relay.inbound.finishing import Finishing
from relay.inbound.policy import RelayPolicy
from relay.inbound.postmaster import OwnPostmaster
from relay.inbound.senders import Senders
from relay.inbound.settings import InboundSettings
from relay.listen.gate import Gate
from relay.obs.metrics import InboundMetrics
from relay.primary.client_names import ClientNames
from relay.primary.smtp import SmtpPool
from relay.proto.sasl.credentials import Credentials
from relay.spool.queue import Result
from relay.store.records import Accepted, Lease, Route


class Draft(Protocol):
    """`spool.intake.Draft`."""

    @property
    def item(self) -> ItemId:
        """Its name from now on."""
        ...

    async def write(self, block: bytes) -> None:
        """Append content. NotNow."""
        ...

    async def commit(self, envelope: Envelope, origin: Origin, *, intent: bool) -> Accepted:
        """Durable on return, and finished even when the caller is cancelled. NotNow: nothing was promised."""
        ...

    async def discard(self) -> None:
        """Forget it, unless it was committed. Idempotent."""
        ...


class Bundle(Protocol):
    """`spool.intake.Bundle`: one message that becomes several items."""

    @property
    def items(self) -> tuple[ItemId, ...]:
        """Their names."""
        ...

    async def write(self, block: bytes) -> None:
        """As `Draft.write`."""
        ...

    async def commit(self, envelopes: Sequence[Envelope], origin: Origin, *, intent: bool) -> list[Accepted]:
        """As `Draft.commit`, all or none."""
        ...

    async def discard(self) -> None:
        """As `Draft.discard`."""
        ...


class Intake(Protocol):
    """`spool.intake.Intake`."""

    def begin_bundle(self, routes: Sequence[Route]) -> Bundle:
        """A new message, an item for each route."""
        ...

    def begin(self) -> Draft:
        """A new message."""
        ...

    def confirm(self, item: ItemId) -> None:
        """The sender has seen our 250."""
        ...


class Queue(Protocol):
    """`spool.queue.Queue`, as far as cut-through needs it."""

    async def renew(self, leases: Sequence[Lease], *, seconds: float) -> list[Lease]:
        """Extended leases; lost ones are missing."""
        ...

    async def settle(
        self,
        lease: Lease,
        state: ItemState,
        results: Sequence[Result] = (),
        *,
        note: Reply | None = None,
        next_attempt_at: float = 0.0,
        counts_as_attempt: bool = True,
        patient: bool = False,
    ) -> None:
        """Record the outcome; `patient` where no peer waits for it. LeaseLost, NotNow."""
        ...


class Pressure(Protocol):
    """`spool.pressure.Pressure`."""

    def admits(self, size: int | None) -> bool:
        """Whether a message of this size may begin."""
        ...


class Directory(Protocol):
    """The recipient directory."""

    async def verdict(self, address: str) -> Verdict:
        """By what was learned. NotNow."""
        ...

    async def learn(self, address: str, answer: Reply) -> None:
        """The primary's own answer to RCPT."""
        ...


class Entry(msgspec.Struct, frozen=True):
    """What came of a login."""

    verdict: LoginVerdict
    account: str = ""
    """Whose it is; set when the verdict is OK."""
    upstream: SmtpPool | None = None
    """The primary's submission, logged in as that user; to be closed."""
    reason: Reason = Reason.UNJUDGED
    """What it was, for the log; of those that are not OK."""


class Logins(Protocol):
    """`inbound.login.Desk`."""

    def mechanisms(self) -> tuple[str, ...]:
        """What may be tried now."""
        ...

    async def login(self, claimed: Credentials, *, client: str) -> Entry:
        """`client` is the peer's address, for throttling. NotNow."""
        ...


@dataclass(frozen=True)
class Submitting:
    """What users may do who are logged in."""

    senders: Senders
    policy: RelayPolicy
    route_of: Callable[[str], Route]
    """Which way mail to an address goes."""


Trace = Callable[[Envelope, Origin, ItemId], bytes]
"""The Received line that goes ahead of the message, with CRLF (RFC 5321 4.4)."""
Read = Callable[[ItemId], AsyncIterator[bytes]]
"""The content of a committed item."""


@dataclass(frozen=True)
class Services:
    """Everything that the connections of a worker share."""

    settings: InboundSettings
    intake: Intake
    queue: Queue
    read: Read
    pressure: Pressure
    directory: Directory
    logins: Logins
    policy: RelayPolicy
    board: ModeBoard
    pool: SmtpPool | None
    """None = there is no primary to ask (a pure spool)."""
    submitting: Submitting
    trace: Trace
    clock: Clock
    metrics: InboundMetrics
    gate: Gate
    budget: ByteBudget
    postmaster: OwnPostmaster = field(default_factory=OwnPostmaster)
    names: ClientNames | None = None
    """None = clients have no names."""
    service: Service = Service.SMTP
    """What `pool` belongs to."""
    lease_seconds: float = 60.0
    finishing: Finishing = field(default_factory=Finishing)
