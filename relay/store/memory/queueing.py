"""Bodies and items of the model."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from relay.core.ids import ItemId
from relay.core.item import OWED, QUEUED, ItemState, RecipientState, legal
from relay.store.api import IllegalTransition, StoreUnavailable
from relay.store.memory.state import Item, State
from relay.store.records import (
    Accepted,
    ChangeKind,
    Histogram,
    ItemRow,
    Lease,
    NewItem,
    Outcome,
    RecipientRow,
    Route,
    RouteCount,
    Sealed,
    StateCount,
    WrappedKey,
)
from relay.store.rules import FINISHED, OPEN_RECIPIENT, check_birth, check_target, lease_lost


class MemoryQueue:
    """`store.api.BodyStore` and `store.api.QueueStore`."""

    _state: State
    _dedup_window: float

    async def put_chunks(self, item: ItemId, first: int, chunks: Sequence[Sealed], *, now: float) -> None:
        """See the contract."""
        if item in self._state.items:
            raise ValueError("the item was accepted: its body is as it is")
        at, there = self._state.staged.get(item, (now, {}))
        there.update(enumerate(chunks, first))
        self._state.staged[item] = max(at, now), there

    async def discard(self, item: ItemId) -> None:
        """See the contract."""
        self._state.staged.pop(item, None)

    async def chunks(self, item: ItemId, first: int, count: int) -> list[Sealed | None]:
        """See the contract."""
        known = self._state.items.get(item)
        there = known.chunks if known is not None else self._state.staged.get(item, (0.0, {}))[1]
        return [there.get(index) for index in range(first, first + count)]

    async def sweep_staged(self, *, before: float, limit: int) -> int:
        """See the contract."""
        old = [item for item, (at, _) in self._state.staged.items() if at < before][:limit]
        for item in old:
            del self._state.staged[item]
        return len(old)

    async def accept_together(self, new: Sequence[NewItem], *, now: float) -> list[Accepted]:
        """See the contract."""
        for one in new:
            check_birth(one)
            if not self._has_chunks(one):
                raise StoreUnavailable("chunks staged for this message are gone")
        first, *others = new
        accepted = await self.accept(first, now=now)
        if not accepted.duplicate:
            return [accepted, *[await self.accept(other, now=now) for other in others]]
        for other in others:
            await self.discard(other.id)
        return [accepted] * len(new)

    def _has_chunks(self, new: NewItem) -> bool:
        staged = self._state.staged.get(new.id, (0.0, {}))[1]
        return new.id in self._state.items or sorted(staged) == list(range(new.chunk_count - len(new.chunks)))

    async def accept(self, new: NewItem, *, now: float) -> Accepted:
        """See the contract."""
        check_birth(new)
        state = self._state
        first = next((one for one in state.items.values() if self._same(one, new, now)), None)
        if first is not None:
            state.staged.pop(new.id, None)
            return Accepted(first.new.id, duplicate=True, state=first.state)
        ahead = new.chunk_count - len(new.chunks)
        chunks = state.staged[new.id][1] if ahead and new.id in state.staged else {}
        if sorted(chunks) != list(range(ahead)):
            raise StoreUnavailable("chunks staged for this message are gone")
        if ahead:
            state.staged.pop(new.id)
        chunks.update(enumerate(new.chunks, ahead))
        item = Item(
            new=new,
            state=new.state,
            changed_at=now,
            key_id=new.key_id,
            wrapped_key=new.wrapped_key,
            boxes=[],
            recipients=[RecipientRow(i, one.mac, RecipientState.WAITING, None) for i, one in enumerate(new.recipients)],
            dedup=new.dedup,
            owner=new.owner,
            token=0 if new.owner is None else 1,
            until=0.0 if new.owner is None else new.lease_until,
            chunks=chunks,
        )
        state.items[new.id] = item
        state.announce(ChangeKind.ITEM, now, item=new.id, new=new.state)
        for recipient in new.recipients:
            if recipient.account is not None:
                box = state.inbox(recipient.account, now)
                item.boxes += [] if box in item.boxes else [box]
        state.show(item, now)
        return Accepted(new.id, duplicate=False, state=new.state, lease=item.row().lease)

    def _same(self, one: Item, new: NewItem, now: float) -> bool:
        repeated = one.dedup is not None and one.dedup == new.dedup and one.state is not ItemState.REFUSED
        return (repeated and one.new.received_at > now - self._dedup_window) or one.new.id == new.id

    async def confirm(self, items: Sequence[ItemId]) -> None:
        """See the contract."""
        for one in self._known(items):
            one.dedup = None

    def _known(self, items: Iterable[ItemId]) -> list[Item]:
        return [self._state.items[item] for item in items if item in self._state.items]

    async def item(self, item: ItemId) -> ItemRow | None:
        """See the contract."""
        return next((one.row() for one in self._known([item])), None)

    async def items(
        self, *, states: Sequence[ItemState], after: ItemId | None = None, limit: int = 1000
    ) -> list[ItemRow]:
        """See the contract."""
        wanted = sorted(item for item, one in self._state.items.items() if one.state in states and item > (after or ""))
        return [self._state.items[item].row() for item in wanted[:limit]]

    async def claim(
        self, owner: str, *, states: Sequence[ItemState], route: Route, now: float, until: float, limit: int
    ) -> list[ItemRow]:
        """See the contract."""
        free = sorted(
            item
            for item, one in self._state.items.items()
            if one.state in states and one.new.route is route and one.next_attempt_at <= now and one.until <= now
        )
        granted = [self._state.items[item] for item in free[:limit]]
        for one in granted:
            one.owner, one.token, one.until = owner, one.token + 1, until
        return [one.row() for one in granted]

    async def intend(self, leases: Sequence[Lease], *, now: float) -> None:
        """See the contract."""
        wanted = [self._state.held(lease) for lease in leases]
        lost = next((lease for lease, one in zip(leases, wanted, strict=True) if one.until <= now), None)
        if lost is not None:
            raise lease_lost(lost)
        if len(set(leases)) < len(leases) or not all(legal(one.state, ItemState.INTENT) for one in wanted):
            raise IllegalTransition("the table allows no step to intent")
        for one in wanted:
            self._state.step(one, ItemState.INTENT, now)

    async def renew(self, leases: Sequence[Lease], *, until: float) -> list[Lease]:
        """See the contract."""
        kept = [lease for lease in leases if self._holds(lease)]
        for lease in kept:
            self._state.items[lease.item].until = until
        return [Lease(lease.item, lease.owner, lease.token, until) for lease in kept]

    def _holds(self, lease: Lease) -> bool:
        item = self._state.items.get(lease.item)
        return item is not None and (item.owner, item.token) == (lease.owner, lease.token)

    async def release(self, leases: Sequence[Lease]) -> None:
        """See the contract."""
        for lease in leases:
            if self._holds(lease) and self._state.items[lease.item].state is not ItemState.INTENT:
                self._state.items[lease.item].end_lease()

    async def settle(self, lease: Lease, outcome: Outcome, *, now: float, patient: bool = False) -> None:
        """See the contract."""
        check_target(outcome.state)
        item = self._state.held(lease)
        self._state.step(item, outcome.state, now)
        item.next_attempt_at, item.note = outcome.next_attempt_at, outcome.note
        item.attempts += outcome.counts_as_attempt
        item.end_lease()
        for result in outcome.recipients:
            if result.index < len(item.recipients):
                mac = item.recipients[result.index].mac
                item.recipients[result.index] = RecipientRow(result.index, mac, result.state, result.detail)

    async def rescue(self, *, now: float, dead_owners: Sequence[str] = ()) -> list[ItemId]:
        """See the contract."""
        unknown = []
        for name, item in sorted(self._state.items.items()):
            if item.owner is not None and (item.until <= now or item.owner in dead_owners):
                item.end_lease()
                if item.state is ItemState.INTENT:
                    self._state.step(item, ItemState.UNKNOWN, now)
                    unknown.append(name)
        return unknown

    async def move(
        self, item: ItemId, *, to: ItemState, now: float, note: Sealed | None = None, next_attempt_at: float = 0.0
    ) -> ItemRow:
        """See the contract."""
        check_target(to)
        one = self._state.items[item]
        if one.owner is not None and one.until > now and to is not ItemState.QUARANTINED:
            raise lease_lost(Lease(item, one.owner, 0, one.until))
        before = one.state
        self._state.step(one, to, now)
        one.next_attempt_at, one.note = next_attempt_at, note
        one.end_lease()
        if to is ItemState.PENDING and before in (ItemState.HELD, ItemState.QUARANTINED):
            one.set_recipients(frozenset({RecipientState.REFUSED}), RecipientState.WAITING)
        elif to is ItemState.RETURNED:
            one.set_recipients(OPEN_RECIPIENT, RecipientState.RETURNED)
        return one.row()

    async def purge(self, *, states: Sequence[ItemState], changed_before: float, now: float, limit: int) -> int:
        """See the contract."""
        wanted = FINISHED & set(states)
        done = [
            name
            for name, one in sorted(self._state.items.items())
            if one.state in wanted
            and one.changed_at < changed_before
            and one.until <= now
            and self._state.let_go(one, changed_before)
        ][:limit]
        for name in done:
            one = self._state.items[name]
            for box in self._state.boxes.values():
                for uid in [uid for uid, message in box.messages.items() if message.item == name]:
                    del box.messages[uid]
                    self._state.announce(ChangeKind.EXPUNGED, now, item=name, mailbox=box.id, uid=uid)
            one.chunks.clear()
            one.derived.clear()
            one.end_lease()
            self._state.step(one, ItemState.PURGED, now)
        return len(done)

    async def counts(self) -> dict[ItemState, StateCount]:
        """See the contract."""
        found: dict[ItemState, StateCount] = {}
        for state in ItemState:
            there = [one.new for one in self._state.items.values() if one.state is state]
            oldest = min((new.received_at for new in there), default=None)
            found[state] = StateCount(len(there), sum(new.size for new in there), oldest)
        return found

    async def owed(self) -> dict[Route, int]:
        """See the contract."""
        found = dict.fromkeys(Route, 0)
        for one in self._state.items.values():
            found[one.new.route] += one.state in OWED
        return found

    async def routes(self) -> dict[Route, RouteCount]:
        """See the contract."""
        found = dict.fromkeys(Route, RouteCount())
        for route in Route:
            there = [one for one in self._state.items.values() if one.new.route is route]
            waiting = [one for one in there if one.state in QUEUED]
            pending = [one.next_attempt_at for one in there if one.state is ItemState.PENDING]
            found[route] = RouteCount(
                owed=sum(one.state in OWED for one in there),
                waiting=len(waiting),
                oldest=min((one.new.received_at for one in waiting), default=None),
                next_attempt=min(pending, default=None),
            )
        return found

    async def histograms(
        self, *, states: Sequence[ItemState], now: float, age_bounds: Sequence[float], size_bounds: Sequence[float]
    ) -> tuple[Histogram, Histogram]:
        """See the contract."""
        there = [one.new for one in self._state.items.values() if one.state in states]
        ages = [now - new.received_at for new in there]
        return _histogram(ages, age_bounds), _histogram([float(new.size) for new in there], size_bounds)

    async def wrapped_keys(self, *, not_key: str, limit: int) -> list[WrappedKey]:
        """See the contract."""
        there = [one for one in self._state.items.values() if one.key_id != not_key]
        return [WrappedKey(one.new.id, one.key_id, one.wrapped_key) for one in there[:limit]]

    async def rewrap(self, keys: Sequence[tuple[WrappedKey, WrappedKey]]) -> int:
        """See the contract."""
        done = 0
        for old, new in keys:
            for one in self._known([old.item]):
                if (one.key_id, one.wrapped_key) == (old.key_id, old.wrapped_key):
                    one.key_id, one.wrapped_key = new.key_id, new.wrapped_key
                    done += 1
        return done


def _histogram(values: Sequence[float], bounds: Sequence[float]) -> Histogram:
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    return Histogram(tuple(counts), float(sum(values)))
