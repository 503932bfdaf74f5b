"""Random lives: SQLite must answer every call as the model does, and hold the same state afterwards."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from relay.core.ids import ItemId
from relay.core.item import LEGAL, ItemState, RecipientState
from relay.store.records import FlagChange, Lease, Outcome, RecipientResult, Route
from tests.store.samples import JOURNAL, account, item_id, new_item
from tests.store.two_engines import TwoEngines

NAMES = ("ann", "bob", "-")
STATES = st.sampled_from(list(ItemState))
OWNERS = st.sampled_from(["a", "b"])
RESULTS = st.lists(
    st.builds(RecipientResult, st.integers(0, 3), st.sampled_from(list(RecipientState)), st.just(b"detail")), max_size=2
).map(tuple)
SECONDS = st.sampled_from([0.0, 5.0, 10.0])


class Lives(TwoEngines):
    """Two engines, one story."""

    def __init__(self) -> None:
        super().__init__()
        self.leases: list[Lease] = []

    def items(self) -> list[ItemId]:
        """Ids of all that were ever tried."""
        return [item_id(number) for number in range(self.count + 2)]

    @initialize(count=st.integers(1, 4))
    def begin(self, count: int) -> None:
        """With some mail in the queue."""
        now = self.now
        for number in range(1, count + 1):
            new = new_item(number, "ann", "bob", "ann", at=now)
            self.both(lambda store, new=new: store.accept(new, now=now))  # type: ignore[misc]  # a default binds the loop's value
        self.count = count

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
        staged=st.integers(0, 2),
        lost=st.booleans(),
        dedup=st.sampled_from([None, b"k1", b"k2"]),
        cut_through=st.booleans(),
        route=st.sampled_from([Route.PRIMARY, Route.WORLD]),
    )
    def accept(
        self, *, names: list[str], staged: int, lost: bool, dedup: bytes | None, cut_through: bool, route: Route
    ) -> None:
        self.count += 1
        number, now = self.count, self.now
        new = new_item(
            number,
            *names,
            at=now,
            size=number,
            dedup=dedup,
            route=route,
            chunk_count=1 + staged,
            state=ItemState.INTENT if cut_through else ItemState.PENDING,
            owner="a" if cut_through else None,
            lease_until=now + 10 if cut_through else 0.0,
        )
        if staged and not lost:
            self.both(lambda store: store.put_chunks(new.id, 0, [b"s"] * staged, now=now))
        accepted = self.both(lambda store: store.accept(new, now=now))
        lease = getattr(accepted, "lease", None)
        if lease is not None:
            self.leases.append(lease)

    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        wanted = data.draw(st.lists(st.sampled_from(self.items()), max_size=3))
        self.both(lambda store: store.confirm(wanted))

    @rule(owner=OWNERS, states=st.lists(STATES, max_size=3), limit=st.integers(1, 3))
    def claim(self, owner: str, states: list[ItemState], limit: int) -> None:
        now = self.now
        wanted = [ItemState.PENDING, *states]
        rows = self.both(
            lambda store: store.claim(owner, states=wanted, route=Route.PRIMARY, now=now, until=now + 10, limit=limit)
        )
        self.leases += [row.lease for row in rows]

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def intend(self, data: st.DataObject) -> None:
        leases, now = data.draw(st.lists(st.sampled_from(self.leases), min_size=1, max_size=3)), self.now
        self.both(lambda store: store.intend(leases, now=now))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), keep=st.booleans())
    def renew_or_release(self, data: st.DataObject, keep: bool) -> None:
        leases, until = data.draw(st.lists(st.sampled_from(self.leases), max_size=3, unique=True)), self.now + 10
        self.both(lambda store: store.renew(leases, until=until) if keep else store.release(leases))

    def likely(self, data: st.DataObject, state: ItemState) -> ItemState:
        """Where to go from `state`: mostly where the table allows."""
        allowed = sorted(LEGAL[state])
        return data.draw(st.sampled_from(allowed) | STATES if allowed else STATES)

    def settle_one(self, data: st.DataObject, lease: Lease) -> None:
        """Settle somehow."""
        now, row = self.now, self.both(lambda store: store.item(lease.item))
        state = self.likely(data, row.state if row is not None else ItemState.INTENT)
        recipients = data.draw(RESULTS)
        outcome = Outcome(state, recipients, now + data.draw(SECONDS), b"note")
        self.both(lambda store: store.settle(lease, outcome, now=now))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def settle_any(self, data: st.DataObject) -> None:
        self.settle_one(data, data.draw(st.sampled_from(self.leases)))

    @rule(data=st.data(), owner=OWNERS, at_once=st.integers(1, 3), seconds=SECONDS)
    def attempt(self, data: st.DataObject, owner: str, at_once: int, seconds: float) -> None:
        """What replay does all day."""
        now = self.now
        rows = self.both(
            lambda store: store.claim(
                owner, states=[ItemState.PENDING], route=Route.PRIMARY, now=now, until=now + 10, limit=at_once
            )
        )
        leases = [row.lease for row in rows]
        self.leases += leases
        self.both(lambda store: store.intend(leases, now=now))
        self.now += seconds
        for lease in leases[:2]:
            self.settle_one(data, lease)

    @rule(dead=st.lists(OWNERS, max_size=1))
    def rescue(self, dead: list[str]) -> None:
        now = self.now
        self.both(lambda store: store.rescue(now=now, dead_owners=dead))

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        item, now = data.draw(st.sampled_from(self.items())), self.now
        row = self.both(lambda store: store.item(item))
        to = data.draw(STATES) if row is None else self.likely(data, row.state)
        self.both(lambda store: store.move(item, to=to, now=now, note=b"moved"))

    @rule(states=st.lists(STATES, max_size=4), limit=st.integers(1, 3), age=SECONDS)
    def purge_and_trim(self, states: list[ItemState], limit: int, age: float) -> None:
        now = self.now
        wanted = [ItemState.DELIVERED, ItemState.REFUSED, *states]
        self.both(lambda store: store.purge(states=wanted, changed_before=now, now=now, limit=limit))
        self.both(lambda store: store.trim_changes(before=now - age, limit=limit))

    @rule(
        box=st.integers(1, 3), uids=st.lists(st.integers(1, 6), max_size=3), flags=st.integers(0, 31), add=st.booleans()
    )
    def flag(self, box: int, uids: list[int], flags: int, add: bool) -> None:
        now = self.now
        changes = [FlagChange(uid, add=flags) if add else FlagChange(uid, remove=flags) for uid in uids]
        self.both(lambda store: store.change_flags(box, changes, JOURNAL, now=now))

    @rule(box=st.integers(1, 3), uids=st.lists(st.integers(1, 6), max_size=3))
    def expunge(self, box: int, uids: list[int]) -> None:
        now = self.now
        self.both(lambda store: store.expunge(box, uids, JOURNAL, now=now))

    @rule(name=st.sampled_from(["probe", "sweep"]), owner=OWNERS, give_up=st.booleans())
    def singleton(self, name: str, owner: str, give_up: bool) -> None:
        now = self.now
        if give_up:
            self.both(lambda store: store.give_up(name, owner))
        else:
            self.both(lambda store: store.acquire(name, owner, now=now, until=now + 10))

    @invariant()
    def they_hold_the_same(self) -> None:
        self.both(lambda store: store.counts())
        self.both(lambda store: store.last_change())

    @rule()
    def compare(self) -> None:
        self.both(lambda store: store.items(states=list(ItemState)))
        self.both(lambda store: store.changes(after=0, limit=10_000))
        self.both(lambda store: store.journal(after=0, limit=10_000))
        for name in NAMES[:2]:
            mac = account(name).mac
            self.both(lambda store, mac=mac: store.folders(mac))  # type: ignore[misc]  # a default binds the loop's value
        for box in (1, 2):
            self.both(lambda store, box=box: store.messages(box))  # type: ignore[misc]  # as above
        for item in self.items():
            self.both(lambda store, item=item: store.chunks(item, 0, 3))  # type: ignore[misc]  # as above
            self.both(lambda store, item=item: store.ledger(item))  # type: ignore[misc]  # as above


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
