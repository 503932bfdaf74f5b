"""Mail that users put in, copy, move and mark: plain in, plain out, journalled, nothing readable at rest."""

from __future__ import annotations

import asyncio
from random import Random

import apsw
import msgspec
import pytest

from relay.core.envelope import Origin
from relay.core.errors import Damaged, NotNow
from relay.core.item import ItemState
from relay.spool import deeds
from relay.spool.appending import Appends
from relay.spool.deeds import Details, Seen
from relay.spool.folders import NoSuchFolder
from relay.spool.mailboxes import Account, FlagStep, Folder, Mailboxes
from relay.spool.pressure import DiskRoom
from relay.store.mailbox_api import MessageGone, OverQuota
from relay.store.mailbox_records import Quota
from relay.store.records import SystemFlag
from relay.vault.sealing import CHUNK_SIZE
from tests.spool.conftest import Spool

SEEN = Seen("session", 3)
SESSION = Origin("192.0.2.9", 1, "", login="bob", listener="imap", protocol="IMAP")
DRAFT = b"Message-ID: <draft@example.org>\r\nSubject: mark\r\n\r\n"


async def places(spool: Spool) -> tuple[Account, Folder, Folder]:
    """Bob, his INBOX and his Drafts."""
    bob = await spool.mailboxes.open_account("bob@example.org")
    inbox = await spool.mailboxes.folder(bob, "INBOX")
    drafts = await spool.mailboxes.create(bob, "Drafts", SEEN)
    assert inbox is not None
    return bob, inbox, drafts


def appends(spool: Spool, quota: Quota | None = None) -> Appends:
    """The service."""
    return Appends(spool.store, spool.vault, spool.clock, spool.pressure, quota=quota)


async def test_messages_are_streamed_and_come_back(spool: Spool) -> None:
    _, _, drafts = await places(spool)
    small, large = DRAFT + b"small", DRAFT + b"x" * (9 * CHUNK_SIZE + 7)
    async with appends(spool).begin(drafts, SESSION) as batch:
        one = await batch.message(len(small), flags=SystemFlag.DRAFT, keywords=("$Label1",), internal_date=5.0)
        await one.write(small)
        two = await batch.message(None)
        for at in range(0, len(large), 100_001):
            await two.write(large[at : at + 100_001])
        assert spool.pressure.in_flight == len(small) + len(large)
        appended = await batch.commit(SEEN)
    assert spool.pressure.in_flight == 0
    assert appended.uids == (1, 2)
    first, second = await spool.mailboxes.messages(drafts)
    assert (first.flags, first.internal_date, first.size) == (16, 5.0, len(small))
    assert spool.mailboxes.keywords(first) == ("$Label1",)
    assert (second.internal_date, second.saved) == (spool.clock.now(), spool.clock.now())
    for row, body in ((first, small), (second, large)):
        message = await spool.mailboxes.open_message(row.item)
        assert message is not None
        assert await message.read() == body
        assert message.row.state is ItemState.STORED
        assert message.row.message_mac is not None
        assert message.origin.login == "bob"
    assert await spool.mailboxes.contents([first.item, second.item]) == {first.item: small}
    last = (await spool.store.journal(after=0, limit=9))[-1]
    assert (last.kind, deeds.decode(spool.vault, last)) == ("append", Details("Drafts"))
    assert [effect.uid for effect in last.effects] == [1, 2]


async def test_what_is_not_committed_leaves_nothing(spool: Spool) -> None:
    bob, inbox, drafts = await places(spool)
    service = appends(spool, Quota(messages=0))
    with pytest.raises(OverQuota):
        async with service.begin(drafts, SESSION) as batch:
            await (await batch.message(None)).write(b"x" * (9 * CHUNK_SIZE))
            await batch.commit(SEEN)
    async with service.begin(drafts, SESSION) as batch:
        await (await batch.message(None)).write(b"x" * (9 * CHUNK_SIZE))
    with pytest.raises(MessageGone):
        async with appends(spool).begin(drafts, SESSION) as batch:
            await (await batch.message(None)).write(b"x")
            await batch.commit(SEEN, replaced=(inbox, 7))
    await spool.mailboxes.delete(bob, "Drafts", SEEN)
    with pytest.raises(NoSuchFolder):
        async with appends(spool).begin(drafts, SESSION) as batch:
            await (await batch.message(None)).write(b"x")
            await batch.commit(SEEN)
    spool.room = DiskRoom(0, -1)
    with pytest.raises(NotNow):
        await appends(spool).begin(inbox, SESSION).message(1)
    assert spool.pressure.in_flight == 0
    reader = apsw.Connection(str(spool.path / "relay.db"))
    assert reader.execute("SELECT (SELECT count(*) FROM chunk), (SELECT count(*) FROM staged)").fetchall() == [(0, 0)]
    reader.close()
    assert await spool.store.items(states=list(ItemState)) == []


async def test_a_mailbox_that_is_remembered_is_found_again_by_its_name(spool: Spool) -> None:
    bob, _, drafts = await places(spool)

    async def found() -> Folder | None:
        return await spool.mailboxes.folder(bob, "Drafts")

    await spool.mailboxes.rename(bob, "Drafts", "Old", SEEN)
    with pytest.raises(NoSuchFolder):
        async with appends(spool).begin(drafts, SESSION) as batch:
            await (await batch.message(None)).write(DRAFT)
            await batch.commit(SEEN, search=found)
    assert spool.pressure.in_flight == 0
    fresh = await spool.mailboxes.create(bob, "Drafts", SEEN)
    large = DRAFT + b"x" * (9 * CHUNK_SIZE)
    async with appends(spool).begin(drafts, SESSION) as batch:
        await (await batch.message(None)).write(large)
        await batch.commit(SEEN, search=found)
    assert await spool.mailboxes.messages(drafts) == []
    (row,) = await spool.mailboxes.messages(fresh)
    message = await spool.mailboxes.open_message(row.item)
    assert message is not None
    assert await message.read() == large
    last = (await spool.store.journal(after=0, limit=9))[-1]
    assert (last.kind, last.mailbox) == ("append", fresh.row.id)


async def test_a_commit_outlives_its_session(spool: Spool) -> None:
    _, _, drafts = await places(spool)
    service = appends(spool)
    batch = service.begin(drafts, SESSION)
    await (await batch.message(None)).write(DRAFT)
    committing = asyncio.ensure_future(batch.commit(SEEN))
    await asyncio.sleep(0)
    committing.cancel()
    await asyncio.gather(committing, return_exceptions=True)
    await batch.discard()
    await service.drain()
    assert len(await spool.mailboxes.messages(drafts)) == 1


async def test_many_messages_do_not_pile_up(spool: Spool) -> None:
    _, _, drafts = await places(spool)
    async with appends(spool).begin(drafts, SESSION) as batch:
        for n in range(12):
            await (await batch.message(None)).write(bytes([n]) + Random(n).randbytes(112_000))
        reader = apsw.Connection(str(spool.path / "relay.db"))
        staged: int = reader.execute("SELECT count(*) FROM staged").get
        reader.close()
        assert (await batch.commit(SEEN)).uids == tuple(range(1, 13))
    assert staged == 7  # the last is open, and four fit into what a batch holds
    found = await spool.mailboxes.contents([row.item for row in await spool.mailboxes.messages(drafts)])
    assert [body[0] for body in found.values() if isinstance(body, bytes)] == list(range(12))


async def test_copies_moves_and_replacements(spool: Spool) -> None:
    bob, inbox, drafts = await places(spool)
    boxes = spool.mailboxes
    for n in range(3):
        await spool.accept(b"Subject: %d\r\n\r\n" % n)
    await boxes.change_flags(inbox, [FlagStep(1, add_keywords=("Work",))], SEEN)
    assert (await boxes.copy(inbox, [1], drafts, SEEN)).pairs == ((1, 1),)
    assert (await boxes.move(inbox, [3], drafts, SEEN)).pairs == ((3, 2),)
    first, second = await boxes.messages(drafts)
    (kept, _) = await boxes.messages(inbox)
    assert boxes.keywords(first) == ("Work",)
    assert boxes.email_id(first) == boxes.email_id(kept) != boxes.email_id(second)
    async with appends(spool).begin(inbox, SESSION) as batch:
        await (await batch.message(len(DRAFT))).write(DRAFT)
        assert (await batch.commit(SEEN, replaced=(drafts, 1))).uids == (4,)
    assert [row.uid for row in await boxes.messages(drafts)] == [2]
    assert (await boxes.usage(bob)).messages == 4
    rows = await spool.store.journal(after=2, limit=9)
    assert [(row.kind, deeds.decode(spool.vault, row)) for row in rows] == [
        ("copy", Details("INBOX", target="Drafts")),
        ("move", Details("INBOX", target="Drafts")),
        ("append", Details("INBOX")),
        ("expunge", Details("Drafts")),
    ]
    with pytest.raises(OverQuota):
        await Mailboxes(spool.store, spool.vault, spool.clock, quota=Quota(4)).copy(inbox, [1], drafts, SEEN)
    await boxes.delete(bob, "Drafts", SEEN)
    with pytest.raises(NoSuchFolder):
        await boxes.move(inbox, [1], drafts, SEEN)


async def test_sessions_do_not_undo_each_others_keywords(spool: Spool) -> None:
    _, inbox, _ = await places(spool)
    boxes, others = spool.mailboxes, Mailboxes(spool.store, spool.vault, spool.clock)
    await spool.accept(b"Subject: x\r\n\r\n")
    await asyncio.gather(
        boxes.change_flags(inbox, [FlagStep(1, add_keywords=("Red", "$Junk"))], SEEN),
        others.change_flags(inbox, [FlagStep(1, add_keywords=("Blue", "red"))], SEEN),
    )
    (row,) = await boxes.message_rows(inbox, [1])
    assert {word.lower() for word in boxes.keywords(row)} == {"red", "blue", "$junk"}
    (row,) = await others.change_flags(inbox, [FlagStep(1, remove_keywords=("RED",))], SEEN)
    assert set(others.keywords(row)) == {"Blue", "$Junk"}
    (row,) = await boxes.change_flags(inbox, [FlagStep(1, keywords=("Only",))], SEEN)
    assert boxes.keywords(row) == ("Only",)


async def test_lists_of_version_1_are_taken_apart_at_first_sight(spool: Spool) -> None:
    bob, inbox, drafts = await places(spool)
    await spool.accept(b"Subject: x\r\n\r\n")
    await spool.mailboxes.change_flags(inbox, [FlagStep(1, add_keywords=("one",))], SEEN)
    writer = apsw.Connection(str(spool.path / "relay.db"))
    listed = spool.vault.seal("keywords", msgspec.msgpack.encode(("one", "two", "three")))
    writer.execute("UPDATE keyword SET mac = NULL, name = ?", (listed,))
    writer.close()
    boxes = Mailboxes(spool.store, spool.vault, spool.clock)
    (row,) = await boxes.messages(inbox)
    assert set(boxes.keywords(row)) == {"one", "two", "three"}
    await boxes.copy(inbox, [1], drafts, SEEN)
    (row,) = await boxes.change_flags(inbox, [FlagStep(1, remove_keywords=("two",))], SEEN)
    assert set(boxes.keywords(row)) == {"one", "three"}
    (row,) = await boxes.messages(drafts)
    assert set(boxes.keywords(row)) == {"one", "two", "three"}
    assert all(keyword.mac is not None for keyword in await spool.store.keywords(bob.mac))


async def test_damaged_contents_are_values(spool: Spool) -> None:
    _, inbox, _ = await places(spool)
    items = [(await spool.accept(b"Subject: %d\r\n\r\n" % n)).item for n in range(3)]
    writer = apsw.Connection(str(spool.path / "relay.db"))
    keys = [key for (key,) in writer.execute("SELECT key FROM chunk ORDER BY key").fetchall()]
    writer.execute("DELETE FROM chunk WHERE key = ?", (keys[0],))
    writer.execute("UPDATE chunk SET data = zeroblob(length(data)) WHERE key = ?", (keys[1],))
    writer.close()
    found = await spool.mailboxes.contents(items)
    assert [type(found[item]) for item in items] == [Damaged, Damaged, bytes]
    assert len(await spool.mailboxes.messages(inbox)) == 3


async def test_nothing_that_users_write_is_readable_at_rest(spool: Spool) -> None:
    bob, _, _ = await places(spool)
    folder = await spool.mailboxes.create(bob, "Plantedname", SEEN)
    await spool.mailboxes.subscribe(bob, "Plantedsub", SEEN)
    async with appends(spool).begin(folder, SESSION) as batch:
        await (await batch.message(None, keywords=("Plantedword",))).write(
            b"Subject: Plantedsubject\r\n\r\nPlantedbody"
        )
        await batch.commit(SEEN)
    await spool.mailboxes.rename(bob, "Plantedname", "Plantedother", SEEN)
    for path in spool.path.glob("relay.db*"):
        assert b"planted" not in path.read_bytes().lower(), path.name
