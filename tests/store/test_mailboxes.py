"""Contract 7, 8, 9: mailboxes, flags, journal, feed, purge and the small tables."""

from __future__ import annotations

import asyncio

import pytest

from relay.core.item import ItemState
from relay.store.api import Store
from relay.store.records import (
    ChangeKind,
    Credential,
    FlagChange,
    Histogram,
    JournalEntry,
    KnownRecipient,
    Lease,
    NewKeyword,
    Outcome,
    StateCount,
    WrappedKey,
)
from tests.store.samples import JOURNAL, NOW, account, folders_of, intent, item_id, new_item, seen

_S = ItemState


async def inbox(store: Store, name: str = "ann") -> int:
    """Id of the INBOX."""
    return (await store.ensure_account(account(name), now=NOW)).id


async def test_an_account_is_made_once(store: Store) -> None:
    first = await store.ensure_account(account("ann"), now=NOW)
    assert (first.messages, first.unseen, first.size, first.uidnext) == (0, 0, 0, 1)
    assert 0 < first.uidvalidity < 1 << 31
    assert (first.subscribed, first.special_use) == (True, None)
    await store.accept(new_item(1), now=NOW + 1)
    again = await store.ensure_account(account("ann"), now=NOW + 2)
    assert (again.id, again.messages, again.uidvalidity) == (first.id, 1, first.uidvalidity)
    assert await folders_of(store) == [again]
    assert await store.mailbox(account("ann").mac, account("ann").inbox_mac) == again
    assert await store.mailbox(account("ann").mac, b"other") is None
    assert [one.mailbox for one in await store.changes(after=0, limit=9, kinds=[ChangeKind.MAILBOX])] == [first.id]


async def test_flags_change_and_are_journalled_together(store: Store) -> None:
    box = await inbox(store)
    for number in (1, 2, 3):
        await store.accept(new_item(number), now=NOW)
    before = await store.last_change()
    rows = await store.change_flags(
        box,
        [FlagChange(3, add=5), FlagChange(1, add=8, add_keywords=(NewKeyword(b"w", b"words"),)), seen(9)],
        JOURNAL,
        now=NOW + 1,
    )
    assert [(row.uid, row.flags, row.keywords) for row in rows] == [(1, 8, (1,)), (3, 5, ())]
    changes = await store.changes(after=before, limit=9)
    assert [(one.kind, one.uid, one.mailbox, one.at) for one in changes] == [
        (ChangeKind.FLAGS, 3, box, NOW + 1),
        (ChangeKind.FLAGS, 1, box, NOW + 1),
    ]
    assert [row.changed for row in rows] == [changes[1].seq, changes[0].seq]
    (state,) = await folders_of(store)
    assert (state.messages, state.unseen) == (3, 2)

    # Nothing changes: journalled, not announced.
    rows = await store.change_flags(box, [FlagChange(3, add=1, remove=16)], JOURNAL, now=NOW + 2)
    assert [(row.uid, row.flags) for row in rows] == [(3, 5)]
    assert await store.last_change() == changes[-1].seq
    # `remove` first, then `add`; keywords stand unless replaced, and may be replaced by none.
    (row,) = await store.change_flags(box, [FlagChange(1, add=1, remove=9)], JOURNAL, now=NOW + 3)
    assert (row.flags, row.keywords) == (1, (1,))
    (row,) = await store.change_flags(box, [FlagChange(1, replace_keywords=True)], JOURNAL, now=NOW + 3)
    assert row.keywords == ()
    assert await store.message_rows(box, [3, 1, 1, 7]) == [row, *rows]
    entries = await store.journal(after=0, limit=9)
    assert [(one.account, one.mailbox, one.at) for one in entries] == [
        (account("ann").mac, box, NOW + n) for n in (1, 2, 3, 3)
    ]
    assert await store.journal(after=entries[1].seq, limit=1) == entries[2:3]


async def test_expunge_leaves_the_item(store: Store) -> None:
    box = await inbox(store)
    for number in (1, 2, 3):
        await store.accept(new_item(number), now=NOW)
    await store.change_flags(box, [seen(2)], JOURNAL, now=NOW)
    before = await store.last_change()
    entry = JournalEntry("expunge", "session 2", before, b"sealed")
    assert await store.expunge(box, [3, 2, 2, 8], entry, now=NOW + 4) == [2, 3]
    assert [(one.kind, one.uid, one.item) for one in await store.changes(after=before, limit=9)] == [
        (ChangeKind.EXPUNGED, 2, item_id(2)),
        (ChangeKind.EXPUNGED, 3, item_id(3)),
    ]
    assert await store.item(item_id(2)) is not None
    assert await store.chunks(item_id(2), 0, 1) == [b"chunk 0"]
    (state,) = await folders_of(store)
    assert (state.messages, state.unseen, state.size, state.uidnext) == (1, 1, 1000, 4)
    last = (await store.journal(after=0, limit=9))[-1]
    assert (last.kind, last.session, last.base, last.body) == ("expunge", "session 2", before, b"sealed")


async def test_what_is_done_to_no_mailbox_is_not_journalled(store: Store) -> None:
    with pytest.raises(KeyError):
        await store.change_flags(99, [seen(1)], JOURNAL, now=NOW)
    with pytest.raises(KeyError):
        await store.expunge(99, [1], JOURNAL, now=NOW)
    assert await store.journal(after=0, limit=9) == []
    assert await store.messages(99) == []


async def test_derived_values_are_a_cache(store: Store) -> None:
    await store.accept(new_item(1), now=NOW)
    await store.put_derived("structure", {item_id(1): b"one", item_id(2): b"gone"})
    await store.put_derived("structure", {item_id(1): b"two"})
    await store.put_derived("headers", {item_id(1): b"three"})
    await store.put_setting("in order with later writes", b"", now=NOW)
    assert await store.derived([item_id(1), item_id(2)], "structure") == {item_id(1): b"two"}
    assert await store.derived([item_id(1)], "headers") == {item_id(1): b"three"}
    assert await store.derived([item_id(1)], "other") == {}


async def test_the_feed_is_ordered_filtered_and_paged(store: Store) -> None:
    assert await store.last_change() == 0
    await store.accept(new_item(1), now=NOW)
    await store.put_setting("mode", b"x", now=NOW + 1)
    every = await store.changes(after=0, limit=99)
    assert [one.seq for one in every] == sorted({one.seq for one in every})
    assert [one.kind for one in every] == [
        ChangeKind.ITEM,
        ChangeKind.MAILBOX,
        ChangeKind.ARRIVED,
        ChangeKind.SETTING,
    ]
    assert every[-1].new == "mode"
    assert await store.last_change() == every[-1].seq
    assert await store.changes(after=every[0].seq, limit=2) == every[1:3]
    wanted = [ChangeKind.SETTING, ChangeKind.ITEM]
    assert await store.changes(after=0, limit=99, kinds=wanted) == [every[0], every[3]]


async def test_waiting_for_a_change(store: Store) -> None:
    await store.accept(new_item(1), now=NOW)
    last = await store.last_change()
    assert await store.wait_change(after=last - 1, timeout=60) == last
    assert await store.wait_change(after=last, timeout=0.01) == last
    waiters = [asyncio.create_task(store.wait_change(after=last, timeout=60)) for _ in range(3)]
    impatient = asyncio.create_task(store.wait_change(after=last, timeout=60))
    await asyncio.sleep(0)
    impatient.cancel()
    await store.put_setting("mode", b"x", now=NOW)
    assert await asyncio.gather(*waiters) == [last + 1] * 3


async def test_purge_takes_the_content_and_leaves_the_ledger(store: Store) -> None:
    for number in (1, 2, 3):
        await store.accept(intent(number), now=NOW)
    await store.accept(new_item(4), now=NOW)
    for number, state in ((1, _S.DELIVERED), (2, _S.UNKNOWN), (3, _S.REFUSED)):
        await store.settle(Lease(item_id(number), "inbound", 1, 0.0), Outcome(state), now=NOW + number)
    await store.move(item_id(2), to=_S.DELIVERED, now=NOW + 5)
    await store.put_derived("structure", {item_id(2): b"x"})
    box = await inbox(store)
    assert [one.item for one in await store.messages(box)] == [item_id(4), item_id(2)]

    assert await store.purge(states=list(_S), changed_before=NOW + 1, now=NOW + 9, limit=9) == 0
    assert await store.purge(states=[_S.REFUSED, _S.PENDING], changed_before=NOW + 9, now=NOW + 9, limit=9) == 1
    assert await store.purge(states=list(_S), changed_before=NOW + 9, now=NOW + 9, limit=1) == 1
    before = await store.last_change()
    assert await store.purge(states=list(_S), changed_before=NOW + 9, now=NOW + 9, limit=9) == 1
    assert [(one.kind, one.uid, one.at) for one in await store.changes(after=before, limit=9)] == [
        (ChangeKind.EXPUNGED, 2, NOW + 9),
        (ChangeKind.ITEM, None, NOW + 9),
    ]
    assert [one.item for one in await store.messages(box)] == [item_id(4)]
    row = await store.item(item_id(2))
    assert row is not None
    assert row.state is _S.PURGED
    assert await store.chunks(item_id(2), 0, 1) == [None]
    assert await store.derived([item_id(2)], "structure") == {}
    assert [one.new for one in await store.ledger(item_id(2))] == ["intent", "unknown", "delivered", "purged"]
    assert await store.chunks(item_id(4), 0, 1) == [b"chunk 0"]


async def test_trimming_spares_the_living_and_the_end(store: Store) -> None:
    await store.accept(intent(1), now=NOW)
    await store.accept(new_item(2), now=NOW)
    await store.settle(Lease(item_id(1), "inbound", 1, 0.0), Outcome(_S.DELIVERED), now=NOW)
    await store.purge(states=[_S.DELIVERED], changed_before=NOW + 1, now=NOW + 10, limit=1)
    last = await store.last_change()
    assert await store.trim_changes(before=NOW, limit=9) == 0
    assert await store.trim_changes(before=NOW + 1, limit=1) == 1
    assert await store.trim_changes(before=NOW + 1, limit=99) == 3  # mailbox, arrived, two of the purged item's
    assert [one.new for one in await store.ledger(item_id(1))] == ["purged"]
    assert await store.trim_changes(before=NOW + 99, limit=99) == 0  # the highest entry stays
    assert await store.last_change() == last
    await store.put_setting("mode", b"", now=NOW)
    assert await store.trim_changes(before=NOW + 99, limit=99) == 1
    assert await store.item(item_id(1)) is None
    assert [one.new for one in await store.ledger(item_id(2))] == ["pending"]
    assert await store.last_change() == last + 1


async def test_figures(store: Store) -> None:
    assert await store.counts() == {state: StateCount(0, 0, None) for state in _S}
    assert await store.histograms(states=list(_S), now=NOW, age_bounds=[1.0], size_bounds=[]) == (
        Histogram((0, 0), 0.0),
        Histogram((0,), 0.0),
    )
    for number, (age, size) in enumerate([(0, 10), (10, 100), (11, 101), (500, 5000)]):
        await store.accept(new_item(number, at=NOW - age, size=size), now=NOW)
    await store.accept(intent(9), now=NOW)
    counts = await store.counts()
    assert counts[_S.PENDING] == StateCount(4, 5211, NOW - 500)
    assert counts[_S.INTENT] == StateCount(1, 1000, NOW)
    assert counts[_S.HELD] == StateCount(0, 0, None)
    ages, sizes = await store.histograms(
        states=[_S.PENDING, _S.HELD], now=NOW, age_bounds=[10.0, 100.0], size_bounds=[100.0, 1000.0, 10000.0]
    )
    assert ages == Histogram((2, 1, 1), 521.0)
    assert sizes == Histogram((2, 1, 1, 0), 5211.0)


async def test_items_are_listed_in_order_of_arrival(store: Store) -> None:
    for number in (4, 1, 3):
        await store.accept(new_item(number), now=NOW)
    await store.accept(intent(2), now=NOW)
    both = [_S.INTENT, _S.PENDING, _S.PENDING]
    assert [row.id for row in await store.items(states=both)] == [item_id(n) for n in (1, 2, 3, 4)]
    assert [row.id for row in await store.items(states=both, after=item_id(1), limit=2)] == [item_id(2), item_id(3)]
    assert [row.id for row in await store.items(states=[_S.HELD])] == []
    assert await store.item(item_id(99)) is None


async def test_rotation_rewrites_what_still_has_the_old_key(store: Store) -> None:
    for number in (1, 2):
        await store.accept(new_item(number), now=NOW)
    old = await store.wrapped_keys(not_key="key-2", limit=9)
    assert old == [WrappedKey(item_id(n), "key-1", b"wrapped %d" % n) for n in (1, 2)]
    assert await store.wrapped_keys(not_key="key-1", limit=9) == []
    pairs = [(one, WrappedKey(one.item, "key-2", b"new")) for one in old]
    assert await store.rewrap(pairs[:1]) == 1
    assert await store.rewrap(pairs) == 1
    row = await store.item(item_id(1))
    assert row is not None
    assert (row.key_id, row.wrapped_key) == ("key-2", b"new")
    assert await store.wrapped_keys(not_key="key-2", limit=9) == []


async def test_the_newest_knowledge_about_a_recipient_wins(store: Store) -> None:
    ann, bob = b"ann".ljust(16), b"bob".ljust(16)
    await store.learn_recipients(b"domain", [KnownRecipient(ann, True, "reply", 10.0)])
    await store.learn_recipients(
        b"domain", [KnownRecipient(ann, False, "reply", 9.0), KnownRecipient(bob, False, "list", 5.0)]
    )
    await store.learn_recipients(b"domain", [])
    assert await store.known_recipients([ann, bob, b"?"]) == {
        ann: KnownRecipient(ann, True, "reply", 10.0),
        bob: KnownRecipient(bob, False, "list", 5.0),
    }
    await store.learn_recipients(b"domain", [KnownRecipient(ann, False, "login", 10.0)])
    assert (await store.known_recipients([ann]))[ann] == KnownRecipient(ann, False, "login", 10.0)
    assert await store.domain_first_seen(b"domain") == 10.0
    assert await store.domain_first_seen(b"other") is None


async def test_credentials(store: Store) -> None:
    one = Credential(b"ann", "configured", b"login", b"verifier", 1.0)
    two = Credential(b"ann", "remembered", b"login", b"verifier", 2.0)
    three = Credential(b"bob", "configured", b"login", b"verifier", 3.0)
    newer = Credential(b"ann", "configured", b"login", b"other", 4.0)
    for credential in (three, two, one, newer):
        await store.put_credential(credential)
    assert await store.credential(b"ann", "configured") == newer
    assert await store.credential(b"cid", "configured") is None
    assert await store.credentials() == [newer, two, three]
    assert await store.credentials("configured") == [newer, three]
    assert await store.delete_credential(b"ann", "remembered") == 1
    assert await store.delete_credential(b"ann") == 1
    assert await store.delete_credential(b"ann") == 0
    assert await store.credentials() == [three]


async def test_old_credentials_are_swept(store: Store) -> None:
    kinds = ("configured", "remembered", "remembered", "remembered", "token")
    for number, kind in enumerate(kinds):
        await store.put_credential(Credential(b"account %d" % number, kind, b"login", b"verifier", float(number)))
    assert await store.sweep_credentials("remembered", before=3.0, limit=1) == 1
    assert await store.sweep_credentials("remembered", before=3.0, limit=10) == 1
    assert await store.sweep_credentials("remembered", before=3.0, limit=10) == 0
    assert [one.mac for one in await store.credentials()] == [b"account 0", b"account 3", b"account 4"]


async def test_settings(store: Store) -> None:
    assert await store.setting("a") is None
    assert await store.put_setting_if_absent("a", b"1", now=NOW) == b"1"
    assert await store.put_setting_if_absent("a", b"2", now=NOW) == b"1"
    assert await store.last_change() == 1
    await store.put_setting("a", b"3", now=NOW)
    assert await store.setting("a") == b"3"
    assert [one.new for one in await store.changes(after=0, limit=9)] == ["a", "a"]


async def test_a_setting_is_swapped_only_by_who_knows_its_value(store: Store) -> None:
    assert not await store.swap_setting("a", b"1", expected=b"", now=NOW)
    assert await store.swap_setting("a", b"1", expected=None, now=NOW)
    assert not await store.swap_setting("a", b"2", expected=None, now=NOW)
    assert not await store.swap_setting("a", b"2", expected=b"0", now=NOW)
    assert await store.setting("a") == b"1"
    assert await store.swap_setting("a", b"2", expected=b"1", now=NOW)
    assert await store.setting("a") == b"2"
    # A change that did not happen is not announced.
    assert [one.new for one in await store.changes(after=0, limit=9)] == ["a", "a"]


async def test_of_many_who_read_the_same_value_one_wins(store: Store) -> None:
    async def count_up() -> None:
        while True:
            before = await store.setting("n")
            after = str(int(before or b"0") + 1).encode()
            if await store.swap_setting("n", after, expected=before, now=NOW):
                return

    await asyncio.gather(*(count_up() for _ in range(20)))
    assert await store.setting("n") == b"20"
