"""An IMAP front on a real spool, with logins and a mode board that a test moves by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from relay.accounts.login import LoginResult, Reason, Verdict
from relay.core.envelope import Envelope, Origin, Recipient
from relay.core.errors import Damaged, NotNow
from relay.core.ids import ItemId
from relay.core.mode import Mode, Service, Signal
from relay.listen.gate import Gate
from relay.listen.listener import Listener
from relay.listen.settings import Port
from relay.obs.instruments import Maker
from relay.obs.metrics import ServeMetrics
from relay.primary.imap_raw import RawSettings
from relay.proto.sasl.credentials import Credentials
from relay.serve.front import ImapFront
from relay.serve.offer import Offer
from relay.serve.ports import Services
from relay.serve.settings import Deadlines, Limits, ListenerName, ServeSettings
from relay.spool.appending import Appends
from relay.spool.feed import Feed
from relay.spool.folders import Usual
from relay.spool.mailboxes import Mailboxes
from relay.store.mailbox_records import Quota
from relay.store.records import Change, ChangeKind
from tests.peers.certs import Pair, server_context
from tests.serve.client import Client, connect
from tests.spool.conftest import Spool, open_spool

BOB = "bob@example.org"
MESSAGE = (
    b"From: a@example.com\r\nTo: bob@example.org\r\nSubject: Hello\r\n"
    b"Date: Mon, 2 Feb 2026 10:00:00 +0000\r\n\r\nHi Bob\r\n"
)


class Board:
    """A mode per service, and the evidence that was handed in."""

    def __init__(self) -> None:
        self.modes = dict.fromkeys(Service, Mode.STANDBY)
        self.seen: list[tuple[Service, Signal]] = []
        self.watchers: list[Callable[[], None]] = []

    def all(self, mode: Mode) -> None:
        self.modes = dict.fromkeys(Service, mode)
        for told in self.watchers:
            told()

    def mode(self, service: Service) -> Mode:
        return self.modes[service]

    def evidence(self, service: Service, signal: Signal, reason: str) -> None:
        self.seen.append((service, signal))


class Logins:
    """Whoever says `secret` is let in; `down` has no answer."""

    def __init__(self) -> None:
        self.down = False
        self.throttled = False
        self.remembered: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.claimed: list[Credentials] = []
        self.refusals = 0
        self.tried: list[tuple[str, str]] = []

    async def check(self, claimed: Credentials, *, client: str) -> LoginResult:
        login = claimed.login
        self.tried.append((login, client))
        self.claimed.append(claimed)
        if self.down:
            raise NotNow("down")
        if login.startswith("nobody"):
            return LoginResult(Verdict.UNAVAILABLE, Reason.NOTHING_KNOWN)
        if claimed.secret != b"secret":
            return LoginResult(Verdict.REFUSED, Reason.MISMATCH)
        return LoginResult(Verdict.OK, Reason.CONFIGURED, login.lower())

    async def admits(self, login: str, *, client: str) -> bool:
        return not self.throttled

    async def remember(self, claimed: Credentials, *, client: str) -> None:
        self.remembered.put_nowait((claimed.login, claimed.secret))

    async def refused(self, claimed: Credentials, *, client: str) -> None:
        self.refusals += 1


class WatchedGate(Gate):
    """A gate that says when somebody has left."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.changed = asyncio.Event()

    def leave(self, address: str) -> None:
        super().leave(address)
        self.changed.set()


@dataclass
class Front:
    """The pieces of one IMAP front."""

    spool: Spool
    services: Services
    board: Board
    logins: Logins
    stack: AsyncExitStack
    imap: ImapFront
    damaged: list[ItemId] = field(default_factory=list)
    listeners: list[Listener[ListenerName]] = field(default_factory=list)

    async def listen(self, **settings: Any) -> Listener[ListenerName]:
        """A port; `settings` as of `Port`."""
        chosen: Port[ListenerName] = msgspec.structs.replace(Port("imap", "127.0.0.1", 0), **settings)
        listener = self.imap.listener(chosen)
        await listener.start()
        self.listeners.append(listener)
        return listener

    async def client(self, listener: Listener[ListenerName] | None = None) -> Client:
        """A greeted client."""
        listener = listener or (self.listeners[0] if self.listeners else await self.listen())
        client = await self.stack.enter_async_context(await connect(listener.port))
        await client.greeting()
        return client

    async def user(self, mailbox: str | None = "INBOX") -> Client:
        """A client of Bob's, logged in, with a mailbox selected."""
        client = await self.client()
        await client.login()
        if mailbox is not None:
            await client.ok(f"SELECT {mailbox}")
        return client

    async def deliver(self, *bodies: bytes, to: str = BOB) -> list[ItemId]:
        """Messages into an INBOX."""
        found: list[ItemId] = []
        for body in bodies or (MESSAGE,):
            async with self.spool.intake.begin() as draft:
                for at in range(0, len(body), 200_000):
                    await draft.write(body[at : at + 200_000])
                accepted = await draft.commit(
                    Envelope(f"n{len(found)}@example.com", (Recipient(to),)),
                    Origin("192.0.2.7", 4711, "mail.example.com", received_at=self.spool.clock.now()),
                    intent=False,
                )
            self.spool.intake.confirm(accepted.item)
            self.spool.clock.advance(1.0)
            found.append(accepted.item)
        return found

    async def left(self, most: int) -> None:
        """Wait until at most so many connections are open."""
        gate = self.services.gate
        assert isinstance(gate, WatchedGate)
        async with asyncio.timeout(20):
            while gate.open > most:
                gate.changed.clear()
                await gate.changed.wait()

    def heard(self, kind: str) -> Awaitable[bool]:
        """Done once the next change of a kind has reached the sessions."""
        event, loop = asyncio.Event(), asyncio.get_running_loop()

        def handler(_: Change) -> None:
            loop.call_soon(event.set)  # behind the handlers of the sessions

        self.stack.callback(self.services.feed.on_kind(ChangeKind(kind), handler))
        return asyncio.wait_for(event.wait(), 20)


MakeFront = Callable[..., Awaitable[Front]]


@asynccontextmanager
async def open_fronts(tmp_path: Path, server_pair: Pair) -> AsyncIterator[MakeFront]:
    """Makes fronts with settings of their own; all end with the block."""
    async with AsyncExitStack() as stack:

        async def make(
            *,
            primary: RawSettings | None = None,
            limits: Limits = Limits(),  # noqa: B008  # frozen
            deadlines: Deadlines = Deadlines(failure=0.01, goodbye=2.0),  # noqa: B008  # frozen
            quota: Quota | None = None,
            usual: Sequence[Usual] = (),
            **settings: Any,
        ) -> Front:
            folder = tmp_path / f"spool{len(fronts)}"
            folder.mkdir()
            spool = await stack.enter_async_context(open_spool(folder))
            feed = Feed(spool.store, spool.clock)
            await feed.start()
            stack.push_async_callback(feed.stop)
            board, logins, damaged = Board(), Logins(), list[ItemId]()

            async def note(item: ItemId, _: Damaged) -> None:
                damaged.append(item)

            serve = ServeSettings("mx.example.org", limits=limits, deadlines=deadlines, **settings)
            services = Services(
                settings=serve,
                mailboxes=Mailboxes(spool.store, spool.vault, spool.clock, quota=quota, usual=usual),
                appends=Appends(spool.store, spool.vault, spool.clock, spool.pressure, quota=quota),
                feed=feed,
                logins=logins,
                board=board,
                primary=primary,
                metrics=ServeMetrics(Maker(CollectorRegistry())),
                gate=WatchedGate(limits),
                clock=spool.clock,
                offer=Offer(spool.store, spool.clock),
                damaged=note,
            )
            clients = await stack.enter_async_context(AsyncExitStack())
            imap = ImapFront(services, server_context(server_pair))
            board.watchers.append(imap.heed)
            front = Front(spool, services, board, logins, clients, imap, damaged)
            fronts.append(front)

            async def stop() -> None:
                for listener in front.listeners:
                    await listener.stop()

            stack.push_async_callback(stop)
            return front

        fronts: list[Front] = []
        yield make


@pytest.fixture
async def make_front(tmp_path: Path, server_pair: Pair) -> AsyncIterator[MakeFront]:
    """Makes fronts."""
    async with open_fronts(tmp_path, server_pair) as make:
        yield make


@pytest.fixture
async def front(make_front: MakeFront) -> Front:
    """A front on the standby."""
    return await make_front()
