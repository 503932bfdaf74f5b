"""Folders in plain words: hierarchy, INBOX, subscriptions, races, and what the journal says of it."""

from __future__ import annotations

import asyncio

import pytest

from relay.core.errors import Refused
from relay.spool import deeds
from relay.spool.deeds import Details, Renamed, Seen
from relay.spool.folders import FolderExists, FolderRefused, NoSuchFolder, SpecialUseTaken
from relay.spool.mailboxes import Account
from tests.spool.conftest import Spool

SEEN = Seen("session", 3)


async def user(spool: Spool) -> Account:
    """Bob."""
    return await spool.mailboxes.open_account("bob@example.org")


async def listed(spool: Spool, account: Account) -> list[str]:
    """Names with `+` children, `-` no mailbox, `s` subscribed."""
    return [
        f"{entry.name}{'+' * entry.children}{'-' * (entry.folder is None)}{'s' * entry.subscribed}"
        for entry in (await spool.mailboxes.listing(account)).entries
    ]


async def journalled(spool: Spool) -> list[tuple[str, Details]]:
    """Kind and names of every record."""
    rows = await spool.store.journal(after=0, limit=99)
    assert all((row.session, row.base) == ("session", 3) for row in rows)
    return [(row.kind, deeds.decode(spool.vault, row)) for row in rows]


async def test_a_hierarchy_comes_and_goes(spool: Spool) -> None:
    bob = await user(spool)
    boxes = spool.mailboxes
    await boxes.create(bob, "Work/2026/May", SEEN)
    sent = await boxes.create(bob, "Gesendet für alle/", SEEN, special_use=("\\Sent",))
    assert (sent.name, sent.row.special_use) == ("Gesendet für alle", "\\Sent")
    await boxes.subscribe(bob, "Gone", SEEN)
    assert await listed(spool, bob) == [
        "INBOXs",
        "Gesendet für alle",
        "Gone-s",
        "Work+-",
        "Work/2026+-",
        "Work/2026/May",
    ]
    await boxes.create(bob, "Work", SEEN)
    await boxes.delete(bob, "Work", SEEN)
    assert "Work+-" in await listed(spool, bob)
    await boxes.rename(bob, "Work", "Play/deep", SEEN)
    await boxes.unsubscribe(bob, "Gone", SEEN)
    await boxes.unsubscribe(bob, "Never", SEEN)
    assert await listed(spool, bob) == [
        "INBOXs",
        "Gesendet für alle",
        "Play+-",
        "Play/deep+-",
        "Play/deep/2026+-",
        "Play/deep/2026/May",
    ]
    may = await boxes.folder(bob, "Play/deep/2026/May")
    assert may is not None
    assert (await journalled(spool))[5:7] == [
        ("rename", Details("Work", "Play/deep", None, (Renamed(may.row.id, "Work/2026/May", "Play/deep/2026/May"),))),
        ("unsubscribe", Details("Gone")),
    ]
    assert (await journalled(spool))[1] == ("create", Details("Gesendet für alle", special_use="\\Sent"))
    assert (await boxes.folders(bob))[0].name == "INBOX"
    assert (await boxes.listing(bob)).folder("inbox") == await boxes.folder(bob, "Inbox")


async def test_what_is_refused_changes_nothing(spool: Spool) -> None:
    bob = await user(spool)
    boxes = spool.mailboxes
    await boxes.create(bob, "a", SEEN, special_use=("\\Trash",))
    await boxes.create(bob, "b/x", SEEN)
    await boxes.create(bob, "a/x", SEEN)
    before = await listed(spool, bob)
    refused: list[tuple[object, type[Refused]]] = [
        (boxes.create(bob, "a", SEEN), FolderExists),
        (boxes.create(bob, "INBOX", SEEN), FolderExists),
        (boxes.create(bob, "t", SEEN, special_use=("\\Trash",)), SpecialUseTaken),
        (boxes.create(bob, "a//b", SEEN), FolderRefused),
        (boxes.create(bob, "n" * 1001, SEEN), FolderRefused),
        (boxes.create(bob, "../etc", SEEN), FolderRefused),
        (boxes.subscribe(bob, "*", SEEN), FolderRefused),
        (boxes.delete(bob, "INBOX", SEEN), FolderRefused),
        (boxes.delete(bob, "b", SEEN), FolderRefused),
        (boxes.delete(bob, "c", SEEN), NoSuchFolder),
        (boxes.rename(bob, "c", "d", SEEN), NoSuchFolder),
        (boxes.rename(bob, "a", "INBOX", SEEN), FolderExists),
        (boxes.rename(bob, "a", "a/b", SEEN), FolderRefused),
        (boxes.rename(bob, "a", "b", SEEN), FolderExists),  # b/x is there
        (boxes.rename(bob, "a", "n" * 999, SEEN), FolderRefused),  # n.../x is too long
    ]
    for call, error in refused:
        with pytest.raises(error):
            await call  # type: ignore[misc]  # coroutines of several types
    assert await listed(spool, bob) == before
    assert len(await journalled(spool)) == 3


async def test_inbox_is_renamed_by_emptying_it(spool: Spool) -> None:
    bob = await user(spool)
    boxes = spool.mailboxes
    await spool.accept(b"Subject: one\r\n\r\n")
    await boxes.create(bob, "INBOX/below", SEEN)
    await boxes.rename(bob, "INBOX", "Old", SEEN)
    assert await listed(spool, bob) == ["INBOX+s", "INBOX/below", "Old"]
    old, inbox = await boxes.folder(bob, "Old"), await boxes.folder(bob, "INBOX")
    assert old is not None and inbox is not None
    assert (old.row.messages, inbox.row.messages) == (1, 0)
    assert old.object_id != inbox.object_id
    await boxes.rename(bob, "Old", "Older", SEEN)
    older = await boxes.folder(bob, "Older")
    assert older is not None
    assert (older.object_id, older.row.uidvalidity) == (old.object_id, old.row.uidvalidity)


async def test_sessions_that_race_both_get_their_way(spool: Spool) -> None:
    bob = await user(spool)
    boxes = spool.mailboxes
    await asyncio.gather(*(boxes.create(bob, f"f{n}", SEEN) for n in range(4)))
    outcomes = await asyncio.gather(
        *(boxes.create(bob, "same", Seen(f"s{n}", 3)) for n in range(3)), return_exceptions=True
    )
    assert sorted(isinstance(one, FolderExists) for one in outcomes) == [False, True, True]
    assert await listed(spool, bob) == ["INBOXs", "f0", "f1", "f2", "f3", "same"]
