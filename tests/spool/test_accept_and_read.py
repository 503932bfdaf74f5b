"""What goes in comes out byte for byte, or not at all."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.core.envelope import Envelope, Recipient
from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.core.reply import reply
from relay.spool.mailboxes import FlagStep, Seen
from relay.spool.pressure import DiskRoom
from relay.spool.queue import Result
from relay.store.records import SystemFlag
from relay.vault.sealing import CHUNK_SIZE
from tests.spool.conftest import ENVELOPE, ORIGIN, Spool, open_spool

WITH_ID = b"Message-ID: <one@sender.example>\r\nSubject: x\r\n\r\n"


async def content(spool: Spool, item: ItemId) -> bytes:
    message = await spool.reader.open_item(item)
    assert message is not None
    assert (message.envelope, message.origin) == (ENVELOPE, ORIGIN)
    return b"".join([block async for block in message.stream()])


@pytest.mark.parametrize("size", [0, 1, 4096, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 9 * CHUNK_SIZE + 5])
async def test_bytes_come_back_as_they_went_in(spool: Spool, size: int) -> None:
    body = bytes((i * 7 + i // 251) % 256 for i in range(size))
    accepted = await spool.accept(body)
    assert not accepted.duplicate
    assert accepted.lease is None
    assert await content(spool, accepted.item) == body
    message = await spool.reader.open_item(accepted.item)
    assert message is not None
    for start, length in ((0, 10), (size // 2, 7), (CHUNK_SIZE - 3, 6), (size - 1, None), (size + 5, 3), (0, None)):
        end = size if length is None else start + length
        assert await message.read(max(start, 0), length) == body[max(start, 0) : end]
    if size:
        assert b"".join([b async for b in message.stream(size // 3)]) == body[size // 3 :]


@settings(max_examples=30, deadline=None)
@given(blocks=st.lists(st.binary(max_size=300_000), max_size=6))
def test_any_blocks_make_the_same_message(blocks: list[bytes]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with open_spool(Path(folder)) as spool:
                async with spool.intake.begin() as draft:
                    for block in blocks:
                        await draft.write(block)
                    accepted = await draft.commit(ENVELOPE, ORIGIN, intent=False)
                assert await content(spool, accepted.item) == b"".join(blocks)
                assert spool.pressure.in_flight == 0

    asyncio.run(run())


async def test_a_message_repeated_before_its_sender_saw_the_250_is_the_first_one(spool: Spool) -> None:
    first = await spool.accept(WITH_ID + b"body")
    again = await spool.accept(WITH_ID + b"body")
    assert again.duplicate
    assert again.item == first.item
    other = await spool.accept(WITH_ID + b"other")
    assert not other.duplicate
    spool.intake.confirm(first.item)
    await spool.intake.drain()
    later = await spool.accept(WITH_ID + b"body")
    assert not later.duplicate


async def test_without_a_message_id_nothing_is_taken_for_a_repetition(spool: Spool) -> None:
    first = await spool.accept(b"Subject: alarm\r\n\r\nfire")
    second = await spool.accept(b"Subject: alarm\r\n\r\nfire")
    assert not second.duplicate
    assert second.item != first.item


async def test_a_draft_given_up_leaves_nothing(spool: Spool) -> None:
    async with spool.intake.begin() as draft:
        await draft.write(bytes(8 * CHUNK_SIZE))
        assert spool.pressure.in_flight == 8 * CHUNK_SIZE
    assert spool.pressure.in_flight == 0
    assert await spool.store.chunks(draft.item, 0, 2) == [None, None]
    assert sum(c.items for c in (await spool.store.counts()).values()) == 0
    with pytest.raises(RuntimeError, match="once"):
        await draft.commit(ENVELOPE, ORIGIN, intent=False)


async def test_a_cancelled_commit_is_finished(spool: Spool) -> None:
    draft = spool.intake.begin()
    before = await spool.store.last_change()
    await draft.write(b"Subject: x\r\n\r\nbody")
    committing = asyncio.ensure_future(draft.commit(ENVELOPE, ORIGIN, intent=False))
    await asyncio.sleep(0)
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await committing
    assert spool.pressure.in_flight == 0
    assert await spool.store.wait_change(after=before, timeout=20) > before
    assert (await spool.store.counts())[ItemState.PENDING].items == 1


DAMAGE = {
    "flip": "UPDATE chunk SET data = CAST(iif(substr(data, 1, 1) = X'00', X'01', X'00') || substr(data, 2) AS BLOB)",
    "cut": "UPDATE chunk SET data = substr(data, 1, length(data) - 1)",
    "lose": "DELETE FROM chunk",
}
SECOND_CHUNK = " WHERE key % 1048576 = 1"


@pytest.mark.parametrize("how", sorted(DAMAGE))
async def test_damage_is_found_and_quarantined(spool: Spool, how: str) -> None:
    body = bytes(range(256)) * (3 * CHUNK_SIZE // 256)
    bad = await spool.accept(body)
    good = await spool.accept(b"Subject: good\r\n\r\n")
    damage_chunk(spool, how)
    message = await spool.reader.open_item(bad.item)
    assert message is not None
    with pytest.raises(Damaged) as found:
        async for _ in message.stream():
            pass
    await spool.queue.quarantine(bad.item, found.value)
    row = await spool.store.item(bad.item)
    assert row is not None
    assert row.state is ItemState.QUARANTINED
    assert "Damaged" in (spool.queue.view(row).note or "")
    assert await content(spool, good.item) == b"Subject: good\r\n\r\n"


def damage_chunk(spool: Spool, how: str) -> None:
    """Change the only second chunk there is, behind the engine's back."""
    connection = apsw.Connection(str(spool.path / "relay.db"))
    connection.execute(DAMAGE[how] + SECOND_CHUNK)
    assert connection.changes() == 1
    connection.close()


async def test_a_shortened_message_is_damage_even_where_its_row_agrees(spool: Spool) -> None:
    accepted = await spool.accept(bytes(2 * CHUNK_SIZE + 1))
    row = await spool.store.item(accepted.item)
    assert row is not None
    message = spool.reader.open(msgspec.structs.replace(row, chunk_count=2, size=2 * CHUNK_SIZE))
    with pytest.raises(Damaged):
        await message.read()


async def test_an_envelope_of_another_item_does_not_open(spool: Spool) -> None:
    one, two = await spool.accept(b"one"), await spool.accept(b"two")
    first, second = await spool.store.item(one.item), await spool.store.item(two.item)
    assert first is not None
    assert second is not None
    swapped = msgspec.structs.replace(
        first, envelope=second.envelope, wrapped_key=second.wrapped_key, key_id=second.key_id
    )
    with pytest.raises(Damaged):
        spool.reader.open(swapped)
    view = spool.queue.view(swapped)
    assert view.reverse_path is None
    assert view.recipients[0].address == "?"
    assert "Damaged" in (view.note or "")


async def test_an_attempt_and_its_reply_are_recorded(spool: Spool) -> None:
    two = Envelope("", (Recipient("a@example.org"), Recipient("b@example.org")))
    accepted = await spool.accept(b"x", two)
    (row,) = await spool.queue.claim(limit=5, seconds=30, states=[ItemState.PENDING])
    assert row.id == accepted.item
    assert row.lease is not None
    await spool.queue.intend([row.lease])
    await spool.queue.settle(
        row.lease,
        ItemState.HELD,
        [
            Result(0, RecipientState.DELIVERED, reply(250, "2.1.5 Ok")),
            Result(1, RecipientState.REFUSED, reply(550, "5.1.1 No such user b@example.org")),
        ],
        note=reply(550, "5.1.1 No such user"),
    )
    settled = await spool.store.item(accepted.item)
    assert settled is not None
    view = spool.queue.view(settled)
    assert view.state is ItemState.HELD
    assert view.attempts == 1
    assert [r.state for r in view.recipients] == [RecipientState.DELIVERED, RecipientState.REFUSED]
    assert view.recipients[1].reply == "550 5.1.1 No such user b@example.org"
    assert view.note == "550 5.1.1 No such user"


async def test_mail_shows_in_the_inbox_and_flags_are_journalled(spool: Spool) -> None:
    await spool.accept(b"one")
    accepted = await spool.accept(b"two", intent=True)
    account = await spool.mailboxes.open_account("bob@EXAMPLE.org")
    inbox = await spool.mailboxes.folder(account, "inbox")
    assert inbox is not None
    assert [f.name for f in await spool.mailboxes.folders(account)] == ["INBOX"]
    assert [m.uid for m in await spool.mailboxes.messages(inbox)] == [1]
    assert accepted.lease is not None
    await spool.queue.settle(accepted.lease, ItemState.UNKNOWN)
    assert [m.uid for m in await spool.mailboxes.messages(inbox)] == [1, 2]
    (row,) = await spool.mailboxes.change_flags(
        inbox, [FlagStep(2, add=SystemFlag.SEEN, keywords=("$Work",))], Seen("s1", 7)
    )
    assert row.flags == SystemFlag.SEEN
    assert spool.mailboxes.keywords(row) == ("$Work",)
    (row,) = await spool.mailboxes.change_flags(inbox, [FlagStep(2, keywords=())], Seen("s1", 8))
    assert spool.mailboxes.keywords(row) == ()
    assert await spool.mailboxes.expunge(inbox, [1, 99], Seen("s1", 9)) == [1]
    journal = await spool.store.journal(after=0, limit=10)
    assert [(j.kind, j.session, j.base) for j in journal] == [
        ("store", "s1", 7),
        ("store", "s1", 8),
        ("expunge", "s1", 9),
    ]
    await spool.mailboxes.put_derived("structure", {accepted.item: b"tree"})
    assert (await spool.mailboxes.derived("structure", [accepted.item])).get(accepted.item, b"tree") == b"tree"


async def test_pressure_closes_before_the_disk_is_full(spool: Spool) -> None:
    reserve = 256 * 1024 * 1024
    assert spool.pressure.admits(None)
    spool.room = DiskRoom(reserve + 1_000_000, 10_000)
    assert spool.pressure.admits(400_000)
    assert not spool.pressure.admits(500_000)
    spool.pressure.take(300_000)
    assert not spool.pressure.admits(400_000)
    spool.pressure.give(300_000)
    spool.room = DiskRoom(1 << 40, 10)
    assert not spool.pressure.admits(0)
    spool.room = DiskRoom(1 << 40, -1)
    assert spool.pressure.admits(0)


async def test_nothing_readable_is_in_the_files(spool: Spool) -> None:
    marks = [b"zebra-subject", b"zebra-body", b"zebra.rcpt", b"zebra.sender"]
    envelope = Envelope("zebra.sender@example.com", (Recipient("zebra.rcpt@example.org"),))
    await spool.accept(b"Subject: zebra-subject\r\n\r\nzebra-body" * 3, envelope)
    account = await spool.mailboxes.open_account("zebra.rcpt@example.org")
    assert account.address == "zebra.rcpt@example.org"
    await spool.store.close()
    for file in spool.path.iterdir():
        data = file.read_bytes()
        assert not [mark for mark in marks if mark in data], file.name
