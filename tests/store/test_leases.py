"""Contract 4, 5, 6: who may do what to an item, and what is written down about it."""

from __future__ import annotations

import pytest

from relay.core.errors import LeaseLost
from relay.core.item import LEGAL, ItemState, RecipientState
from relay.store.api import IllegalTransition, Store
from relay.store.records import Lease, Outcome, RecipientResult, Route
from tests.store.samples import NOW, intent, item_id, new_item

_S = ItemState
_PATHS: dict[ItemState, tuple[ItemState, ...]] = {
    _S.PENDING: (),
    _S.INTENT: (_S.INTENT,),
    _S.UNKNOWN: (_S.INTENT, _S.UNKNOWN),
    _S.DELIVERED: (_S.INTENT, _S.DELIVERED),
    _S.VERIFIED: (_S.INTENT, _S.DELIVERED, _S.VERIFIED),
    _S.HELD: (_S.HELD,),
    _S.QUARANTINED: (_S.QUARANTINED,),
    _S.RETURNED: (_S.HELD, _S.RETURNED),
    _S.REFUSED: (_S.INTENT, _S.REFUSED),
    _S.PURGED: (_S.INTENT, _S.DELIVERED, _S.PURGED),
}
"""How to get an item born PENDING into each state."""


async def claim_one(store: Store, owner: str, *, now: float, until: float, state: ItemState = _S.PENDING) -> Lease:
    """Lease the only free item."""
    (row,) = await store.claim(owner, states=[state], route=Route.PRIMARY, now=now, until=until, limit=1)
    assert row.lease is not None
    return row.lease


async def bring(store: Store, number: int, to: ItemState) -> Lease | None:
    """Accept an item and walk it into a state; the lease where the state needs one."""
    await store.accept(new_item(number), now=NOW)
    lease: Lease | None = None
    for state in _PATHS[to]:
        if state is _S.INTENT:
            lease = await claim_one(store, "walker", now=NOW, until=NOW + 60)
            await store.intend([lease], now=NOW)
        elif state is _S.PURGED:
            assert await store.purge(states=[_S.DELIVERED], changed_before=NOW + 1, now=NOW, limit=1) == 1
        elif lease is not None:
            await store.settle(lease, Outcome(state), now=NOW)
            lease = None
        else:
            await store.move(item_id(number), to=state, now=NOW)
    return lease


async def state_of(store: Store, number: int) -> ItemState:
    """Its state."""
    row = await store.item(item_id(number))
    assert row is not None
    return row.state


@pytest.mark.parametrize("new", list(_S))
@pytest.mark.parametrize("old", [state for state in _S if state is not _S.STORED])
async def test_the_table_is_the_law(store: Store, old: ItemState, new: ItemState) -> None:
    lease = await bring(store, 1, old)
    assert await state_of(store, 1) is old
    ledger = await store.ledger(item_id(1))
    # STORED is for what users put in themselves, see test_appending.
    allowed = new in LEGAL[old] and new not in (_S.INTENT, _S.PURGED, _S.STORED)
    try:
        if lease is not None:
            await store.settle(lease, Outcome(new), now=NOW + 1)
        else:
            await store.move(item_id(1), to=new, now=NOW + 1)
    except IllegalTransition:
        assert not allowed
        assert await state_of(store, 1) is old
        assert await store.ledger(item_id(1)) == ledger
    else:
        assert allowed
        last = (await store.ledger(item_id(1)))[-1]
        assert (last.old, last.new, last.at, last.item) == (old, new, NOW + 1, item_id(1))
        assert len(await store.ledger(item_id(1))) == len(ledger) + 1


async def test_claims_go_by_age_and_exclude_each_other(store: Store) -> None:
    for number in (3, 1, 2):
        await store.accept(new_item(number), now=NOW)
    await store.accept(new_item(0, route=Route.WORLD), now=NOW)

    async def claim(owner: str, limit: int, now: float = NOW) -> list[int]:
        rows = await store.claim(
            owner, states=[_S.PENDING, _S.UNKNOWN], route=Route.PRIMARY, now=now, until=now + 60, limit=limit
        )
        assert all(row.lease == Lease(row.id, owner, row.lease.token, now + 60) for row in rows if row.lease)
        return [next(n for n in range(4) if item_id(n) == row.id) for row in rows]

    assert await claim("a", 2) == [1, 2]
    assert await claim("b", 5) == [3]
    assert await claim("c", 5) == []
    assert await claim("c", 5, NOW + 59.9) == []
    assert await claim("c", 5, NOW + 60) == [1, 2, 3]
    assert await state_of(store, 1) is _S.PENDING


async def test_what_is_not_due_is_not_claimed(store: Store) -> None:
    await store.accept(intent(1), now=NOW)
    await store.settle(Lease(item_id(1), "inbound", 1, NOW + 60), Outcome(_S.PENDING, (), NOW + 30), now=NOW)
    assert await store.claim("a", states=[_S.PENDING], route=Route.PRIMARY, now=NOW + 29, until=NOW + 99, limit=1) == []
    assert (await claim_one(store, "a", now=NOW + 30, until=NOW + 99)).token == 2


async def test_an_old_token_changes_nothing(store: Store) -> None:
    await store.accept(new_item(1), now=NOW)
    await store.accept(new_item(2), now=NOW)
    old = await claim_one(store, "a", now=NOW, until=NOW + 10)
    other = await claim_one(store, "a", now=NOW, until=NOW + 100)
    new = await claim_one(store, "b", now=NOW + 10, until=NOW + 100)
    assert new.token > old.token
    before = await store.item(item_id(1)), await store.item(item_id(2)), await store.last_change()
    forged = Lease(new.item, "a", new.token, new.until)
    for lost in (old, forged):
        with pytest.raises(LeaseLost):
            await store.settle(lost, Outcome(_S.HELD), now=NOW + 11)
        with pytest.raises(LeaseLost):
            await store.intend([other, lost], now=NOW + 11)
        assert await store.renew([lost], until=NOW + 500) == []
        await store.release([lost])
    assert (await store.item(item_id(1)), await store.item(item_id(2)), await store.last_change()) == before
    await store.intend([new, other], now=NOW + 11)


async def test_an_owners_own_old_token_is_old_too(store: Store) -> None:
    await store.accept(new_item(1), now=NOW)
    old = await claim_one(store, "a", now=NOW, until=NOW + 10)
    new = await claim_one(store, "a", now=NOW + 10, until=NOW + 20)
    for call in (store.settle(old, Outcome(_S.HELD), now=NOW + 11), store.intend([old], now=NOW + 11)):
        with pytest.raises(LeaseLost):
            await call
    assert await store.renew([old, new], until=NOW + 30) == [Lease(new.item, "a", new.token, NOW + 30)]
    await store.release([old])
    await store.intend([new], now=NOW + 11)


async def test_an_expired_lease_does_not_intend(store: Store) -> None:
    await store.accept(new_item(1), now=NOW)
    lease = await claim_one(store, "a", now=NOW, until=NOW + 10)
    with pytest.raises(LeaseLost):
        await store.intend([lease], now=NOW + 10)
    (renewed,) = await store.renew([lease], until=NOW + 20)
    assert renewed == Lease(lease.item, "a", lease.token, NOW + 20)
    await store.intend([renewed], now=NOW + 10)
    # Late, but nobody else has it: the outcome is known and recorded.
    await store.settle(renewed, Outcome(_S.DELIVERED), now=NOW + 30)


async def test_intend_is_all_or_nothing(store: Store) -> None:
    await store.accept(new_item(1), now=NOW)
    await store.accept(new_item(2), now=NOW)
    first = await claim_one(store, "a", now=NOW, until=NOW + 60)
    second = await claim_one(store, "a", now=NOW, until=NOW + 60)
    await store.intend([second], now=NOW)
    with pytest.raises(IllegalTransition):
        await store.intend([first, second], now=NOW)
    assert await state_of(store, 1) is _S.PENDING
    assert len(await store.ledger(item_id(1))) == 1


async def test_release_gives_back_what_is_not_in_intent(store: Store) -> None:
    await store.accept(new_item(1), now=NOW)
    await store.accept(new_item(2), now=NOW)
    first = await claim_one(store, "a", now=NOW, until=NOW + 60)
    second = await claim_one(store, "a", now=NOW, until=NOW + 60)
    await store.intend([second], now=NOW)
    await store.release([first, second])
    again = await claim_one(store, "b", now=NOW, until=NOW + 60)
    assert (again.item, again.token) == (first.item, first.token + 1)
    await store.settle(second, Outcome(_S.DELIVERED), now=NOW)


async def test_settle_records_everything(store: Store) -> None:
    await store.accept(new_item(1, "ann", "bob", "-"), now=NOW)
    lease = await claim_one(store, "a", now=NOW, until=NOW + 60)
    await store.intend([lease], now=NOW)
    outcome = Outcome(
        _S.PENDING,
        (RecipientResult(0, RecipientState.DELIVERED), RecipientResult(2, RecipientState.REFUSED, b"550")),
        NOW + 77,
        b"note",
    )
    await store.settle(lease, outcome, now=NOW + 3)
    row = await store.item(item_id(1))
    assert row is not None
    assert (row.state, row.attempts, row.next_attempt_at, row.note) == (_S.PENDING, 1, NOW + 77, b"note")
    assert (row.changed_at, row.lease) == (NOW + 3, None)
    assert [(one.state, one.detail) for one in row.recipients] == [
        (RecipientState.DELIVERED, None),
        (RecipientState.WAITING, None),
        (RecipientState.REFUSED, b"550"),
    ]
    with pytest.raises(LeaseLost):
        await store.settle(lease, outcome, now=NOW + 3)
    lease = await claim_one(store, "a", now=NOW + 80, until=NOW + 90)
    await store.intend([lease], now=NOW + 80)
    await store.settle(lease, Outcome(_S.DELIVERED, counts_as_attempt=False), now=NOW + 81)
    row = await store.item(item_id(1))
    assert row is not None
    assert (row.attempts, row.note, row.next_attempt_at) == (1, None, 0.0)


async def test_rescue_ends_what_expired_or_belongs_to_the_dead(store: Store) -> None:
    for number in range(1, 5):
        await store.accept(new_item(number), now=NOW)
    await store.accept(intent(5, until=NOW + 10), now=NOW)
    expired = await claim_one(store, "a", now=NOW, until=NOW + 10)
    dead = await claim_one(store, "dead", now=NOW, until=NOW + 99)
    alive = await claim_one(store, "b", now=NOW, until=NOW + 99)
    await store.intend([dead, alive], now=NOW)
    assert await store.rescue(now=NOW + 10, dead_owners=["dead", "nobody"]) == [item_id(2), item_id(5)]
    assert await store.rescue(now=NOW + 10, dead_owners=["dead"]) == []
    assert [await state_of(store, n) for n in range(1, 6)] == [
        _S.PENDING,
        _S.UNKNOWN,
        _S.INTENT,
        _S.PENDING,
        _S.UNKNOWN,
    ]
    for lost in (expired, dead):
        with pytest.raises(LeaseLost):
            await store.settle(lost, Outcome(_S.DELIVERED), now=NOW + 11)
    await store.settle(alive, Outcome(_S.DELIVERED), now=NOW + 11)
    assert [(one.old, one.new) for one in await store.ledger(item_id(2))][-1] == ("intent", "unknown")


async def test_move_respects_a_lease_except_for_quarantine(store: Store) -> None:
    await store.accept(new_item(1), now=NOW)
    lease = await claim_one(store, "a", now=NOW, until=NOW + 10)
    with pytest.raises(LeaseLost):
        await store.move(item_id(1), to=_S.HELD, now=NOW + 9)
    row = await store.move(item_id(1), to=_S.QUARANTINED, now=NOW + 9, note=b"damage")
    assert (row.state, row.lease, row.note) == (_S.QUARANTINED, None, b"damage")
    with pytest.raises(LeaseLost):
        await store.settle(lease, Outcome(_S.DELIVERED), now=NOW + 9)
    with pytest.raises(KeyError):
        await store.move(item_id(2), to=_S.HELD, now=NOW)


async def test_move_takes_an_expired_lease_with_it(store: Store) -> None:
    await store.accept(new_item(1), now=NOW)
    lease = await claim_one(store, "a", now=NOW, until=NOW + 10)
    await store.move(item_id(1), to=_S.HELD, now=NOW + 10)
    with pytest.raises(LeaseLost):
        await store.settle(lease, Outcome(_S.PENDING), now=NOW + 11)


@pytest.mark.parametrize("back", [_S.PENDING, _S.RETURNED])
async def test_recipients_follow_the_operator(store: Store, back: ItemState) -> None:
    await store.accept(intent(1, "a", "b", "c", "d"), now=NOW)
    results = (
        RecipientResult(0, RecipientState.DELIVERED),
        RecipientResult(1, RecipientState.REFUSED, b"550"),
        RecipientResult(2, RecipientState.UNKNOWN),
    )
    await store.settle(Lease(item_id(1), "inbound", 1, 0.0), Outcome(_S.HELD, results), now=NOW)
    row = await store.move(item_id(1), to=back, now=NOW, next_attempt_at=NOW + 5)
    states = [one.state for one in row.recipients]
    if back is _S.PENDING:
        assert states == [
            RecipientState.DELIVERED,
            RecipientState.WAITING,
            RecipientState.UNKNOWN,
            RecipientState.WAITING,
        ]
    else:
        assert states == [RecipientState.DELIVERED, *[RecipientState.RETURNED] * 3]
    assert row.next_attempt_at == NOW + 5
    assert row.recipients[1].detail == b"550"


async def test_named_leases_are_exclusive_and_their_tokens_grow(store: Store) -> None:
    assert await store.acquire("probe", "a", now=NOW, until=NOW + 10) == 1
    assert await store.acquire("probe", "a", now=NOW + 5, until=NOW + 15) == 1
    assert await store.acquire("probe", "b", now=NOW + 14, until=NOW + 99) is None
    assert await store.acquire("sweep", "b", now=NOW, until=NOW + 99) == 1
    assert await store.acquire("probe", "b", now=NOW + 15, until=NOW + 30) == 2
    assert await store.acquire("probe", "a", now=NOW + 16, until=NOW + 99) is None
    await store.give_up("probe", "a")
    assert await store.acquire("probe", "a", now=NOW + 16, until=NOW + 99) is None
    await store.give_up("probe", "b")
    assert await store.acquire("probe", "a", now=NOW + 16, until=NOW + 20) == 3
    assert await store.acquire("probe", "a", now=NOW + 21, until=NOW + 30) == 4
