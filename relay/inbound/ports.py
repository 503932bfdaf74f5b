"""What inbound needs of its collaborators, and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay.accounts.directory import Verdict
from relay.accounts.login import LoginResult
from relay.core.clock import Clock
from relay.core.envelope import Envelope, Origin
from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.core.mode import ModeBoard
from relay.core.reply import Reply
from relay.inbound.budget import ByteBudget
from relay.inbound.finishing import Finishing
from relay.inbound.policy import RelayPolicy
from relay.inbound.settings import InboundSettings
from relay.listen.gate import Gate
from relay.obs.metrics import InboundMetrics
from relay.primary.client_names import ClientNames
from relay.primary.smtp import SmtpPool
from relay.spool.queue import Result
from relay.store.records import Accepted, Lease


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


class Intake(Protocol):
    """`spool.intake.Intake`."""

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


class Logins(Protocol):
    """Checks credentials."""

    async def login(self, login: str, password: str, *, client: str) -> LoginResult:
        """`client` is the peer's address, for throttling."""
        ...


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
    trace: Trace
    clock: Clock
    metrics: InboundMetrics
    gate: Gate
    budget: ByteBudget
    names: ClientNames | None = None
    """None = clients have no names."""
    lease_seconds: float = 60.0
    finishing: Finishing = field(default_factory=Finishing)
