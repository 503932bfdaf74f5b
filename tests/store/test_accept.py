"""Contract 1, 2, 8, 9: what an accept leaves behind."""

from __future__ import annotations

import msgspec
import pytest

from relay.core.errors import LeaseLost
from relay.core.item import ItemState, RecipientState
from relay.store.api import IllegalTransition, Store, StoreUnavailable
from relay.store.records import ChangeKind, Lease, Outcome, Route
from tests.store.samples import JOURNAL, NOW, account, folders_of, intent, item_id, new_item

_S = ItemState


async def test_everything_is_there_after_accept(store: Store) -> None:
    new = new_item(1, "ann", "-", "bob", chunks=(b"a", b"b"))
    accepted = await store.accept(new, now=NOW)
    assert (accepted.item, accepted.duplicate, accepted.lease) == (new.id, False, None)

    row = await store.item(new.id)
    assert row is not None
    assert (row.id, row.state, row.route, row.received_at, row.size) == (new.id, _S.PENDING, Route.PRIMARY, NOW, 1000)
    assert (row.key_id, row.wrapped_key, row.envelope) == (new.key_id, new.wrapped_key, new.envelope)
    assert (row.chunk_count, row.attempts, row.next_attempt_at, row.changed_at) == (2, 0, 0.0, NOW)
    assert (row.note, row.message_mac, row.lease) == (None, new.message_mac, None)
    assert [(one.index, one.mac, one.state, one.detail) for one in row.recipients] == [
        (index, one.mac, RecipientState.WAITING, None) for index, one in enumerate(new.recipients)
    ]
    assert await store.chunks(new.id, 0, 3) == [b"a", b"b", None]
    assert await store.chunks(new.id, 1, 1) == [b"b"]
    assert [(one.old, one.new) for one in await store.ledger(new.id)] == [(None, "pending")]
    for name in ("ann", "bob"):
        (box,) = await folders_of(store, name)
        assert (box.messages, box.unseen, box.size, box.uidnext) == (1, 1, 1000, 2)
        assert (box.name, box.name_mac) == (account(name).inbox_name, account(name).inbox_mac)
        (message,) = await store.messages(box.id)
        assert (message.uid, message.item, message.internal_date, message.size) == (1, new.id, NOW, 1000)
    assert await folders_of(store, "-") == []


async def test_staged_chunks_and_the_rest_make_one_body(store: Store) -> None:
    item = item_id(7)
    await store.put_chunks(item, 0, [b"a", b"b"], now=NOW)
    await store.put_chunks(item, 2, [b"c"], now=NOW)
    assert await store.chunks(item, 0, 3) == [b"a", b"b", b"c"]
    await store.accept(new_item(7, chunks=(b"d",), chunk_count=4), now=NOW)
    assert await store.chunks(item, 0, 5) == [b"a", b"b", b"c", b"d", None]
    assert await store.sweep_staged(before=NOW + 1e6, limit=10) == 0
    assert await store.chunks(item, 0, 1) == [b"a"]


async def test_no_body_no_promise(store: Store) -> None:
    await store.put_chunks(item_id(7), 0, [b"a"], now=NOW)
    await store.put_chunks(item_id(7), 2, [b"c"], now=NOW)
    for count in (3, 4):  # chunk 1 is missing, or 1 and 3
        with pytest.raises(StoreUnavailable):
            await store.accept(new_item(7, chunks=(b"d",), chunk_count=count), now=NOW)
    with pytest.raises(StoreUnavailable):
        await store.accept(new_item(8, chunks=(b"d",), chunk_count=2), now=NOW)
    assert await store.item(item_id(7)) is None
    assert await store.last_change() == 0


async def test_discard_and_sweep_forget_what_was_never_accepted(store: Store) -> None:
    await store.accept(new_item(1), now=NOW)
    for number, at in ((2, NOW), (3, NOW), (4, NOW + 50)):
        await store.put_chunks(item_id(number), 0, [b"x"], now=at)
    await store.put_chunks(item_id(3), 1, [b"x"], now=NOW + 50)
    await store.discard(item_id(2))
    await store.discard(item_id(2))
    await store.discard(item_id(1))
    assert await store.chunks(item_id(2), 0, 1) == [None]
    assert await store.chunks(item_id(1), 0, 1) == [b"chunk 0"]
    assert await store.sweep_staged(before=NOW + 50, limit=10) == 0
    assert await store.sweep_staged(before=NOW + 51, limit=1) == 1
    assert await store.sweep_staged(before=NOW + 51, limit=10) == 1
    assert await store.chunks(item_id(3), 0, 2) == [None, None]


async def test_an_accepted_body_is_not_written_again(store: Store) -> None:
    await store.accept(new_item(1), now=NOW)
    with pytest.raises(ValueError, match="accepted"):
        await store.put_chunks(item_id(1), 0, [b"other"], now=NOW)
    assert await store.chunks(item_id(1), 0, 1) == [b"chunk 0"]


async def test_what_an_accepted_item_did_without_is_swept_and_never_its_body(store: Store) -> None:
    await store.put_chunks(item_id(1), 0, [b"of a call that failed"], now=NOW)
    await store.accept(new_item(1), now=NOW)
    with pytest.raises(ValueError, match="accepted"):
        await store.put_chunks(item_id(1), 0, [b"other"], now=NOW)
    assert await store.sweep_staged(before=NOW + 1, limit=10) == 1
    assert await store.chunks(item_id(1), 0, 1) == [b"chunk 0"]


async def test_same_key_same_result_until_confirmed_or_too_old(store: Store) -> None:
    await store.accept(new_item(1, dedup=b"key"), now=NOW)
    await store.put_chunks(item_id(2), 0, [b"x"], now=NOW)
    before = await store.last_change()
    again = await store.accept(new_item(2, dedup=b"key", chunks=(b"y",), chunk_count=2), now=NOW + 599)
    assert (again.item, again.duplicate, again.lease) == (item_id(1), True, None)
    assert await store.item(item_id(2)) is None
    assert await store.chunks(item_id(2), 0, 1) == [None]
    assert await store.last_change() == before

    assert again.state is ItemState.PENDING

    other = await store.accept(new_item(3, dedup=b"other"), now=NOW)
    assert not other.duplicate
    await store.confirm([item_id(1), item_id(99)])
    assert not (await store.accept(new_item(4, dedup=b"key", at=NOW + 1), now=NOW + 1)).duplicate
    assert not (await store.accept(new_item(5, dedup=b"key", at=NOW + 700), now=NOW + 700)).duplicate


async def test_a_refused_item_is_nobody_s_first_result(store: Store) -> None:
    held = msgspec.structs.replace(intent(1), dedup=b"key")
    first = await store.accept(held, now=NOW)
    assert first.lease is not None
    again = await store.accept(new_item(2, dedup=b"key"), now=NOW)
    assert (again.item, again.duplicate, again.state) == (item_id(1), True, _S.INTENT)
    await store.settle(first.lease, Outcome(_S.REFUSED), now=NOW)
    assert not (await store.accept(new_item(3, dedup=b"key"), now=NOW)).duplicate


async def test_an_accept_repeated_after_its_answer_was_lost_finds_itself(store: Store) -> None:
    await store.accept(new_item(1), now=NOW)
    again = await store.accept(new_item(1), now=NOW + 1)
    assert (again.item, again.duplicate) == (item_id(1), True)
    assert len(await store.ledger(item_id(1))) == 1


@pytest.mark.parametrize("state", sorted(set(_S) - {_S.PENDING, _S.INTENT}))
async def test_items_are_born_pending_or_in_intent(store: Store, state: ItemState) -> None:
    with pytest.raises(IllegalTransition):
        await store.accept(new_item(1, state=state), now=NOW)
    assert await store.item(item_id(1)) is None


async def test_an_item_that_contradicts_itself_is_a_bug(store: Store) -> None:
    with pytest.raises(ValueError, match="owner"):
        await store.accept(new_item(1, state=_S.INTENT), now=NOW)
    with pytest.raises(ValueError, match="chunk_count"):
        await store.accept(new_item(1, chunks=(b"a", b"b"), chunk_count=1), now=NOW)
    with pytest.raises(ValueError, match="chunk_count"):
        await store.accept(new_item(1, chunks=()), now=NOW)


async def test_an_intent_is_leased_and_not_shown(store: Store) -> None:
    accepted = await store.accept(intent(1), now=NOW)
    assert accepted.lease == Lease(item_id(1), "inbound", 1, NOW + 60)
    row = await store.item(item_id(1))
    assert row is not None
    assert row.lease == accepted.lease
    (box,) = await folders_of(store)
    assert (box.messages, box.uidnext) == (0, 1)


@pytest.mark.parametrize("to", [_S.PENDING, _S.UNKNOWN, _S.HELD])
async def test_leaving_intent_owed_shows_the_message_once(store: Store, to: ItemState) -> None:
    accepted = await store.accept(intent(1, "ann", "bob", "ann"), now=NOW)
    assert accepted.lease is not None
    await store.settle(accepted.lease, Outcome(to), now=NOW + 5)
    (box,) = await folders_of(store)
    (message,) = await store.messages(box.id)
    assert (message.uid, message.item, box.uidnext) == (1, item_id(1), 2)
    arrived = await store.changes(after=0, limit=100, kinds=[ChangeKind.ARRIVED])
    assert [(one.item, one.uid, one.at) for one in arrived] == [(item_id(1), 1, NOW + 5)] * 2
    assert message.changed == arrived[0].seq

    # The user removes it; further attempts do not bring it back.
    assert await store.expunge(box.id, [1], JOURNAL, now=NOW + 6) == [1]
    if to is not _S.PENDING:
        await store.move(item_id(1), to=_S.PENDING, now=NOW + 7)
    (row,) = await store.claim("replay", states=[_S.PENDING], route=Route.PRIMARY, now=NOW + 8, until=NOW + 60, limit=5)
    assert row.lease is not None
    await store.intend([row.lease], now=NOW + 9)
    await store.settle(row.lease, Outcome(_S.UNKNOWN), now=NOW + 10)
    assert await store.messages(box.id) == []


@pytest.mark.parametrize("to", [_S.DELIVERED, _S.REFUSED])
async def test_what_is_not_owed_is_never_shown(store: Store, to: ItemState) -> None:
    accepted = await store.accept(intent(1), now=NOW)
    assert accepted.lease is not None
    await store.settle(accepted.lease, Outcome(to), now=NOW)
    (box,) = await folders_of(store)
    assert (box.messages, box.uidnext) == (0, 1)


async def test_a_rescued_intent_is_shown(store: Store) -> None:
    accepted = await store.accept(intent(1), now=NOW)
    assert await store.rescue(now=NOW + 61) == [item_id(1)]
    (box,) = await folders_of(store)
    assert box.messages == 1
    assert accepted.lease is not None
    with pytest.raises(LeaseLost):
        await store.settle(accepted.lease, Outcome(_S.DELIVERED), now=NOW + 62)


async def test_uids_ascend_and_are_never_used_again(store: Store) -> None:
    for number in (1, 2, 3):
        await store.accept(new_item(number), now=NOW)
    (box,) = await folders_of(store)
    assert await store.expunge(box.id, [3, 9], JOURNAL, now=NOW) == [3]
    await store.accept(new_item(4), now=NOW)
    assert [(one.uid, one.item) for one in await store.messages(box.id)] == [
        (1, item_id(1)),
        (2, item_id(2)),
        (4, item_id(4)),
    ]
    assert [one.uid for one in await store.messages(box.id, after_uid=1, limit=1)] == [2]
