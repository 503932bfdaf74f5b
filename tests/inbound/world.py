"""A listener with everything it needs, where each collaborator can be told to misbehave."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal

from prometheus_client import CollectorRegistry

from relay.accounts.directory import Verdict
from relay.accounts.login import Reason
from relay.accounts.login import Verdict as LoginVerdict
from relay.accounts.names import Naming, NamingSettings
from relay.core.clock import Clock, SystemClock
from relay.core.envelope import Envelope, Origin
from relay.core.errors import LeaseLost, NotNow
from relay.core.ids import ItemId, item_id
from relay.core.item import ItemState, legal
from relay.core.mode import Hysteresis, Mode, ModeState, Service, Signal, step
from relay.core.reply import Reply
from relay.inbound.budget import ByteBudget
from relay.inbound.front import smtp_listener
from relay.inbound.policy import LocalDomainsOnly, UsersMayWrite
from relay.inbound.ports import Entry, Services, Submitting
from relay.inbound.postmaster import OwnPostmaster
from relay.inbound.senders import Grant, Senders
from relay.inbound.settings import Deadlines, InboundSettings, Limits, ListenerName, ListenerSettings
from relay.listen.gate import Gate
from relay.listen.settings import Network
from relay.obs.metrics import Metrics
from relay.primary.client_names import ClientNames
from relay.primary.settings import Deadlines as PrimaryDeadlines
from relay.primary.settings import Endpoint, Forward, PoolSettings, SmtpSettings, TlsMode
from relay.primary.smtp import SmtpPool
from relay.proto.sasl.credentials import Credentials
from relay.spool.queue import Result
from relay.store.records import Accepted, Lease, Route
from tests.peers.smtpclient import SmtpClient
from tests.spool.conftest import Spool

BOB = "bob@example.org"
TRACE = b"Received: from client by relay\r\n"


@dataclasses.dataclass
class Stored:
    """One committed item."""

    envelope: Envelope
    origin: Origin
    content: bytes
    state: ItemState
    route: Route = Route.PRIMARY
    results: tuple[Result, ...] = ()
    note: Reply | None = None
    confirmed: bool = False


class FakeSpool:
    """Intake and queue in memory; keeps the transition table."""

    def __init__(self) -> None:
        self.items: dict[ItemId, Stored] = {}
        self.drafts = 0
        self.discarded = 0
        self.fail_write = False
        self.fail_commit = False
        self.fail_settle: type[Exception] | None = None
        self.commit_gate = asyncio.Event()
        self.commit_gate.set()
        self.committing = asyncio.Event()
        self.changed = asyncio.Event()
        self.admit = True
        self.largest_block = 0
        self.renewed = 0

    @property
    def only(self) -> Stored:
        """The one item there must be."""
        (stored,) = self.items.values()
        return stored

    def begin(self) -> FakeDraft:
        """As `Intake.begin`."""
        self.drafts += 1
        return FakeDraft(self, item_id(1_800_000_000_000, self.drafts.to_bytes(10, "big")))

    def begin_bundle(self, routes: Sequence[Route]) -> FakeBundle:
        """As `Intake.begin_bundle`."""
        return FakeBundle([(route, self.begin()) for route in routes])

    def confirm(self, item: ItemId) -> None:
        """As `Intake.confirm`."""
        if item in self.items:
            self.items[item].confirmed = True

    def admits(self, size: int | None) -> bool:
        """As `Pressure.admits`."""
        del size
        return self.admit

    async def renew(self, leases: Sequence[Lease], *, seconds: float) -> list[Lease]:
        """As `Queue.renew`."""
        del seconds
        self.renewed += len(leases)
        return list(leases)

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
        """As `Queue.settle`."""
        del next_attempt_at, counts_as_attempt, patient
        if self.fail_settle is not None:
            raise self.fail_settle("told to fail")
        stored = self.items[lease.item]
        assert legal(stored.state, state)
        stored.state, stored.results, stored.note = state, tuple(results), note
        self._notify()

    async def read(self, item: ItemId) -> AsyncIterator[bytes]:
        """As `StoredMessage.stream`."""
        content = self.items[item].content
        for start in range(0, len(content), 131_072):
            yield content[start : start + 131_072]

    async def until(self, count: int, seconds: float = 10.0) -> None:
        """Wait until that many items were committed."""
        async with asyncio.timeout(seconds):
            while len(self.items) < count:
                self.changed.clear()
                await self.changed.wait()

    async def until_state(self, state: ItemState, seconds: float = 10.0) -> None:
        """Wait until the only item is in a state."""
        async with asyncio.timeout(seconds):
            while not self.items or self.only.state is not state:
                self.changed.clear()
                await self.changed.wait()

    def _notify(self) -> None:
        self.changed.set()


class FakeDraft:
    """As `spool.intake.Draft`."""

    def __init__(self, spool: FakeSpool, item: ItemId) -> None:
        self.item = item
        self._spool = spool
        self._content = bytearray()
        self._done = False

    async def write(self, block: bytes) -> None:
        """Append."""
        if self._spool.fail_write:
            raise NotNow("told to fail")
        self._spool.largest_block = max(self._spool.largest_block, len(block))
        self._content += block

    async def commit(
        self, envelope: Envelope, origin: Origin, *, intent: bool, route: Route = Route.PRIMARY
    ) -> Accepted:
        """Keep it; a commit that has begun is finished, as in the spool."""
        assert not self._done
        self._done = True
        return await asyncio.shield(asyncio.ensure_future(self._commit(envelope, origin, route, intent=intent)))

    async def _commit(self, envelope: Envelope, origin: Origin, route: Route, *, intent: bool) -> Accepted:
        self._spool.committing.set()
        await self._spool.commit_gate.wait()
        if self._spool.fail_commit:
            raise NotNow("told to fail")
        content = bytes(self._content)
        for item, stored in self._spool.items.items():
            refused = stored.state is ItemState.REFUSED
            if stored.content == content and stored.envelope == envelope and not stored.confirmed and not refused:
                return Accepted(item, duplicate=True, state=stored.state)
        state = ItemState.INTENT if intent else ItemState.PENDING
        self._spool.items[self.item] = Stored(envelope, origin, content, state, route)
        self._spool._notify()
        lease = Lease(self.item, "test", 1, 0.0) if intent else None
        return Accepted(self.item, duplicate=False, state=state, lease=lease)

    async def discard(self) -> None:
        """Drop it."""
        if not self._done:
            self._done = True
            self._spool.discarded += 1


class FakeBundle:
    """As `spool.intake.Bundle`."""

    def __init__(self, drafts: Sequence[tuple[Route, FakeDraft]]) -> None:
        self._drafts = drafts

    @property
    def items(self) -> tuple[ItemId, ...]:
        """Names."""
        return tuple(draft.item for _, draft in self._drafts)

    async def write(self, block: bytes) -> None:
        """Append."""
        for _, draft in self._drafts:
            await draft.write(block)

    async def commit(self, envelopes: Sequence[Envelope], origin: Origin, *, intent: bool) -> list[Accepted]:
        """Keep all."""
        pairs = zip(self._drafts, envelopes, strict=True)
        return [await draft.commit(envelope, origin, intent=intent, route=route) for (route, draft), envelope in pairs]

    async def discard(self) -> None:
        """Drop them."""
        for _, draft in self._drafts:
            await draft.discard()


class FakeDirectory:
    """Verdicts by address; what was learned."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.default = Verdict.UNKNOWN_ACCEPT
        self.learned: list[tuple[str, int]] = []
        self.fail = False

    async def verdict(self, address: str) -> Verdict:
        """As told."""
        if self.fail:
            raise NotNow("told to fail")
        return self.verdicts.get(address, self.default)

    async def learn(self, address: str, answer: Reply) -> None:
        """Note it."""
        self.learned.append((address, answer.code))


class FakeLogins:
    """bob with the password `secret`; everybody else is refused."""

    def __init__(self) -> None:
        self.available = True
        self.offered: tuple[str, ...] = ("PLAIN", "LOGIN")
        self.upstream: Callable[[], SmtpPool] | None = None
        """Makes what a login is passed through to."""
        self.tried: list[tuple[str, str]] = []

    def mechanisms(self) -> tuple[str, ...]:
        """As told."""
        return self.offered

    async def login(self, claimed: Credentials, *, client: str) -> Entry:
        """As told."""
        del client
        self.tried.append((claimed.login, claimed.password))
        if not self.available:
            return Entry(LoginVerdict.UNAVAILABLE)
        if (claimed.login, claimed.password) == ("bob", "secret") and not claimed.for_another:
            return Entry(LoginVerdict.OK, BOB, self.upstream() if self.upstream is not None else None)
        return Entry(LoginVerdict.REFUSED, reason=Reason.MISMATCH)


class Board:
    """The real transition table over evidence, without probes."""

    def __init__(self, mode: Mode) -> None:
        self.state = ModeState(mode)
        self.signals: list[Signal] = []
        self.reasons: list[str] = []

    def mode(self, service: Service) -> Mode:
        """SMTP's and submission's."""
        assert service in (Service.SMTP, Service.SUBMISSION)
        return self.state.mode

    def evidence(self, service: Service, signal: Signal, reason: str) -> None:
        """Step."""
        assert service in (Service.SMTP, Service.SUBMISSION)
        self.signals.append(signal)
        self.reasons.append(reason)
        self.state = step(self.state, signal, rules=Hysteresis(), drains=True, now=0.0, reason=reason)


def reading(spool: Spool) -> Callable[[ItemId], AsyncIterator[bytes]]:
    """Content by item, from the real spool."""

    async def read(item: ItemId) -> AsyncIterator[bytes]:
        message = await spool.reader.open_item(item)
        assert message is not None
        async for block in message.stream():
            yield block

    return read


QUICK = PrimaryDeadlines(open=0.5, command=0.5, block=0.5, final=0.5)


class World:
    """Use as an async context manager; `port` is where it listens."""

    def __init__(
        self,
        *,
        primary: int | None = None,
        mode: Mode | None = None,
        listener: ListenerName = "mx",
        limits: Limits | None = None,
        deadlines: Deadlines | None = None,
        context: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        proxy_from: tuple[Network, ...] = (),
        primary_deadlines: PrimaryDeadlines = QUICK,
        host: str = "127.0.0.1",
        pool_connections: int = 20,
        real: Spool | None = None,
        names: ClientNames | None = None,
        forward: Forward = Forward.NONE,
        plaintext_auth: Literal["never", "loopback"] = "never",
        clock: Clock | None = None,
    ) -> None:
        self.spool = FakeSpool()
        self.directory = FakeDirectory()
        self.logins = FakeLogins()
        self.board = Board(mode or (Mode.STANDBY if primary is None else Mode.NORMAL))
        self.metrics = Metrics(CollectorRegistry())
        settings = InboundSettings(
            hostname="mx1.example.org",
            domains=("example.org", "Bücher.example"),
            limits=limits or Limits(),
            deadlines=deadlines or Deadlines(),
            plaintext_auth=plaintext_auth,
        )
        clock = clock or SystemClock()
        self.pool = (
            None
            if primary is None
            else SmtpPool(
                SmtpSettings(
                    Endpoint("127.0.0.1", primary, TlsMode.NONE),
                    helo="relay.example.org",
                    forward=forward,
                    deadlines=primary_deadlines,
                ),
                PoolSettings(connections=pool_connections, wait=0.5),
                clock,
            )
        )
        self.services = Services(
            settings=settings,
            intake=real.intake if real else self.spool,
            queue=real.queue if real else self.spool,
            read=reading(real) if real else self.spool.read,
            pressure=real.pressure if real else self.spool,
            directory=self.directory,
            logins=self.logins,
            policy=LocalDomainsOnly(settings.domains),
            postmaster=OwnPostmaster([settings.hostname], ["192.0.2.25", "2001:db8::25"], domains=settings.domains),
            submitting=Submitting(
                Senders(
                    Naming(NamingSettings("example.org", {"robert@example.org": BOB})),
                    [Grant("bob", ("sales@example.org", "@lists.example.net")), Grant("*", ("noreply@example.org",))],
                ),
                UsersMayWrite(LocalDomainsOnly(settings.domains)),
                lambda address: Route.PRIMARY if address.lower().endswith("@example.org") else Route.WORLD,
            ),
            board=self.board,
            pool=self.pool,
            trace=lambda *_: TRACE,
            clock=clock,
            metrics=self.metrics.inbound,
            gate=Gate(settings.limits),
            budget=ByteBudget(settings.limits.in_flight, self.metrics.inbound.in_flight_bytes),
            names=names,
        )
        self.listener = smtp_listener(
            self.services,
            ListenerSettings(listener, host, 0, implicit_tls=implicit_tls, proxy_from=proxy_from),
            context,
        )

    async def __aenter__(self) -> World:
        await self.listener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.listener.stop()
        if self.services.names is not None:
            await self.services.names.stop()
        if self.pool is not None:
            await self.pool.close()
        # What was taken was given back, on every path.
        assert self.services.budget.used == 0
        assert self.services.gate.open == 0
        assert not self.listener.ends

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.listener.port

    async def until_gone(self) -> None:
        """Wait until every connection has ended, with all that its task had to do."""
        if ends := self.listener.ends:
            _, left = await asyncio.wait(ends, timeout=10)
            assert not left

    async def client(self, *, hello: bool = True) -> SmtpClient:
        """A connected client that has said EHLO."""
        client = await SmtpClient.connect(self.port)
        if hello:
            await client.ehlo()
        return client


__all__ = ["TRACE", "Board", "FakeSpool", "LeaseLost", "World"]
