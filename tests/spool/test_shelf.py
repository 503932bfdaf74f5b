"""Shelves: always what the store has, whoever wrote it, and read from it only where something happened."""

from __future__ import annotations

import random
from array import array
from pathlib import Path

import pytest

from relay.core.ids import ItemId
from relay.spool import shelf as shelves
from relay.spool.appending import Appends
from relay.spool.deeds import Seen
from relay.spool.mailboxes import FlagStep, Folder, Mailboxes
from relay.spool.shelf import Shelf, Shelves
from relay.store.records import MessageRow
from relay.store.sqlite import SqliteSettings, open_store
from tests.spool.conftest import ORIGIN, Spool

SEEN = Seen("session", 3)


def row(uid: int, flags: int = 0, *, keywords: tuple[int, ...] = (), changed: int = 1) -> MessageRow:
    """Any message."""
    return MessageRow(uid, ItemId(f"item-{uid}"), 0.0, 10, flags, keywords, changed, 0.0)


async def inbox(spool: Spool, mailboxes: Mailboxes | None = None) -> Folder:
    """Bob's."""
    boxes = mailboxes or spool.mailboxes
    folder = await boxes.folder(await boxes.open_account("bob@example.org"), "INBOX")
    assert folder is not None
    return folder


async def put(spool: Spool, folder: Folder, count: int) -> None:
    """Append small messages."""
    async with Appends(spool.store, spool.vault, spool.clock, spool.pressure).begin(folder, ORIGIN) as batch:
        for number in range(count):
            message = await batch.message(None, flags=number % 2)
            await message.write(b"Subject: x\r\n\r\n")
        await batch.commit(SEEN)


def test_a_shelf_gives_rows_by_uid_and_by_span() -> None:
    rows = [row(uid) for uid in (2, 3, 5, 8, 9)]
    shelf = Shelf(list(rows), 1, 1.0)
    assert shelf.rows([3, 5, 8]) == rows[1:4]
    assert shelf.rows(array("I", [3, 4, 8])) == [rows[1], rows[3]]
    assert shelf.rows([1, 10]) == shelf.rows([]) == []
    assert shelf.after(3, 8, 10) == rows[2:4]
    assert shelf.after(0, None, 2) == rows[:2]
    assert shelf.after(9, None, 2) == []


def test_uids_stay_as_they_were_for_who_has_them() -> None:
    shelf = Shelf([row(1), row(2, 4, keywords=(7,))], 1, 1.0)
    before, flags = shelf.uids, shelf.flags
    shelf.change([2], [row(2, 5, keywords=(8,), changed=9)])
    assert shelf.uids is before
    assert (flags, shelf.flags, shelf.keywords) == (b"\0\4", b"\0\5", frozenset((8,)))
    shelf.change([3, 4], [row(3)])
    assert list(before) == [1, 2]
    assert list(shelf.uids) == [1, 2, 3]
    shelf.change([1, 9], [])
    assert list(shelf.uids) == [2, 3]
    shelf.change([1], [row(1)])  # out of order, should that ever be
    shelf.change([1], [])
    assert [one.uid for one in shelf.rows(shelf.uids)] == [2, 3]


async def test_two_processes_see_each_others_writes(spool: Spool, tmp_path: Path) -> None:
    """Random actions on one side; the other's shelf is what the store has, each time."""
    dice = random.Random(1)
    other = await open_store(tmp_path / "relay.db", SqliteSettings())
    try:
        theirs = Mailboxes(other, spool.vault, spool.clock)
        here, there = await inbox(spool), await inbox(spool, theirs)
        await put(spool, here, 20)
        for _ in range(40):
            uids = [one.uid for one in await spool.store.messages(here.row.id)]
            some = sorted(dice.sample(uids, min(3, len(uids))))
            action = dice.randrange(4)
            if action == 0:
                await spool.mailboxes.expunge(here, some[:1], SEEN)
            elif action == 1:
                await put(spool, here, 2)
            else:
                words = ("$Seen",) if action == 2 else ()
                steps = [FlagStep(uid, add=4, add_keywords=words) for uid in some]
                await spool.mailboxes.change_flags(here, steps, SEEN)
            stored = await spool.store.messages(here.row.id)
            for boxes, folder in ((spool.mailboxes, here), (theirs, there)):
                assert await boxes.messages(folder) == stored
                shelf = await boxes.shelf(folder)
                assert shelf is not None
                assert list(shelf.uids) == [one.uid for one in stored]
                assert shelf.flags == bytes(one.flags for one in stored)
                assert all(boxes.keywords(one) == ("$Seen",) * len(one.keywords) for one in stored)
    finally:
        await other.close()


async def test_nothing_is_read_while_nothing_happens(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = await inbox(spool)
    await put(spool, folder, 3)
    shelf = await spool.mailboxes.shelf(folder)

    async def never(*_: object, **__: object) -> list[MessageRow]:
        raise AssertionError("the store was asked")

    monkeypatch.setattr(spool.store, "messages", never)
    monkeypatch.setattr(spool.store, "changes", never)
    assert await spool.mailboxes.shelf(folder) is shelf
    assert len(await spool.mailboxes.message_rows(folder, [1, 3, 4])) == 2


async def test_old_or_far_behind_is_read_anew(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = await inbox(spool)
    await put(spool, folder, 3)
    first = await spool.mailboxes.shelf(folder)
    spool.clock.advance(3601)
    second = await spool.mailboxes.shelf(folder)
    assert second is not first
    monkeypatch.setattr(shelves, "_MOST_CHANGES", 2)
    await put(spool, folder, 3)
    third = await spool.mailboxes.shelf(folder)
    assert third is not None and third is not second
    assert len(third) == 6


async def test_no_more_is_kept_than_may_be(spool: Spool) -> None:
    bob = await spool.mailboxes.open_account("bob@example.org")
    kept = Shelves(spool.store, spool.clock, most_rows=5)
    folders = [await inbox(spool), *[await spool.mailboxes.create(bob, name, SEEN) for name in ("a", "b")]]
    for folder in folders:
        await put(spool, folder, 2)
    found = [await kept.get(folder.row.id, 2) for folder in folders]
    assert await kept.get(folders[2].row.id, 2) is found[2]
    assert await kept.get(folders[1].row.id, 2) is found[1]
    assert await kept.get(folders[0].row.id, 2) is not found[0]
    assert await kept.get(folders[1].row.id, 6) is None
    assert len(await kept.read(folders[1].row.id)) == 2


async def test_a_mailbox_that_is_deleted_is_empty(spool: Spool) -> None:
    bob = await spool.mailboxes.open_account("bob@example.org")
    folder = await spool.mailboxes.create(bob, "a", SEEN)
    await put(spool, folder, 2)
    assert len(await spool.mailboxes.messages(folder)) == 2
    await spool.mailboxes.delete(bob, "a", SEEN)
    assert await spool.mailboxes.messages(folder) == []
