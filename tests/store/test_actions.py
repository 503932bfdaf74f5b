"""Contract 12, 13, 17 to 21: what users do to messages, on every engine."""

from __future__ import annotations

import pytest

from relay.core.item import ItemState
from relay.store.api import IllegalTransition, Store, StoreUnavailable
from relay.store.mailbox_api import KEYWORD_LIMIT, MessageGone, OverQuota, TooManyKeywords
from relay.store.mailbox_records import Appended, Body, CreateFolder, Quota, Replaced, Transferred, Usage
from relay.store.records import ChangeKind, Effect, FlagChange, JournalEntry, Lease, Outcome, Route
from tests.store.samples import JOURNAL, NOW, account, intent, item_id, name_of, new_item, new_message, seen, word

_S = ItemState
MAC = account("ann").mac
INBOX, OTHER = 1, 2
V_OTHER = int(NOW) + 1


async def two_boxes(store: Store, mails: int = 3) -> None:
    """INBOX with mail and an empty folder."""
    await store.ensure_account(account("ann"), now=NOW)
    await store.change_folders(MAC, 0, [CreateFolder(name_of("other"), b"sealed")], JOURNAL, now=NOW)
    for number in range(1, mails + 1):
        await store.accept(new_item(number, size=100 * number), now=NOW)


async def test_copies_keep_what_a_message_is(store: Store) -> None:
    await two_boxes(store)
    await store.change_flags(INBOX, [FlagChange(2, add=6, add_keywords=(word("work"),))], JOURNAL, now=NOW)
    before = await store.last_change()
    entry = JournalEntry("copy", "session", before, b"names")
    answer = await store.transfer(INBOX, [3, 2, 9, 2], OTHER, entry, remove=False, now=NOW + 7)
    assert answer == Transferred(V_OTHER, ((2, 1), (3, 2)))
    rows = await store.messages(OTHER)
    assert [(row.uid, row.item, row.flags, row.keywords, row.internal_date, row.saved) for row in rows] == [
        (1, item_id(2), 6, (1,), NOW, NOW + 7),
        (2, item_id(3), 0, (), NOW, NOW + 7),
    ]
    assert [row.uid for row in await store.messages(INBOX)] == [1, 2, 3]
    changes = await store.changes(after=before, limit=9)
    assert [(one.kind, one.mailbox, one.uid, one.at) for one in changes] == [
        (ChangeKind.ARRIVED, OTHER, 1, NOW + 7),
        (ChangeKind.ARRIVED, OTHER, 2, NOW + 7),
    ]
    last = (await store.journal(after=0, limit=99))[-1]
    assert (last.kind, last.base, last.mailbox, last.target) == ("copy", before, INBOX, OTHER)
    assert last.effects == (Effect(2, item_id(2), 1, 6, 6), Effect(3, item_id(3), 2, 0, 0))
    assert await store.usage(MAC) == Usage(5, 1100)
    # Into itself: new numbers for the same messages.
    assert (await store.transfer(OTHER, [1], OTHER, JOURNAL, remove=False, now=NOW)).pairs == ((1, 3),)


async def test_a_move_is_there_or_here(store: Store) -> None:
    await two_boxes(store)
    before = await store.last_change()
    answer = await store.transfer(INBOX, [1, 3], OTHER, JOURNAL, remove=True, now=NOW + 7, quota=Quota(0, 0))
    assert answer.pairs == ((1, 1), (3, 2))
    assert [row.uid for row in await store.messages(INBOX)] == [2]
    changes = await store.changes(after=before, limit=9)
    assert [(one.kind, one.mailbox, one.uid) for one in changes] == [
        (ChangeKind.ARRIVED, OTHER, 1),
        (ChangeKind.EXPUNGED, INBOX, 1),
        (ChangeKind.ARRIVED, OTHER, 2),
        (ChangeKind.EXPUNGED, INBOX, 3),
    ]
    assert await store.usage(MAC) == Usage(3, 600)
    assert (await store.transfer(INBOX, [9], OTHER, JOURNAL, remove=True, now=NOW)).pairs == ()


async def test_accounts_do_not_mix(store: Store) -> None:
    await two_boxes(store)
    bob = (await store.ensure_account(account("bob"), now=NOW)).id
    with pytest.raises(ValueError, match="account"):
        await store.transfer(INBOX, [1], bob, JOURNAL, remove=True, now=NOW)
    replaced = Replaced(INBOX, 1, JOURNAL)
    with pytest.raises(ValueError, match="account"):
        await store.append(bob, [new_message(9)], JOURNAL, now=NOW, replaced=replaced)
    assert len(await store.messages(INBOX)) == 3


async def test_an_append_is_all_of_its_messages(store: Store) -> None:
    await two_boxes(store, 0)
    before = await store.last_change()
    big = new_message(2, chunk_count=3)
    await store.put_chunks(item_id(2), 0, [b"0", b"1"], now=NOW)
    entry = JournalEntry("append", "session", 0, b"names")
    answer = await store.append(OTHER, [new_message(1, "work", flags=17), big], entry, now=NOW + 3)
    assert answer == Appended(V_OTHER, (1, 2))
    one, two = await store.messages(OTHER)
    assert (one.item, one.flags, one.keywords, one.size) == (item_id(1), 17, (1,), 100)
    assert (one.internal_date, one.saved) == (NOW - 1000, NOW + 3)
    assert await store.chunks(two.item, 0, 3) == [b"0", b"1", b"chunk of 2"]
    assert [one.new for one in await store.ledger(item_id(1))] == ["stored"]
    changes = await store.changes(after=before, limit=9)
    assert [one.kind for one in changes] == [ChangeKind.ITEM, ChangeKind.ARRIVED, ChangeKind.ITEM, ChangeKind.ARRIVED]
    last = (await store.journal(after=0, limit=99))[-1]
    assert last.effects == (Effect(1, item_id(1), now=17, added=(1,)), Effect(2, item_id(2)))
    # One that cannot be kept takes all with it.
    last_change = await store.last_change()
    with pytest.raises(StoreUnavailable):
        await store.append(OTHER, [new_message(3), new_message(4, chunk_count=2)], JOURNAL, now=NOW)
    for again in (new_message(1), new_message(2, chunk_count=3)):
        with pytest.raises(ValueError, match="once"):
            await store.append(OTHER, [new_message(3), again], JOURNAL, now=NOW)
    with pytest.raises(KeyError):
        await store.append(99, [new_message(3)], JOURNAL, now=NOW)
    with pytest.raises(KeyError):  # it is called otherwise
        await store.append(OTHER, [new_message(3)], JOURNAL, now=NOW, name=b"another name")
    assert await store.last_change() == last_change
    assert await store.item(item_id(3)) is None
    assert (await store.append(OTHER, [new_message(3)], JOURNAL, now=NOW, name=name_of("other"))).uids == (3,)


async def test_what_is_appended_is_never_in_a_queue(store: Store) -> None:
    await two_boxes(store, 0)
    await store.append(OTHER, [new_message(1)], JOURNAL, now=NOW)
    for route in (Route.PRIMARY, Route.WORLD):
        assert await store.claim("a", states=list(_S), route=route, now=NOW + 9, until=NOW + 99, limit=9) == []
    queued = [_S.PENDING, _S.UNKNOWN]
    assert await store.claim("a", states=queued, route=Route.MAILBOX, now=NOW, until=NOW + 99, limit=9) == []
    (mine,) = await store.claim("a", states=[_S.STORED], route=Route.MAILBOX, now=NOW, until=NOW + 99, limit=9)
    assert mine.id == item_id(1)
    assert (await store.counts())[_S.STORED].items == 1
    await store.rescue(now=NOW + 999)
    for state in _S:
        if state in (_S.PENDING, _S.DELIVERED, _S.QUARANTINED, _S.INTENT, _S.PURGED):
            continue
        with pytest.raises(IllegalTransition):
            await store.move(item_id(1), to=state, now=NOW)
    # The operator's "release" of what was damaged brings it back to its mailbox, not into the queue.
    await store.move(item_id(1), to=_S.QUARANTINED, now=NOW)
    assert (await store.move(item_id(1), to=_S.PENDING, now=NOW)).state is _S.STORED
    assert (await store.move(item_id(1), to=_S.DELIVERED, now=NOW)).state is _S.DELIVERED
    assert [one.uid for one in await store.messages(OTHER)] == [1]
    for new in (new_item(5, state=_S.STORED), new_item(5, route=Route.MAILBOX)):
        with pytest.raises(IllegalTransition):
            await store.accept(new, now=NOW)
    for bad in (new_item(5), new_item(5, state=_S.STORED, route=Route.MAILBOX)):
        with pytest.raises(ValueError, match="appended"):
            await store.append(OTHER, [type(new_message(5))(bad, NOW)], JOURNAL, now=NOW)


async def test_a_replacement_goes_with_what_it_replaces(store: Store) -> None:
    await two_boxes(store)
    entry, removal = JournalEntry("append", "s", 0, b"a"), JournalEntry("expunge", "s", 0, b"b")
    replaced = Replaced(INBOX, 2, removal)
    quota = Quota(3, 500)
    assert (await store.append(OTHER, [new_message(8)], entry, now=NOW, quota=quota, replaced=replaced)).uids == (1,)
    assert [row.uid for row in await store.messages(INBOX)] == [1, 3]
    one, two = (await store.journal(after=0, limit=99))[-2:]
    assert (one.kind, one.mailbox, one.effects) == ("append", OTHER, (Effect(1, item_id(8)),))
    assert (two.kind, two.mailbox, two.effects) == ("expunge", INBOX, (Effect(2, item_id(2)),))
    with pytest.raises(MessageGone):
        await store.append(OTHER, [new_message(9)], entry, now=NOW, replaced=replaced)
    assert await store.item(item_id(9)) is None


async def test_a_quota_stops_what_would_break_it(store: Store) -> None:
    await two_boxes(store)  # 600 octets in 3 messages
    state = await store.folders(MAC)
    for quota in (Quota(messages=3), Quota(size=699)):
        with pytest.raises(OverQuota):
            await store.append(OTHER, [new_message(8)], JOURNAL, now=NOW, quota=quota)
        with pytest.raises(OverQuota):
            await store.transfer(INBOX, [1], OTHER, JOURNAL, remove=False, now=NOW, quota=quota)
    assert await store.folders(MAC) == state
    assert await store.item(item_id(8)) is None
    await store.append(OTHER, [new_message(8)], JOURNAL, now=NOW, quota=Quota(4, 700))
    assert await store.usage(MAC) == Usage(4, 700)
    await store.accept(new_item(9), now=NOW)  # mail is taken all the same
    assert await store.usage(MAC) == Usage(5, 1700)
    assert await store.usage(b"nobody") == Usage(0, 0)


async def test_keywords_change_one_by_one(store: Store) -> None:
    await two_boxes(store, 1)
    one, two, three = word("one"), word("two"), word("three")
    # Two sessions that saw none: neither undoes the other.
    await store.change_flags(INBOX, [FlagChange(1, add_keywords=(one,))], JOURNAL, now=NOW)
    (row,) = await store.change_flags(INBOX, [FlagChange(1, add_keywords=(two, one))], JOURNAL, now=NOW)
    assert row.keywords == (1, 2)
    last = await store.last_change()
    await store.change_flags(INBOX, [FlagChange(1, add_keywords=(one,), remove_keywords=(b"?",))], JOURNAL, now=NOW)
    assert await store.last_change() == last
    (row,) = await store.change_flags(
        INBOX, [FlagChange(1, add_keywords=(three,), remove_keywords=(one.mac,))], JOURNAL, now=NOW
    )
    assert row.keywords == (2, 3)
    (row,) = await store.change_flags(
        INBOX, [FlagChange(1, add_keywords=(one, two), replace_keywords=True)], JOURNAL, now=NOW
    )
    assert row.keywords == (1, 2)
    effects = [one.effects for one in (await store.journal(after=0, limit=99))[-4:]]
    assert effects == [
        (Effect(1, item_id(1), added=(2,)),),
        (),
        (Effect(1, item_id(1), added=(3,), removed=(1,)),),
        (Effect(1, item_id(1), added=(1,), removed=(3,)),),
    ]
    assert [(k.id, k.mac, k.name) for k in await store.keywords(MAC)] == [
        (number, keyword.mac, keyword.name) for number, keyword in enumerate((one, two, three), 1)
    ]
    assert await store.keywords(b"nobody") == []
    many = tuple(word(f"word {n}") for n in range(KEYWORD_LIMIT - 3))
    await store.change_flags(INBOX, [FlagChange(1, add_keywords=many)], JOURNAL, now=NOW)
    (before,) = await store.messages(INBOX)
    with pytest.raises(TooManyKeywords):
        await store.change_flags(INBOX, [FlagChange(1, add=1, add_keywords=(word("more"),))], JOURNAL, now=NOW)
    assert await store.messages(INBOX) == [before]


async def test_mail_that_users_put_in_outlives_all_but_their_own_removal(store: Store) -> None:
    await two_boxes(store, 0)
    await store.append(OTHER, [new_message(1), new_message(2)], JOURNAL, now=NOW)
    await store.transfer(OTHER, [1], INBOX, JOURNAL, remove=False, now=NOW)

    async def purge() -> int:
        return await store.purge(states=list(_S), changed_before=NOW + 100, now=NOW + 200, limit=9)

    await store.expunge(OTHER, [1, 2], JOURNAL, now=NOW)
    assert await purge() == 1
    assert await store.chunks(item_id(2), 0, 1) == [None]
    assert (await store.bodies([item_id(1), item_id(2), item_id(7)])) == {
        item_id(1): Body(item_id(1), 100, "key-1", b"wrapped 1", 1, b"chunk of 1")
    }
    await store.expunge(INBOX, [1], JOURNAL, now=NOW)
    assert await purge() == 1
    assert [one.new for one in await store.ledger(item_id(1))] == ["stored", "purged"]


async def test_an_accounts_mail_outlives_its_young_journal(store: Store) -> None:
    await store.accept(intent(1), now=NOW)
    await store.settle(Lease(item_id(1), "inbound", 1, 0.0), Outcome(_S.UNKNOWN), now=NOW)
    await store.move(item_id(1), to=_S.DELIVERED, now=NOW)
    await store.change_flags(INBOX, [seen(1)], JOURNAL, now=NOW + 50)
    await store.ensure_account(account("bob"), now=NOW)

    async def purge(changed_before: float) -> int:
        return await store.purge(states=[_S.DELIVERED], changed_before=changed_before, now=NOW + 200, limit=9)

    assert await purge(NOW + 50) == 0
    assert await store.forget_journal(account("bob").mac, through=99) == 0
    assert await store.forget_journal(MAC, through=0) == 0
    assert await purge(NOW + 50) == 0
    assert await store.forget_journal(MAC, through=99) == 1
    assert await store.journal(after=0, limit=9) == []
    assert await purge(NOW + 50) == 1
    # A forgotten record's number never comes back.
    await store.expunge(INBOX, [1], JOURNAL, now=NOW)
    assert [row.seq for row in await store.journal(after=0, limit=9, account=MAC)] == [2]
    assert await store.journal(after=0, limit=9, account=account("bob").mac) == []


async def test_an_old_journal_holds_nothing_up(store: Store) -> None:
    await store.accept(intent(1), now=NOW)
    await store.settle(Lease(item_id(1), "inbound", 1, 0.0), Outcome(_S.UNKNOWN), now=NOW)
    await store.move(item_id(1), to=_S.DELIVERED, now=NOW)
    await store.change_flags(INBOX, [seen(1)], JOURNAL, now=NOW + 50)
    assert await store.purge(states=[_S.DELIVERED], changed_before=NOW + 51, now=NOW + 200, limit=9) == 1


async def test_ranges_of_messages(store: Store) -> None:
    await two_boxes(store, 5)
    await store.expunge(INBOX, [3], JOURNAL, now=NOW)

    async def uids(after: int, up_to: int | None, limit: int = 9) -> list[int]:
        return [row.uid for row in await store.messages(INBOX, after_uid=after, up_to=up_to, limit=limit)]

    assert await uids(0, None) == [1, 2, 4, 5]
    assert await uids(1, 4) == [2, 4]
    assert await uids(1, 5, 1) == [2]
    assert [row.uid for row in await store.message_rows(INBOX, [4, 3, 2])] == [2, 4]
    assert [row.uid for row in await store.message_rows(INBOX, [5, 1, 5])] == [1, 5]
    assert await store.message_rows(INBOX, []) == []
