"""A user of the standby, command by command, read by a strict client."""

from __future__ import annotations

import asyncio
import imaplib

import pytest

from relay.proto.imap.client import Data
from relay.proto.imap.flags import Flags, System
from relay.store.records import SystemFlag
from relay.vault.sealing import MessageKey
from tests.serve.client import Client
from tests.serve.conftest import BOB, MESSAGE, Front

MULTIPART = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.com>\r\nTo: bob@example.org\r\nSubject: =?utf-8?b?w4RyZ2Vy?=\r\n"
    b"Mime-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nR3LDvG5lIFdpZXNl\r\n"
    b"--x\r\nContent-Type: application/octet-stream\r\n\r\nbytes\r\n--x--\r\n"
)


def test_flags_on_the_wire_are_the_bits_in_the_store() -> None:
    assert {flag.name: flag.value for flag in System} == {flag.name: flag.value for flag in SystemFlag}


async def test_a_first_look_around(front: Front) -> None:
    await front.deliver(MESSAGE, MULTIPART)
    client = await front.client()
    await client.script(
        f"""
        C: a1 CAPABILITY
        S: * CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN AUTH=LOGIN SASL-IR LITERAL- ID ENABLE
        S: a1 OK <...>
        C: a2 LOGIN {BOB} secret
        S: a2 OK [CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE <...>] Logged in
        C: a3 ID ("name" "test")
        S: * ID ("name" "standby-relay")
        S: a3 OK Done
        C: a4 NAMESPACE
        S: * NAMESPACE (("" "/")) NIL NIL
        S: a4 OK Done
        C: a5 LIST "" ""
        S: * LIST (\\Noselect) "/" ""
        S: a5 OK Done
        C: a6 LIST "" *
        S: * LIST (\\HasNoChildren) "/" INBOX
        S: a6 OK Done
        C: a7 LSUB "" %
        S: * LSUB (\\HasNoChildren) "/" INBOX
        S: a7 OK Done
        C: a8 LIST "" nothing
        S: a8 OK Done
        C: a9 STATUS inbox (MESSAGES UIDNEXT UNSEEN RECENT SIZE)
        S: * STATUS INBOX (MESSAGES 2 UIDNEXT 3 UNSEEN 2 RECENT 0 SIZE {len(MESSAGE) + len(MULTIPART)})
        S: a9 OK Done
        C: b1 STATUS other (MESSAGES)
        S: b1 NO [NONEXISTENT] No such mailbox
        C: b2 FETCH 1 FLAGS
        S: b2 BAD Select a mailbox first
        C: b3 SELECT INBOX (CONDSTORE)
        S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)
        S: * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Flags kept
        S: * 2 EXISTS
        S: * 0 RECENT
        S: * OK [UNSEEN 1] First unseen
        S: * OK [UIDVALIDITY <...>] UIDs valid
        S: * OK [UIDNEXT 3] Predicted next UID
        S: * OK [MAILBOXID (F<...>)] Mailbox id
        S: * OK [NOMODSEQ] No mod-sequences
        S: b3 OK [READ-WRITE] Selected
        C: b4 ENABLE CONDSTORE
        S: b4 BAD Not allowed now
        C: b5 UNSELECT
        S: b5 OK Done
        C: b6 ENABLE CONDSTORE
        S: * ENABLED
        S: b6 OK Done
        C: b7 FOO
        S: b7 BAD Unknown command
        C: b8 CREATE x
        S: b8 OK [MAILBOXID (F2)] Created
        C: b9 APPEND y (\\Seen) {{20}}
        S: b9 NO [TRYCREATE] No such mailbox
        C: c1 LOGIN a b
        S: c1 BAD Not allowed now
        C: c2 LOGOUT
        S: * BYE Goodbye
        S: c2 OK Logged out
        """
    )
    assert await client.end() == []


async def test_fetch_everything_that_has_a_name(front: Front) -> None:
    await front.deliver(MESSAGE, MULTIPART)
    client = await front.user()
    one, two = await client.fetch("FETCH 1:2 FULL")
    assert (one.number, two.number) == (1, 2)
    assert one.flags == Flags()
    assert one.size == len(MESSAGE)
    assert one.internal_date is not None
    await client.script(
        f"""
        C: a FETCH 1 (UID ENVELOPE BODY BODYSTRUCTURE RFC822.SIZE)
        S: * 1 FETCH (UID 1 ENVELOPE ("Mon, 2 Feb 2026 10:00:00 +0000" "Hello" ((NIL NIL "a" "example.com")) ((NIL NIL "a" "example.com")) ((NIL NIL "a" "example.com")) ((NIL NIL "bob" "example.org")) NIL NIL NIL NIL) BODY ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 8 1) BODYSTRUCTURE ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 8 1 NIL NIL NIL NIL) RFC822.SIZE {len(MESSAGE)})
        S: a OK Done
        C: b FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT "x-none")]
        S: * 1 FETCH (BODY[HEADER.FIELDS (SUBJECT x-none)] {{18}}
        S: Subject: Hello
        S:
        S: )
        S: b OK Done
        C: c FETCH 9 FLAGS
        S: c BAD No such message number
        C: d UID FETCH 9 FLAGS
        S: d OK Done
        C: e UID FETCH 2 (BODY.PEEK[9] BODY.PEEK[2])
        S: * 2 FETCH (UID 2 BODY[9] "" BODY[2] {{5}}
        S: bytes)
        S: e OK Done
        """  # noqa: E501  # a response line as it is on the wire
    )
    for item, expected in [
        ("BODY.PEEK[]", MULTIPART),
        ("RFC822.PEEK", MULTIPART),
        ("BODY.PEEK[HEADER]", MULTIPART[: MULTIPART.index(b"--x\r\n")]),
        ("RFC822.HEADER", MULTIPART[: MULTIPART.index(b"--x\r\n")]),
        ("BODY.PEEK[TEXT]", MULTIPART[MULTIPART.index(b"--x\r\n") :]),
        ("BODY.PEEK[1]", b"R3LDvG5lIFdpZXNl"),
        ("BODY.PEEK[1.MIME]", b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
        ("BODY.PEEK[]<5.10>", MULTIPART[5:15]),
        ("BODY.PEEK[]<99999.10>", b""),
        ("BODY.PEEK[HEADER]<2.3>", MULTIPART[2:5]),
        (
            "BODY.PEEK[HEADER.FIELDS.NOT (To Subject From)]",
            b"Mime-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n",
        ),
    ]:
        (found,) = await client.fetch(f"FETCH 2 {item}")
        assert list(found.sections.values()) == [expected], item
        assert found.flags is None
    await client.nothing_left()


async def test_reading_a_body_marks_it_seen_and_says_so(front: Front) -> None:
    await front.deliver()
    client = await front.user()
    (found,) = await client.fetch("UID FETCH 1 BODY[TEXT]")
    assert found.flags == Flags(System.SEEN)
    assert found.sections == {b"BODY[TEXT]": b"Hi Bob\r\n"}
    await client.nothing_left()
    await client.ok("EXAMINE INBOX")
    assert (await client.command("STORE 1 FLAGS ()")).status == "NO"
    assert (await client.command("EXPUNGE")).status == "NO"


async def test_store_in_all_its_forms(front: Front) -> None:
    await front.deliver(MESSAGE, MESSAGE + b"2", MESSAGE + b"3")
    client = await front.user()
    await client.script(
        """
        C: a STORE 1:2 +FLAGS (\\Seen $Work)
        S: * 1 FETCH (FLAGS (\\Seen $Work))
        S: * 2 FETCH (FLAGS (\\Seen $Work))
        S: a OK Done
        C: b UID STORE 2 -FLAGS.SILENT $work
        S: b OK Done
        C: c UID STORE 2 FLAGS (\\Deleted Other)
        S: * 2 FETCH (UID 2 FLAGS (\\Deleted Other))
        S: c OK Done
        C: d FETCH 1:* FLAGS
        S: * 1 FETCH (FLAGS (\\Seen $Work))
        S: * 2 FETCH (FLAGS (\\Deleted Other))
        S: * 3 FETCH (FLAGS ())
        S: d OK Done
        C: e STORE 4 FLAGS ()
        S: e BAD No such message number
        C: f NOOP
        S: f OK Done
        C: g STORE 1 +FLAGS (\\Deleted)
        S: * 1 FETCH (FLAGS (\\Deleted \\Seen $Work))
        S: g OK Done
        C: h UID EXPUNGE 2:3
        S: * 2 EXPUNGE
        S: h OK Done
        C: i EXPUNGE
        S: * 1 EXPUNGE
        S: i OK Done
        C: j FETCH 1 UID
        S: * 1 FETCH (UID 3)
        S: j OK Done
        C: k SELECT INBOX
        S: * OK [CLOSED] Closed
        S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)
        S: * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Flags kept
        S: * 1 EXISTS
        S: * 0 RECENT
        S: * OK [UNSEEN 1] First unseen
        S: * OK [UIDVALIDITY <...>] UIDs valid
        S: * OK [UIDNEXT 4] Predicted next UID
        S: * OK [MAILBOXID (F<...>)] Mailbox id
        S: k OK [READ-WRITE] Selected
        """
    )
    await client.nothing_left()
    kinds = [row.kind for row in await front.spool.store.journal(after=0, limit=100)]
    assert kinds == ["store", "store", "store", "store", "expunge", "expunge"]


async def test_close_removes_in_silence(front: Front) -> None:
    await front.deliver(MESSAGE, MESSAGE + b"2")
    client = await front.user()
    await client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert await client.ok("CLOSE") == []
    (found,) = [e for e in await client.ok("STATUS INBOX (MESSAGES)") if isinstance(e, Data)]
    assert b"1" in repr(found.tokens).encode()
    assert (await client.command("CLOSE")).status == "BAD"


async def numbers(client: Client, criteria: str | bytes, *more: bytes) -> list[int]:
    line = criteria.encode() if isinstance(criteria, str) else criteria
    (event,) = await client.ok(b"SEARCH " + line, *more)
    assert isinstance(event, Data)
    assert event.name == "SEARCH"
    return [int(token.value) for token in event.tokens]  # type: ignore[union-attr]  # atoms, or the test fails


async def test_search(front: Front) -> None:
    await front.deliver(MESSAGE, MULTIPART, MESSAGE + b"third one")
    client = await front.user()
    await client.ok("STORE 2 +FLAGS.SILENT (\\Flagged Junk)")
    for criteria, expected in [
        ("ALL", [1, 2, 3]),
        ("FLAGGED", [2]),
        ("UNFLAGGED KEYWORD junk", []),
        ("NOT FLAGGED", [1, 3]),
        ("2:*", [2, 3]),
        ("UID 1,3", [1, 3]),
        ("FROM example.com", [1, 2, 3]),
        ("SUBJECT hello", [1, 3]),
        ("HEADER Mime-Version 1", [2]),
        ("BODY third", [3]),
        ("TEXT hello", [1, 3]),
        ("OR BODY third SUBJECT nothing", [3]),
        ("SENTON 2-Feb-2026", [1, 3]),
        ("SINCE 1-Jan-2020", [1, 2, 3]),
        ("BEFORE 1-Jan-2020", []),
        (f"LARGER {len(MESSAGE)}", [2, 3]),
        ("NEW", []),
    ]:
        assert await numbers(client, criteria) == expected, criteria
    assert await numbers(client, "CHARSET UTF-8 SUBJECT {6}", "ärger".encode()) == [2]
    assert await numbers(client, b"BODY {6+}\r\n" + "grüne".encode()) == [2]
    assert await numbers(client, b"FROM {7+}\r\n" + "JÜRGEN".encode()) == [2]
    answer = await client.command("SEARCH CHARSET KOI8-R ALL")
    assert (answer.status, answer.code) == ("NO", "BADCHARSET")
    await client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await client.ok("EXPUNGE")
    (event,) = await client.ok("UID SEARCH ALL")
    assert isinstance(event, Data)
    assert [token.value for token in event.tokens] == [b"2", b"3"]  # type: ignore[union-attr]  # atoms


async def test_idle_pushes_what_happens(front: Front) -> None:
    await front.deliver()
    watcher, other = await front.user(), await front.user()
    await watcher.script("C: a IDLE\nS: + idling")
    await front.deliver(MESSAGE + b"2")
    await watcher.script("S: * 2 EXISTS\nS: * 1 RECENT")
    await other.ok("NOOP")
    await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await watcher.script("S: * 1 FETCH (UID 1 FLAGS (\\Deleted))")
    await other.ok("EXPUNGE")
    await watcher.script(
        """
        S: * 1 EXPUNGE
        C: DONE
        S: a OK Idle ended
        C: b IDLE
        S: + idling
        C: what
        S: b BAD Expected DONE
        C: c FETCH 1 UID
        S: * 1 FETCH (UID 2)
        S: c OK Done
        """
    )
    await watcher.nothing_left()


async def test_commands_behind_done_in_one_packet_are_answered(front: Front) -> None:
    client = await front.user()
    await client.script("C: a IDLE\nS: + idling")
    client.send(b"DONE\r\nb NOOP\r\nc CHECK\r\nd IDLE\r\nDONE\r\n")
    await client.script("S: a OK Idle ended\nS: b OK Done\nS: c OK Done\nS: + idling\nS: d OK Idle ended")
    await client.nothing_left()


async def test_numbers_hold_while_commands_are_in_the_pipe(front: Front) -> None:
    """Another session removes message 1 while this one talks of numbers: none may shift under its feet."""
    await front.deliver(MESSAGE, MESSAGE + b"2")
    client, other = await front.user(), await front.user()
    heard = front.heard("expunged")
    await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    await heard
    await client.script(
        """
        C: a FETCH 2 UID
        S: * 2 FETCH (UID 2)
        S: a OK Done
        """
    )
    client.send(b"b NOOP\r\nc FETCH 2 UID\r\n")
    await client.script(
        """
        S: b OK Done
        S: * 2 FETCH (UID 2)
        S: c OK Done
        C: d NOOP
        S: * 1 EXPUNGE
        S: d OK Done
        C: e FETCH 1 UID
        S: * 1 FETCH (UID 2)
        S: e OK Done
        """
    )


async def test_a_message_that_is_gone_is_not_invented(front: Front) -> None:
    await front.deliver(MESSAGE, MESSAGE + b"2")
    client, other = await front.user(), await front.user()
    await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    answer = await client.command("FETCH 1:2 RFC822.SIZE")
    sizes = [e for e in client.untagged if isinstance(e, Data) and "RFC822.SIZE" in repr(e.tokens)]
    assert [e.number for e in sizes] == [2]
    assert (answer.status, answer.code) == ("NO", "EXPUNGEISSUED")


async def test_a_large_body_is_streamed(front: Front) -> None:
    body = b"Subject: big\r\n\r\n" + b"".join(b"%08d line with \x00 in it\r\n" % n for n in range(200_000))
    await front.deliver(body)
    client = await front.user()
    (found,) = await client.fetch("FETCH 1 (BODY.PEEK[] UID)")
    assert found.sections[b"BODY[]"] == body.replace(b"\0", b"\x80")
    assert found.uid == 1
    (found,) = await client.fetch("FETCH 1 (BODY.PEEK[TEXT]<1000.3000000>)")
    assert found.sections[b"BODY[TEXT]<1000>"] == body.replace(b"\0", b"\x80")[1016 : 1016 + 3_000_000]


async def test_a_damaged_message_is_told_and_the_others_are_served(front: Front) -> None:
    items = await front.deliver(MESSAGE, MESSAGE + b"2")
    client = await front.user()
    real = MessageKey.open_chunk

    def broken(self: MessageKey, index: int, last: bool, sealed: bytes) -> bytes:
        return real(self, index, last, sealed[:-1] if self.item == items[0] else sealed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MessageKey, "open_chunk", broken)
        answer = await client.command("FETCH 1:2 (UID ENVELOPE)")
    assert (answer.status, answer.code) == ("NO", "UNAVAILABLE")
    assert [e.number for e in client.untagged if isinstance(e, Data)] == [2]
    assert front.damaged == [items[0]]
    await client.ok("FETCH 1:2 FLAGS")


async def test_thousands_of_messages(front: Front) -> None:
    await front.deliver(*(MESSAGE + b"%d" % n for n in range(300)))
    client = await front.user()
    for _ in range(2):  # computed, then from what was kept
        assert len(await client.fetch("FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE)")) == 300
    assert len(await numbers(client, "BODY 29")) == 13


async def test_the_standard_library_reads_its_mail(front: Front) -> None:
    await front.deliver(MESSAGE)
    listener = await front.listen()

    def read() -> tuple[bytes, list[bytes]]:
        with imaplib.IMAP4("127.0.0.1", listener.port, timeout=20) as mail:
            mail.login(BOB, "secret")
            mail.select("INBOX")
            _, found = mail.search(None, "SUBJECT", '"hello"')
            _, parts = mail.fetch(found[0].split()[0].decode(), "(BODY[])")
            mail.store("1", "+FLAGS", "\\Deleted")
            _, gone = mail.expunge()
            assert isinstance(parts[0], tuple)
            return parts[0][1], [one for one in gone if one is not None]

    assert await asyncio.to_thread(read) == (MESSAGE, [b"1"])
