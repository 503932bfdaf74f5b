"""Contract 12, 14, 15, 16: folders that come and go, on every engine."""

from __future__ import annotations

import pytest

from relay.store.api import Store
from relay.store.mailbox_api import StaleFolders
from relay.store.mailbox_records import (
    CreateFolder,
    DeleteFolder,
    FolderChange,
    FolderTree,
    RenameFolder,
    Subscribe,
    Unsubscribe,
)
from relay.store.records import ChangeKind, Effect, JournalEntry, MailboxRow
from tests.store.samples import JOURNAL, NOW, account, folders_of, item_id, name_of, new_item, seen

MAC = account("ann").mac


async def change(store: Store, *changes: FolderChange, now: float = NOW, entry: JournalEntry = JOURNAL) -> FolderTree:
    """As it is, without a race."""
    await store.ensure_account(account("ann"), now=NOW)
    tree = await store.folders(MAC)
    assert tree is not None
    return await store.change_folders(MAC, tree.version, changes, entry, now=now)


async def make(store: Store, name: str, *, now: float = NOW) -> MailboxRow:
    """A new folder."""
    await change(store, CreateFolder(name_of(name), b"sealed " + name.encode()), now=now)
    row = await store.mailbox(MAC, name_of(name))
    assert row is not None
    return row


async def test_folders_are_read_as_one(store: Store) -> None:
    assert await store.folders(MAC) is None
    inbox = await store.ensure_account(account("ann"), now=NOW)
    tree = await change(store, CreateFolder(name_of("sent"), b"sealed sent", "\\Sent"))
    await store.accept(new_item(1), now=NOW)
    tree = await change(store, Subscribe(name_of("elsewhere"), b"sealed elsewhere"))
    assert (tree.version, tree.inbox) == (2, inbox.id)
    first, second = tree.mailboxes
    assert (first.id, first.messages, first.subscribed) == (inbox.id, 1, True)
    assert (second.name_mac, second.name, second.special_use) == (name_of("sent"), b"sealed sent", "\\Sent")
    assert (second.uidnext, second.subscribed) == (1, False)
    assert [one.name_mac for one in tree.subscriptions] == sorted([account("ann").inbox_mac, name_of("elsewhere")])
    assert await store.folders(MAC) == tree
    assert await store.folders(account("bob").mac) is None


async def test_a_change_needs_the_folders_as_they_are(store: Store) -> None:
    await make(store, "a")
    tree = await store.folders(MAC)
    journal = await store.journal(after=0, limit=99)
    with pytest.raises(StaleFolders):
        await store.change_folders(MAC, 0, [CreateFolder(name_of("b"), b"")], JOURNAL, now=NOW)
    with pytest.raises(KeyError):
        await store.change_folders(b"nobody", 0, [CreateFolder(name_of("b"), b"")], JOURNAL, now=NOW)
    inbox = account("ann").inbox_mac
    refused: list[tuple[list[FolderChange], type[Exception]]] = [
        ([CreateFolder(name_of("a"), b"")], ValueError),
        ([CreateFolder(inbox, b"")], ValueError),
        ([DeleteFolder(1)], ValueError),
        ([DeleteFolder(99)], KeyError),
        ([RenameFolder(99, name_of("b"), b"")], KeyError),
        ([RenameFolder(2, inbox, b"")], ValueError),
        ([RenameFolder(2, name_of("b"), b""), RenameFolder(1, name_of("c"), b"")], ValueError),
        ([CreateFolder(name_of("b"), b""), CreateFolder(name_of("c"), b"")], ValueError),
        ([], ValueError),
    ]
    for changes, error in refused:
        with pytest.raises(error):
            await store.change_folders(MAC, 1, changes, JOURNAL, now=NOW)
    assert await store.folders(MAC) == tree
    assert await store.journal(after=0, limit=99) == journal


async def test_a_subtree_is_renamed_in_one_commit(store: Store) -> None:
    top, below = await make(store, "a"), await make(store, "a/b")
    before = await store.last_change()
    # Names may cross over on the way.
    entry = JournalEntry("rename", "session", 7, b"old and new")
    tree = await change(
        store, RenameFolder(top.id, name_of("a/b"), b"1"), RenameFolder(below.id, name_of("a"), b"2"), entry=entry
    )
    assert [(row.id, row.name_mac, row.name, row.uidvalidity) for row in tree.mailboxes[1:]] == [
        (top.id, name_of("a/b"), b"1", below.uidvalidity + 1),  # the name has shown a higher one
        (below.id, name_of("a"), b"2", below.uidvalidity),
    ]
    changes = await store.changes(after=before, limit=9)
    assert [(one.kind, one.mailbox, one.new) for one in changes] == [
        (ChangeKind.MAILBOX, top.id, "renamed"),
        (ChangeKind.MAILBOX, below.id, "renamed"),
    ]
    last = (await store.journal(after=0, limit=99))[-1]
    assert (last.kind, last.mailbox, last.body, last.effects) == ("rename", top.id, b"old and new", ())


async def test_renaming_inbox_moves_its_messages(store: Store) -> None:
    for number in (1, 2, 3):
        await store.accept(new_item(number), now=NOW)
    await store.change_flags(1, [seen(3)], JOURNAL, now=NOW)
    await store.expunge(1, [1], JOURNAL, now=NOW)
    before = await store.last_change()
    tree = await change(store, RenameFolder(1, name_of("old"), b"sealed"), now=NOW + 5)
    inbox, old = tree.mailboxes
    assert (inbox.id, inbox.name_mac, inbox.messages, inbox.uidnext) == (1, account("ann").inbox_mac, 0, 4)
    assert (old.name_mac, old.messages, old.unseen, old.uidnext) == (name_of("old"), 2, 1, 3)
    assert old.uidvalidity > inbox.uidvalidity
    rows = await store.messages(old.id)
    assert [(row.uid, row.item, row.flags, row.saved) for row in rows] == [
        (1, item_id(2), 0, NOW + 5),
        (2, item_id(3), 1, NOW + 5),
    ]
    assert [(one.kind, one.mailbox, one.uid, one.new) for one in await store.changes(after=before, limit=9)] == [
        (ChangeKind.MAILBOX, old.id, None, "created"),
        (ChangeKind.ARRIVED, old.id, 1, None),
        (ChangeKind.EXPUNGED, 1, 2, None),
        (ChangeKind.ARRIVED, old.id, 2, None),
        (ChangeKind.EXPUNGED, 1, 3, None),
        (ChangeKind.MAILBOX, 1, None, "renamed"),
    ]
    last = (await store.journal(after=0, limit=99))[-1]
    assert (last.mailbox, last.target) == (1, old.id)
    assert last.effects == (Effect(2, item_id(2), 1, 0, 0), Effect(3, item_id(3), 2, 1, 1))
    await store.accept(new_item(4), now=NOW)
    assert [row.uid for row in await store.messages(1)] == [4]


async def test_a_deleted_mailbox_leaves_its_id_and_its_journal(store: Store) -> None:
    box = await make(store, "a")
    await store.accept(new_item(1), now=NOW)
    await store.transfer(1, [1], box.id, JOURNAL, remove=False, now=NOW)
    before = await store.last_change()
    tree = await change(store, DeleteFolder(box.id))
    assert [row.id for row in tree.mailboxes] == [1]
    assert await store.messages(box.id) == []
    assert [row.uid for row in await store.messages(1)] == [1]
    assert [(one.mailbox, one.new) for one in await store.changes(after=before, limit=9)] == [(box.id, "deleted")]
    last = (await store.journal(after=0, limit=99))[-1]
    assert (last.mailbox, last.effects) == (box.id, (Effect(1, item_id(1)),))
    with pytest.raises(KeyError):
        await store.change_flags(box.id, [seen(1)], JOURNAL, now=NOW)
    with pytest.raises(KeyError):
        await store.transfer(1, [1], box.id, JOURNAL, remove=True, now=NOW)
    with pytest.raises(KeyError):
        await change(store, DeleteFolder(box.id))
    assert (await make(store, "b")).id > box.id


async def test_uidvalidity_grows_under_every_name(store: Store) -> None:
    first = await make(store, "a")
    await change(store, DeleteFolder(first.id))
    second = await make(store, "a")
    assert second.uidvalidity > first.uidvalidity
    # The clock counts where it is ahead.
    third = await make(store, "b", now=NOW + 1000)
    assert third.uidvalidity == int(NOW) + 1000
    # There and back keeps it: it is the same mailbox.
    await change(store, RenameFolder(second.id, name_of("c"), b""))
    await change(store, RenameFolder(second.id, name_of("a"), b""))
    row = await store.mailbox(MAC, name_of("a"))
    assert row is not None
    assert (row.id, row.uidvalidity) == (second.id, second.uidvalidity)
    # A name that has shown a higher one takes no lower one.
    await change(store, DeleteFolder(third.id))
    await change(store, RenameFolder(second.id, name_of("b"), b""))
    row = await store.mailbox(MAC, name_of("b"))
    assert row is not None
    assert row.id == second.id
    assert third.uidvalidity < row.uidvalidity < 1 << 31


async def test_subscriptions_are_of_names(store: Store) -> None:
    box = await make(store, "a")
    before = await store.last_change()
    for _ in range(2):
        await change(store, Subscribe(name_of("a"), b"sealed"))
    assert [row.subscribed for row in await folders_of(store)] == [True, True]
    await change(store, DeleteFolder(box.id))
    tree = await change(store, Unsubscribe(account("ann").inbox_mac))
    assert [row.subscribed for row in tree.mailboxes] == [False]
    assert [(one.name_mac, one.name) for one in tree.subscriptions] == [(name_of("a"), b"sealed")]
    await make(store, "a")
    assert [row.subscribed for row in await folders_of(store)] == [False, True]
    changes = await store.changes(after=before, limit=99)
    assert [(one.mailbox, one.new) for one in changes] == [
        (1, "subscribed"),
        (box.id, "deleted"),
        (1, "unsubscribed"),
        (box.id + 1, "created"),
    ]
    entries = await store.journal(after=0, limit=99)
    assert [one.mailbox for one in entries] == [box.id, 1, 1, box.id, 1, box.id + 1]
