"""Random worlds: attempts, crashes, lost replies, lost leases, looks. Nothing is lost and nothing is there twice.

The world's own record of what it took is the truth; the queue only sees its replies.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from relay.core.clock import ManualClock
from relay.core.envelope import Envelope, Origin, Recipient
from relay.core.ids import ItemId
from relay.core.item import OWED, ItemState, RecipientState
from relay.core.reply import Reply, reply
from relay.core.retry import Backoff
from relay.obs.metrics import Metrics
from relay.primary.imap import Mark, Sight
from relay.replay.again import SecondLook
from relay.replay.attempt import Attempts
from relay.replay.destination import BeforeDot, Message
from relay.replay.hold import Holding
from relay.replay.outcome import Verdict
from relay.replay.settings import ReplaySettings
from relay.replay.verify import Verifier
from relay.spool.intake import Intake, IntakeSettings
from relay.spool.pressure import DiskRoom, Pressure, PressureSettings
from relay.spool.queue import Queue
from relay.spool.read import Reader
from relay.store.memory import MemoryStore
from relay.store.records import Route
from relay.vault.bootstrap import open_vault
from relay.vault.keys import KeyRing, init_key_file
from tests.replay.harness import Board

T = TypeVar("T")
S, R = ItemState, RecipientState
NAMES = ("a", "b", "c")
LEASE = 60.0

RCPT = st.sampled_from(["250", "250", "250", "450", "550", "421"])
END = st.sampled_from(
    [
        "ok",
        "ok",
        "4xx",
        "5xx",
        "530",
        "no contact",
        "broken in content",
        "lost but taken",
        "lost",
        "crash before intent",
        "crash before dot",
        "crash after dot",
        "crash before settle",
        "lease runs out before dot",
        "lease runs out after dot",
    ]
)


class Crash(Exception):
    """The worker dies here; nothing after it happens."""


class World:
    """A destination that keeps the truth."""

    route = Route.PRIMARY

    def __init__(self, clock: ManualClock) -> None:
        self.truth: Counter[tuple[ItemId, str]] = Counter()
        self.refused: set[tuple[ItemId, str]] = set()
        self.rcpt: Sequence[str] = ()
        self.end = "ok"
        self._clock = clock

    @property
    def sees_mailboxes(self) -> bool:
        """As Eyes."""
        return True

    async def look(self, address: str, mark: Mark) -> Sight:
        """As Eyes."""
        return Sight.FOUND if self.truth[mark.item, address] else Sight.ABSENT

    async def attempt(self, message: Message, recipients: Sequence[int], before_dot: BeforeDot) -> Verdict:
        """As Destination."""
        if self.end == "no contact":
            return Verdict(trouble="connection refused", evidence=True)
        item = message.row.id
        answers = {index: _reply(self.rcpt[index % len(self.rcpt)] if self.rcpt else "250") for index in recipients}
        refused = [(index, answer) for index, answer in answers.items() if not answer.positive]
        accepted = [index for index in recipients if answers[index].positive]
        self.refused |= {(item, _address(message, i)) for i, answer in refused if answer.permanent}
        if not accepted:
            return Verdict(tuple(refused))
        if self.end == "broken in content":
            return Verdict(trouble="connection broke", evidence=True, in_data=True)
        if self.end == "crash before intent":
            raise Crash
        if self.end == "lease runs out before dot":
            self._clock.advance(LEASE + 1)
        await before_dot()
        if self.end == "crash before dot":
            raise Crash
        if self.end in ("ok", "lost but taken", "crash after dot", "crash before settle", "lease runs out after dot"):
            self.truth.update((item, _address(message, i)) for i in accepted)
        if self.end == "crash after dot":
            raise Crash
        if self.end == "lease runs out after dot":
            self._clock.advance(LEASE + 1)
        if self.end.startswith("lost"):
            return Verdict(tuple(refused), unsure=tuple(accepted), trouble="no answer", evidence=True)
        final = {"4xx": "451", "5xx": "554", "530": "530"}.get(self.end, "250")
        if final == "554":
            self.refused |= {(item, _address(message, i)) for i in accepted}
        return Verdict((*refused, *((index, _reply(final)) for index in accepted)))


def _reply(code: str) -> Reply:
    return reply(int(code), "text")


def _address(message: Message, index: int) -> str:
    return message.envelope.recipients[index].address


class Queueing(RuleBasedStateMachine):
    """One spool, one world, workers that come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.expected: dict[ItemId, tuple[str, ...]] = {}
        self.worker = 0
        self.run(self._build())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Work to its end."""
        return self.loop.run_until_complete(work)

    async def _build(self) -> None:
        path = Path(self.folder.name)
        init_key_file(path / "key")
        self.clock = ManualClock()
        self.store = MemoryStore()

        async def put(name: str, value: bytes) -> bytes:
            return await self.store.put_setting_if_absent(name, value, now=self.clock.now())

        self.vault = await open_vault(KeyRing.load(path / "key"), self.store.setting, put)
        self.intake = Intake(
            store=self.store,
            vault=self.vault,
            clock=self.clock,
            pressure=Pressure(path, PressureSettings(), room=lambda _: DiskRoom(1 << 40, 1 << 20)),
            settings=IntakeSettings(owner="inbound"),
            account_of=lambda address: address,
        )
        self.reader = Reader(self.store, self.vault)
        self.world = World(self.clock)
        self.board = Board()
        self.metrics = Metrics()
        self._new_worker()

    def _new_worker(self) -> None:
        self.worker += 1
        owner = f"worker/{self.worker}"
        self.queue = Queue(self.store, self.vault, self.clock, owner=owner)
        self.holding = Holding(self.queue, self.clock, LEASE)
        settings = ReplaySettings(owner=owner, unknown_wait=600.0, lease_seconds=LEASE)
        self.attempts = Attempts(
            queue=self.queue,
            reader=self.reader,
            destination=self.world,
            second_look=SecondLook(
                queue=self.queue,
                eyes=self.world,
                board=self.board,
                clock=self.clock,
                settings=settings,
                metrics=self.metrics.replay,
            ),
            holding=self.holding,
            clock=self.clock,
            backoff=Backoff(),
            fraction=lambda: 0.0,
            on_damage=lambda _: None,
        )
        self.verifier = Verifier(
            queue=self.queue,
            reader=self.reader,
            eyes=self.world,
            board=self.board,
            clock=self.clock,
            settings=settings,
            metrics=self.metrics.replay,
        )

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        """Some mail is there."""
        for _ in range(count):
            self.accept(3)

    @rule(width=st.integers(1, 3))
    def accept(self, width: int) -> None:
        """A message arrives."""
        self.run(self._accept(width))

    async def _accept(self, width: int) -> None:
        self.clock.advance(0.002)
        addresses = tuple(f"{name}@example.org" for name in NAMES[:width])
        envelope = Envelope("s@example.net", tuple(map(Recipient, addresses)))
        async with self.intake.begin() as draft:
            await draft.write(b"Subject: x\r\n\r\nx\r\n")
            accepted = await draft.commit(envelope, Origin("192.0.2.7", 1, "h"), intent=False)
        self.expected[accepted.item] = addresses

    @rule(rcpt=st.lists(RCPT, max_size=3), end=END)
    def attempt(self, rcpt: list[str], end: str) -> None:
        """The oldest due message is tried."""
        self.world.rcpt, self.world.end = rcpt, end
        self.run(self._attempt())

    async def _attempt(self) -> None:
        since = self.clock.monotonic()
        for row in await self.queue.claim(limit=1, seconds=LEASE, states=[S.PENDING]):
            assert row.lease is not None
            self.holding.add([row.lease], since)
            (attempt,) = await self.attempts.prepare([row])
            try:
                decision = await attempt.run()
            except Crash:
                self._new_worker()
                return
            if self.world.end == "crash before settle":
                self._new_worker()
            elif decision is not None:
                await attempt.settle(decision)

    @rule(seconds=st.sampled_from([1.0, 10.0, LEASE + 1, 700.0, 2000.0]))
    def time(self, seconds: float) -> None:
        """It passes."""
        self.clock.advance(seconds)

    @rule()
    def rescue(self) -> None:
        """Leases of the dead are ended."""
        self.run(self.store.rescue(now=self.clock.now()))

    @rule()
    def look(self) -> None:
        """Doubts are looked into."""
        self.run(self.verifier.look_around())

    @rule()
    def release(self) -> None:
        """The operator lets everything held go again."""
        for row in self.run(self.store.items(states=[S.HELD])):
            self.world.refused -= {(row.id, address) for address in self.expected[row.id]}
            self.run(self.queue.move(row.id, S.PENDING))

    @invariant()
    def nothing_twice(self) -> None:
        """No mailbox holds a message more than once."""
        assert all(count <= 1 for count in self.world.truth.values())

    @invariant()
    def nothing_lost(self) -> None:
        """What is finished was delivered to everybody; what is marked delivered is there."""
        for item, addresses in self.expected.items():
            row = self.run(self.store.item(item))
            assert row is not None
            assert row.state in OWED | {S.DELIVERED}
            for recipient, address in zip(row.recipients, addresses, strict=True):
                there = bool(self.world.truth[item, address])
                if recipient.state is R.DELIVERED or row.state is S.DELIVERED:
                    assert there
                if recipient.state is R.REFUSED:
                    assert (item, address) in self.world.refused
                if row.state is S.PENDING and recipient.state is R.WAITING:
                    assert not there

    def teardown(self) -> None:
        """In the end, with a world that is well, everything arrives."""
        try:
            self.run(self._finish())
        finally:
            self.run(self.intake.drain())
            self.loop.close()
            self.folder.cleanup()

    async def _finish(self) -> None:
        self.world.rcpt, self.world.end = (), "ok"
        self._new_worker()
        for _ in range(8):
            self.clock.advance(2000.0)
            await self.store.rescue(now=self.clock.now())
            await self.verifier.look_around()
            for row in await self.store.items(states=[S.HELD]):
                await self.queue.move(row.id, S.PENDING)
            for _ in self.expected:
                await self._attempt()
        for item, addresses in self.expected.items():
            found = await self.store.item(item)
            assert found is not None
            assert found.state is S.DELIVERED
            assert [self.world.truth[item, address] for address in addresses] == [1] * len(addresses)


Queueing.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestQueueing = Queueing.TestCase
