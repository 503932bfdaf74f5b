"""Messages that clients put into mailboxes: APPEND, MULTIAPPEND, REPLACE, as clients of every kind send them."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from relay.core.item import ItemState
from relay.proto.imap.client import Status
from relay.proto.imap.tokens import Atom
from relay.serve.settings import Deadlines, Limits
from relay.spool import deeds
from relay.spool.folders import Usual
from relay.spool.pressure import DiskRoom
from relay.store.api import StoreUnavailable
from relay.store.mailbox_records import Quota
from relay.vault.sealing import CHUNK_SIZE
from tests.serve.client import DEADLINE, Client
from tests.serve.conftest import MESSAGE, Front, MakeFront

DRAFT = b"From: bob@example.org\r\nSubject: draft\r\nMessage-ID: <d1@example.org>\r\n\r\nnot yet\r\n"
SIZE = len(DRAFT)


def code(answer: Status) -> str:
    """The response code of an answer."""
    return "" if answer.code is None else answer.code


async def uid_of(client: Client, put: str) -> str:
    """The UID of a message that is put in."""
    answer = await client.command(put)
    assert code(answer) == "APPENDUID"
    uid = answer.arguments[-1]
    assert isinstance(uid, Atom)
    return uid.value.decode()


async def text(client: Client, number: int) -> bytes:
    """A whole message."""
    (fetched,) = await client.fetch(f"FETCH {number} BODY.PEEK[]")
    found = next(iter(fetched.sections.values()))
    assert isinstance(found, bytes)
    return found


async def test_a_draft_is_stored_with_flags_and_date(front: Front) -> None:
    client = await front.user(None)
    await client.ok("CREATE Drafts")
    answer = await client.command(
        f'APPEND Drafts (\\Draft \\Seen $Label) "17-Jul-2026 02:44:25 -0700" {{{SIZE}}}', DRAFT
    )
    assert (answer.status, code(answer)) == ("OK", "APPENDUID")
    await client.ok("SELECT Drafts")
    await client.script(
        f"""
        C: a FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE)
        S: * 1 FETCH (UID 1 FLAGS (\\Seen \\Draft $Label) INTERNALDATE "17-Jul-2026 09:44:25 +0000" RFC822.SIZE {SIZE})
        S: a OK Done
        """
    )
    assert await text(client, 1) == DRAFT
    (row,) = [row for row in await front.spool.store.journal(after=0, limit=10) if row.kind == "append"]
    assert deeds.decode(front.spool.vault, row).name == "Drafts"
    item = await front.spool.store.item(row.effects[0].item)
    assert item is not None
    assert item.state is ItemState.STORED


async def test_a_mailbox_of_the_same_name_may_be_another_one(front: Front) -> None:
    """Between the messages of one session somebody else renames and deletes."""
    client, other = await front.user(None), await front.user(None)
    put = f"APPEND Work {{{SIZE}+}}\r\n{DRAFT.decode()}"
    await client.ok("CREATE Work")
    for uid in ("1", "2"):
        assert await uid_of(client, put) == uid
    await other.ok("RENAME Work Older")
    assert code(await client.command(put)) == "TRYCREATE"
    await client.ok("CREATE Work")
    assert await uid_of(client, put) == "1"
    await other.ok("DELETE Work")
    await other.ok("CREATE Work")
    assert await uid_of(client, put) == "1"
    await other.ok("DELETE Work")
    assert code(await client.command(put)) == "TRYCREATE"
    await other.script(
        """
        C: a STATUS Older (MESSAGES)
        S: * STATUS Older (MESSAGES 2)
        S: a OK Done
        """
    )


async def test_the_line_with_the_answer_says_where_it_is(front: Front) -> None:
    client = await front.user()
    other = await front.user()
    heard = front.heard("arrived")
    await client.script(
        f"""
        C: a APPEND INBOX {{{len(MESSAGE)}}}
        S: + Ready for the message
        """
    )
    client.send(MESSAGE)
    await client.script(
        """
        C:
        S: * 1 EXISTS
        S: * 1 RECENT
        S: a OK [APPENDUID <...> 1] Stored
        """
    )
    await heard
    await client.nothing_left()
    await other.ok("NOOP")
    assert "EXISTS" in repr(other.untagged)


async def test_non_synchronising_literals_in_one_breath(front: Front) -> None:
    client = await front.user()
    client.send(
        b"a APPEND INBOX {%d+}\r\n%b\r\nb APPEND INBOX (\\Seen) {%d+}\r\n%b\r\nc UID FETCH 1:2 FLAGS\r\n"
        % (SIZE, DRAFT, SIZE, DRAFT)
    )
    await client.script(
        """
        S: * 1 EXISTS
        S: * 1 RECENT
        S: a OK [APPENDUID <...> 1] Stored
        S: * 2 EXISTS
        S: * 2 RECENT
        S: b OK [APPENDUID <...> 2] Stored
        S: * 1 FETCH (UID 1 FLAGS (\\Recent))
        S: * 2 FETCH (UID 2 FLAGS (\\Seen \\Recent))
        S: c OK Done
        """
    )


async def test_many_messages_in_one_command_are_all_there_or_none(front: Front) -> None:
    client = await front.user()
    more = b" (\\Flagged) {%d}" % len(MESSAGE)
    answer = await client.command(f"APPEND INBOX (\\Seen) {{{SIZE}}}", DRAFT + more, MESSAGE + b" {%d}" % SIZE, DRAFT)
    assert answer.status == "OK"
    assert "1:3" in repr(answer)
    assert [one.flags is not None for one in await client.fetch("FETCH 1:3 FLAGS")] == [True] * 3
    assert [await text(client, n) for n in (1, 2, 3)] == [DRAFT, MESSAGE, DRAFT]
    # RFC 3502 6.3.11: an empty message gives the whole command up.
    answer = await client.command(f"APPEND INBOX {{{SIZE}}}", DRAFT + b" {0}")
    assert answer.status == "NO"
    # The second one is too big: it is not asked for, and the first one is forgotten.
    answer = await client.command(f"APPEND INBOX {{{SIZE}}}", DRAFT + b" {50000001}")
    assert (answer.status, code(answer)) == ("NO", "TOOBIG")
    # A command that is spoilt behind its last literal.
    answer = await client.command(f"APPEND INBOX {{{SIZE}}}", DRAFT + b" nonsense")
    assert answer.status == "BAD"
    await client.ok("STATUS INBOX (MESSAGES UIDNEXT)")
    assert "Atom(value=b'3')" in repr(client.untagged)


async def test_what_is_refused_is_refused_before_it_is_sent(make_front: MakeFront) -> None:
    front = await make_front(append_limit=1000, quota=Quota(size=600))
    client = await front.user(None)
    await client.script(
        f"""
        C: a1 APPEND INBOX {{1001}}
        S: a1 NO [TOOBIG] <...>
        C: a2 APPEND nothing {{10}}
        S: a2 NO [TRYCREATE] No such mailbox
        C: a3 APPEND INBOX {{601}}
        S: a3 NO [OVERQUOTA] Quota exceeded
        C: a4 APPEND INBOX {{0}}
        S: a4 NO An empty message is not stored
        C: a6 APPEND INBOX "yesterday" {{10}}
        S: a6 BAD Invalid date-time
        C: a7 REPLACE 1 INBOX {{10}}
        S: a7 BAD Select a mailbox first
        C: a9 STATUS INBOX (MESSAGES APPENDLIMIT)
        S: * STATUS INBOX (MESSAGES 0 APPENDLIMIT 1000)
        S: a9 OK Done
        C: b1 APPEND INBOX {{{SIZE}}}
        S: + Ready for the message
        """
    )


async def test_what_is_refused_unasked_is_read_and_dropped(front: Front) -> None:
    client = await front.user(None)
    big = b"x" * 300_000
    client.send(b"a1 APPEND nothing {%d+}\r\n%b {%d+}\r\n%b\r\na2 NOOP\r\n" % (len(big), big, SIZE, DRAFT))
    await client.script(
        """
        S: a1 NO [TRYCREATE] No such mailbox
        S: a2 OK Done
        """
    )


async def test_the_quota_holds_at_the_end_too(make_front: MakeFront) -> None:
    front = await make_front(quota=Quota(size=SIZE + 10))
    client, other = await front.user(), await front.user()
    client.send(b"a APPEND INBOX {%d}\r\n" % SIZE)
    await client.script("S: + <...>")
    heard = front.heard("arrived")
    await other.ok(f"APPEND INBOX {{{SIZE}}}", DRAFT)
    await heard
    client.send(DRAFT + b"\r\n")
    while not isinstance(event := await client.event(), Status):
        pass
    assert (event.tag, event.status, code(event)) == ("a", "NO", "OVERQUOTA")
    answer = await client.command("COPY 1 INBOX")
    assert (answer.status, code(answer)) == ("NO", "OVERQUOTA")


async def test_a_full_disk_is_not_now(front: Front) -> None:
    client = await front.user(None)
    front.spool.room = DiskRoom(0, 1 << 20)
    answer = await client.command(f"APPEND INBOX {{{SIZE}}}")
    assert (answer.status, code(answer)) == ("NO", "UNAVAILABLE")


@pytest.mark.parametrize("where", ["put_chunks", "append"])
async def test_a_store_that_fails_in_the_middle_answers_once(
    front: Front, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await front.user(None)
    body = MESSAGE + b"x" * (3 * 1024 * 1024)

    async def fails(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(front.spool.store, where, fails)
        answer = await client.command(f"APPEND INBOX {{{len(body)}}}", body)
        assert (answer.status, code(answer)) == ("NO", "UNAVAILABLE")
    assert front.spool.pressure.in_flight == 0
    await client.ok(f"APPEND INBOX {{{SIZE}}}", DRAFT)
    await client.ok("SELECT INBOX")
    assert await text(client, 1) == DRAFT


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(front: Front) -> None:
    client = await front.user(None)
    client.send(b"a APPEND INBOX {%d}\r\n" % (4 * CHUNK_SIZE))
    await client.script("S: + <...>")
    client.send(b"x" * 3 * CHUNK_SIZE)
    client.writer.close()
    await front.left(0)
    assert front.spool.pressure.in_flight == 0
    other = await front.user()
    await other.ok("STATUS INBOX (MESSAGES)")


async def test_a_client_that_stalls_in_the_middle_is_sent_away(make_front: MakeFront) -> None:
    front = await make_front(deadlines=Deadlines(failure=0.01, upload=0.05))
    client = await front.user(None)
    client.send(b"a APPEND INBOX {100}\r\n")
    await client.script("S: + <...>")
    assert [event.status for event in await client.end() if isinstance(event, Status)] == ["BYE"]


async def test_who_comes_late_waits_for_a_place(make_front: MakeFront) -> None:
    front = await make_front(limits=Limits(uploads=1))
    first, second = await front.user(None), await front.user(None)
    first.send(b"a APPEND INBOX {%d}\r\n" % SIZE)
    await first.script("S: + <...>")
    second.send(b"b APPEND INBOX {%d}\r\n" % SIZE)
    asked = asyncio.create_task(second.script("S: + <...>"))
    third = await front.user(None)
    for _ in range(20):
        await third.ok("NOOP")
    assert not asked.done()
    first.send(DRAFT + b"\r\n")
    await first.script("S: a OK <...>")
    await asked
    first.writer.close()
    second.send(DRAFT + b"\r\n")
    await second.script("S: b OK <...>")


async def test_a_place_that_never_comes_free_is_not_now(make_front: MakeFront) -> None:
    front = await make_front(limits=Limits(uploads=0), deadlines=Deadlines(failure=0.01, upload=0.05))
    client = await front.user(None)
    answer = await client.command(f"APPEND INBOX {{{SIZE}}}")
    assert (answer.status, code(answer)) == ("NO", "UNAVAILABLE")


async def test_a_large_message_is_never_in_memory(make_front: MakeFront) -> None:
    size = 40 * 1024 * 1024
    front = await make_front(append_limit=size)
    client = await front.user(None)
    client.send(b"a APPEND INBOX {%d}\r\n" % size)
    await client.script("S: + <...>")
    block = b"All work and no play makes Jack a dull boy. \r\n" * 1400
    tracemalloc.start()
    try:
        left = size
        async with asyncio.timeout(DEADLINE * 3):
            while left:
                piece = block[:left]
                left -= len(piece)
                client.send(piece)
                await client.writer.drain()
            client.send(b"\r\n")
            assert b"a OK [APPENDUID" in await client.reader.readline()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 4
    await client.ok("STATUS INBOX (SIZE)")
    assert str(size) in repr(client.untagged)


async def test_replace(front: Front) -> None:
    await front.deliver(MESSAGE)
    client = await front.user()
    await client.ok("CREATE Drafts")
    await client.ok(f"APPEND INBOX (\\Draft) {{{SIZE}}}", DRAFT)
    better = DRAFT + b"now\r\n"
    client.send(b"a UID REPLACE 2 INBOX (\\Draft) {%d+}\r\n%b\r\n" % (len(better), better))
    await client.script(
        """
        S: * OK [APPENDUID <...> 3] Replacement stored
        S: * 2 EXPUNGE
        S: * 2 EXISTS
        S: * 1 RECENT
        S: a OK Replaced
        """
    )
    assert await text(client, 2) == better
    answer = await client.command(f"REPLACE 1 Drafts {{{SIZE}}}", DRAFT)
    assert answer.status == "OK"
    assert "EXPUNGE" in repr(client.untagged)
    await client.script(
        """
        C: b1 REPLACE 9 INBOX {10}
        S: b1 BAD No such message number
        C: b2 UID REPLACE 9 INBOX {10}
        S: b2 NO No such message
        C: b3 REPLACE 1:2 INBOX {10}
        S: b3 BAD Expected one message number
        C: b4 REPLACE 1 nothing {10}
        S: b4 NO [TRYCREATE] No such mailbox
        C: b5 STATUS Drafts (MESSAGES)
        S: * STATUS Drafts (MESSAGES 1)
        S: b5 OK Done
        C: b6 EXAMINE INBOX
        S: * OK [CLOSED] Closed
        """
    )
    while not (isinstance(event := await client.event(), Status) and event.tag == "b6"):
        pass
    answer = await client.command(f"REPLACE 1 INBOX {{{SIZE}}}")
    assert (answer.status, code(answer)) == ("NO", "READ-ONLY")


async def test_replacing_what_somebody_else_removed_keeps_both_sides_true(front: Front) -> None:
    await front.deliver(MESSAGE)
    client, other = await front.user(), await front.user()
    client.send(b"a REPLACE 1 INBOX {%d}\r\n" % SIZE)
    await client.script("S: + <...>")
    await other.ok("STORE 1 +FLAGS (\\Deleted)")
    heard = front.heard("expunged")
    await other.ok("EXPUNGE")
    await heard
    client.send(DRAFT + b"\r\n")
    seen = []
    while not (isinstance(event := await client.event(), Status) and event.tag == "a"):
        seen.append(event)
    assert (event.status, code(event)) == ("NO", "EXPUNGEISSUED")
    assert "EXPUNGE" in repr(seen)
    await client.ok("STATUS INBOX (MESSAGES)")
    assert "Atom(value=b'0')" in repr(client.untagged)


async def test_the_mailbox_goes_away_while_a_message_for_it_comes(front: Front) -> None:
    client, other = await front.user(None), await front.user(None)
    await other.ok("CREATE a")
    client.send(b"a APPEND a {%d}\r\n" % SIZE)
    await client.script("S: + <...>")
    await other.ok("DELETE a")
    client.send(DRAFT + b"\r\n")
    event = await client.event()
    assert isinstance(event, Status)
    assert (event.status, code(event)) == ("NO", "TRYCREATE")


async def test_a_copy_of_what_was_sent_makes_the_usual_folder(make_front: MakeFront) -> None:
    front = await make_front(usual=(Usual("Sent", "\\Sent"),))
    client = await front.user(None)
    await client.ok(f"APPEND Sent (\\Seen) {{{SIZE}}}", DRAFT)
    await client.script(
        """
        C: a LIST (SPECIAL-USE) "" * RETURN (STATUS (MESSAGES UNSEEN))
        S: * LIST (\\HasNoChildren \\Sent) "/" Sent
        S: * STATUS Sent (MESSAGES 1 UNSEEN 0)
        S: a OK Done
        """
    )


async def test_octets_that_are_no_text_need_a_literal8(front: Front) -> None:
    client = await front.user()
    binary = MESSAGE + b"\0\xff\0"
    client.send(b"a APPEND INBOX ~{%d+}\r\n%b\r\n" % (len(binary), binary))
    await client.script("S: * 1 EXISTS\nS: * 1 RECENT\nS: a OK [APPENDUID <...> 1] Stored")
    client.send(b"b APPEND INBOX UTF8 (~{%d+}\r\n%b)\r\n" % (SIZE, DRAFT))
    await client.script("S: * 2 EXISTS\nS: * 2 RECENT\nS: b OK [APPENDUID <...> 2] Stored")
    client.send(b"c APPEND INBOX UTF8 ({%d+}\r\n%b)\r\n" % (SIZE, DRAFT))
    await client.script("S: c BAD Expected a literal8")
    answer = await client.command("FETCH 1 BINARY.SIZE[1]")
    assert answer.status == "OK"


async def test_a_commit_under_way_is_waited_for_at_the_end(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await front.user(None)
    begun, go = asyncio.Event(), asyncio.Event()
    append = front.spool.store.append

    async def slow(*args: object, **named: object) -> object:
        begun.set()
        await go.wait()
        return await append(*args, **named)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(front.spool.store, "append", slow)
    client.send(b"a APPEND INBOX {%d+}\r\n%b\r\n" % (SIZE, DRAFT))
    await begun.wait()
    client.writer.transport.abort()
    stopping = asyncio.create_task(front.imap.drain())
    await asyncio.sleep(0)
    go.set()
    await stopping
    account = await front.services.mailboxes.open_account("bob@example.org")
    inbox = await front.services.mailboxes.folder(account, "INBOX")
    assert inbox is not None
    assert inbox.row.messages == 1
