"""What a user can ask of a mailbox: extended searches, order, threads, decoded parts, identifiers; on the wire."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Sequence

import pytest

from relay.core.ids import ItemId
from relay.proto.imap import commands as c
from relay.proto.imap.capabilities import TABLE
from relay.proto.imap.client import Data, Event, Status
from relay.proto.imap.flags import Flags, System
from relay.proto.imap.tokens import Atom, List
from relay.serve import searching
from relay.serve.capabilities import OFFERS, after_login
from relay.serve.offer import SETTING, Offer
from relay.serve.recent import Recent
from relay.serve.session import HANDLERS
from relay.serve.settings import Deadlines, ServeSettings
from relay.store.records import Change, ChangeKind
from tests.serve.client import Client
from tests.serve.conftest import MESSAGE, Front, MakeFront

_HOUR = 3600


def mail(subject: str, *, sender: str = "a@example.com", date: str = "", more: str = "", body: str = "text") -> bytes:
    """A small message."""
    when = f"Date: {date}\r\n" if date else ""
    return f"From: {sender}\r\nTo: bob@example.org\r\nSubject: {subject}\r\n{when}{more}\r\n{body}\r\n".encode()


def lines(events: Sequence[Event], name: str) -> list[bytes]:
    """The atoms of each untagged response of a name, joined."""
    return [b" ".join(map(shown, event.tokens)) for event in events if isinstance(event, Data) and event.name == name]


def shown(token: object) -> bytes:
    """A token as text; lists in parentheses."""
    if isinstance(token, List):
        return b"(" + b" ".join(shown(item) for item in token.items) + b")"
    value = getattr(token, "value", b"?")
    assert isinstance(value, bytes)
    return value if isinstance(token, Atom) else b'"' + value + b'"'


# --- SEARCH ---


async def test_search_gives_back_what_was_asked_for(front: Front) -> None:
    await front.deliver(*(mail(f"number {n}") for n in range(1, 7)))
    client = await front.user()
    await client.ok("STORE 2,4,5 +FLAGS.SILENT (\\Flagged)")
    await client.script(
        """
        C: a SEARCH RETURN () FLAGGED
        S: * ESEARCH (TAG "a") ALL 2,4:5
        S: a OK Done
        C: b UID SEARCH RETURN (MIN MAX COUNT) FLAGGED
        S: * ESEARCH (TAG "b") UID MIN 2 MAX 5 COUNT 3
        S: b OK Done
        C: c SEARCH RETURN (MIN COUNT) DELETED
        S: * ESEARCH (TAG "c") COUNT 0
        S: c OK Done
        C: d SEARCH RETURN (ALL) DELETED
        S: * ESEARCH (TAG "d")
        S: d OK Done
        C: e SEARCH RETURN (ALL COUNT) SUBJECT "number 3"
        S: * ESEARCH (TAG "e") COUNT 1 ALL 3
        S: e OK Done
        C: f SEARCH RETURN (NONSENSE) ALL
        S: f BAD Unknown RETURN option
        """
    )
    await client.nothing_left()


async def test_the_saved_result(front: Front) -> None:
    await front.deliver(*(mail(f"number {n}") for n in range(1, 6)))
    client = await front.user()
    await client.script(
        """
        C: a SEARCH RETURN (SAVE) SUBJECT "number 2"
        S: a OK Done
        C: b FETCH $ UID
        S: * 2 FETCH (UID 2)
        S: b OK Done
        C: c UID SEARCH RETURN (SAVE ALL) OR $ SUBJECT "number 4"
        S: * ESEARCH (TAG "c") UID ALL 2,4
        S: c OK Done
        C: d STORE $ +FLAGS.SILENT (\\Deleted)
        S: d OK Done
        C: e UID EXPUNGE 2
        S: * 2 EXPUNGE
        S: e OK Done
        C: f UID FETCH $ FLAGS
        S: * 3 FETCH (UID 4 FLAGS (\\Deleted))
        S: f OK Done
        C: g SEARCH RETURN (SAVE MAX) ALL
        S: * ESEARCH (TAG "g") MAX 4
        S: g OK Done
        C: h SEARCH $
        S: * SEARCH 4
        S: h OK Done
        C: i SEARCH CHARSET X RETURN (SAVE) ALL
        S: i NO <...>
        C: j FETCH $ UID
        S: * 4 FETCH (UID 5)
        S: j OK Done
        C: k SEARCH RETURN (SAVE) SUBJECT "number 9"
        S: k OK Done
        C: l FETCH $ UID
        S: l OK Done
        """
    )
    await client.nothing_left()


async def test_a_search_that_fails_leaves_nothing_saved(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    await front.deliver(mail("one"))
    client = await front.user()
    await client.ok("SEARCH RETURN (SAVE) ALL")

    async def broken(*_: object) -> list[int]:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(searching, "find", broken)
        assert (await client.command("SEARCH RETURN (SAVE) SUBJECT one")).status == "NO"
    assert await client.fetch("FETCH $ UID") == []


async def test_search_by_time_and_identity(front: Front) -> None:
    await front.deliver(mail("old"))
    front.spool.clock.advance(5 * _HOUR)
    await front.deliver(mail("new"))
    client = await front.user()
    (item,) = await client.ok("FETCH 2 (EMAILID THREADID SAVEDATE)")
    assert isinstance(item, Data)
    words = item.tokens[0]
    assert isinstance(words, List)
    email_id = words.items[1]
    assert isinstance(email_id, List)
    name = shown(email_id.items[0]).decode()
    assert shown(words.items[3]) == b"NIL"
    for criteria, expected in [
        (f"YOUNGER {_HOUR}", b"2"),
        (f"OLDER {_HOUR}", b"1"),
        (f"OLDER {6 * _HOUR}", b""),
        ("SAVEDSINCE 1-Jan-2000", b"1 2"),
        ("SAVEDBEFORE 1-Jan-2000", b""),
        ("SAVEDATESUPPORTED", b"1 2"),
        (f"EMAILID {name}", b"2"),
        ("EMAILID Mnobody", b""),
        ("NOT THREADID Tnone", b"1 2"),
        ("UID 1:2 2:* SUBJECT new", b"2"),
        ("1 2", b""),
        ("OR 1 UID 2", b"1 2"),
        ("NOT 1", b"2"),
    ]:
        assert lines(await client.ok(f"SEARCH {criteria}"), "SEARCH") == [expected], criteria


# --- SORT and THREAD ---


async def test_sort(front: Front) -> None:
    await front.deliver(
        mail("beta", sender="zoe@example.com", date="Mon, 2 Feb 2026 10:00:00 +0000"),
        mail("Re: alpha", sender="adam@example.com", date="Mon, 2 Feb 2026 09:00:00 +0000", body="much longer text"),
        mail("gamma", sender="mia@example.com", date="Mon, 2 Feb 2026 11:00:00 +0000"),
    )
    client = await front.user()
    for criteria, expected in [
        ("(SUBJECT) UTF-8 ALL", b"2 1 3"),
        ("(REVERSE SUBJECT) US-ASCII ALL", b"3 1 2"),
        ("(FROM) UTF-8 ALL", b"2 3 1"),
        ("(DATE) UTF-8 ALL", b"2 1 3"),
        ("(REVERSE ARRIVAL) UTF-8 ALL", b"3 2 1"),
        ("(REVERSE SIZE) UTF-8 1:2", b"2 1"),
        ("(DATE) UTF-8 SUBJECT nothing", b""),
    ]:
        assert lines(await client.ok(f"SORT {criteria}"), "SORT") == [expected], criteria
    await client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await client.ok("EXPUNGE")
    assert lines(await client.ok("UID SORT (SUBJECT) UTF-8 ALL"), "SORT") == [b"2 3"]
    assert (await client.command("SORT (SUBJECT) KOI8-R ALL")).code == "BADCHARSET"
    assert (await client.command("SORT (COLOUR) UTF-8 ALL")).status == "BAD"


async def test_thread(front: Front) -> None:
    def one(number: int, subject: str, answers: str = "") -> bytes:
        more = f"Message-ID: <{number}@x>\r\n" + (f"References: {answers}\r\n" if answers else "")
        return mail(subject, date=f"Mon, 2 Feb 2026 10:0{number}:00 +0000", more=more)

    await front.deliver(one(1, "plan"), one(2, "Re: plan", "<1@x>"), one(3, "other"), one(4, "Re: plan", "<1@x> <2@x>"))
    client = await front.user()
    assert lines(await client.ok("THREAD REFERENCES UTF-8 ALL"), "THREAD") == [b"(1 2 4) (3)"]
    assert lines(await client.ok("UID THREAD ORDEREDSUBJECT UTF-8 ALL"), "THREAD") == [b"(1 (2) (4)) (3)"]
    assert lines(await client.ok("THREAD REFERENCES UTF-8 SUBJECT none"), "THREAD") == [b""]
    assert (await client.command("THREAD MAGIC UTF-8 ALL")).status == "BAD"


async def test_order_of_a_large_mailbox_is_computed_beside_the_loop(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.deliver(mail("b"), mail("a"), mail("c"))
    client = await front.user()
    monkeypatch.setattr(searching, "_ON_THE_LOOP", 2)
    used: list[object] = []
    real = asyncio.to_thread

    async def watched(work: Awaitable[object]) -> object:
        used.append(work)
        return await real(work)  # type: ignore[arg-type]  # whatever it is, it goes on

    monkeypatch.setattr(asyncio, "to_thread", watched)
    assert lines(await client.ok("SORT (SUBJECT) UTF-8 ALL"), "SORT") == [b"2 1 3"]
    assert lines(await client.ok("THREAD ORDEREDSUBJECT UTF-8 ALL"), "THREAD") == [b"(1) (2) (3)"]
    assert len(used) == 2


async def test_long_commands_say_that_they_go_on(make_front: MakeFront, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.serve.pace.SLICE", 0.0)
    front = await make_front(deadlines=Deadlines(failure=0.01, goodbye=2.0, progress=0.0))
    await front.deliver(mail("one"), mail("two"))
    client = await front.user()
    events = await client.ok("SEARCH SUBJECT two")
    said = [event for event in events if isinstance(event, Status)]
    assert {event.code for event in said} == {"INPROGRESS"}
    assert lines(events, "SEARCH") == [b"2"]


# --- FETCH ---

PARTS = (
    b"From: a@example.com\r\nSubject: parts\r\nMime-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"<style>p{}</style><p>Gr=C3=BCne =\r\nWiese</p>\r\n"
    b"--x\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n"
    b"--x\r\nContent-Type: text/x\r\nContent-Transfer-Encoding: x-mine\r\n\r\n???\r\n--x--\r\n"
)


async def test_binary(front: Front) -> None:
    await front.deliver(PARTS)
    client = await front.user()
    html = "<style>p{}</style><p>Grüne Wiese</p>".encode()
    for item, label, expected in [
        ("BINARY.PEEK[1]", b"BINARY[1]", html),
        ("BINARY.PEEK[2]", b"BINARY[2]", b"\x00\x01\x02"),
        ("BINARY.PEEK[2]<1.5>", b"BINARY[2]<1>", b"\x01\x02"),
        ("BINARY.PEEK[9]", b"BINARY[9]", b""),
    ]:
        (found,) = await client.fetch(f"FETCH 1 {item}")
        assert found.sections == {label: expected}, item
        assert found.flags is None
    await client.script(
        f"""
        C: a FETCH 1 (BINARY.SIZE[1] BINARY.SIZE[2])
        S: * 1 FETCH (BINARY.SIZE[1] {len(html)} BINARY.SIZE[2] 3)
        S: a OK Done
        C: b FETCH 1 (UID BINARY[3])
        S: * 1 FETCH (UID 1 FLAGS (\\Seen))
        S: b NO [UNKNOWN-CTE] <...>
        """
    )
    await client.ok("STORE 1 FLAGS.SILENT ()")
    (found,) = await client.fetch("FETCH 1 BINARY[1]<0.4>")
    assert found.flags == Flags(System.SEEN)


async def test_binary_of_a_large_part(front: Front) -> None:
    raw = bytes(range(256)) * 2000
    coded = base64.encodebytes(raw).replace(b"\n", b"\r\n")
    await front.deliver(b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + coded)
    client = await front.user()
    (found,) = await client.fetch("FETCH 1 BINARY.PEEK[1]")
    assert found.sections == {b"BINARY[1]": raw}
    (found,) = await client.fetch("FETCH 1 BINARY.PEEK[1]<500000.100>")
    assert found.sections == {b"BINARY[1]<500000>": raw[500000:500100]}


async def test_preview(front: Front) -> None:
    large = b"Subject: big\r\n\r\nfirst words\r\n" + b"x" * 200_000
    await front.deliver(MESSAGE, PARTS, large, b"Subject: a\r\nContent-Type: image/png\r\n\r\nQUJD\r\n")
    client = await front.user()
    found = [lines([event], "FETCH")[0] for event in await client.ok("FETCH 1:* (PREVIEW (LAZY))")]
    assert found[0] == b'(PREVIEW "Hi Bob")'
    assert found[1] == '(PREVIEW "Grüne Wiese")'.encode()
    assert found[2].startswith(b'(PREVIEW "first words xxx')
    assert found[3] == b'(PREVIEW "")'


async def test_headers_too_long_for_a_summary(front: Front) -> None:
    field = b"X-Long: " + b"y" * 30_000 + b"\r\n"
    await front.deliver(b"Subject: long\r\n" + field + b"\r\nbody\r\n")
    client = await front.user()
    (found,) = await client.fetch("FETCH 1 (BODY.PEEK[HEADER.FIELDS (X-LONG)] BODY.PEEK[HEADER]<0.8>)")
    assert found.sections[b"BODY[HEADER.FIELDS (X-LONG)]"] == field + b"\r\n"
    assert found.sections[b"BODY[HEADER]<0>"] == b"Subject:"
    assert lines(await client.ok("SEARCH SUBJECT long"), "SEARCH") == [b"1"]
    assert lines(await client.ok("SORT (SUBJECT) UTF-8 ALL"), "SORT") == [b"1"]


async def test_condstore_is_tolerated(front: Front) -> None:
    await front.deliver()
    client = await front.user(None)
    for parameters in ("(CONDSTORE)", "(QRESYNC (1 1))", "(CONDSTORE QRESYNC (1 1))"):
        events = await client.ok(f"SELECT INBOX {parameters}")
        assert "NOMODSEQ" in [event.code for event in events if isinstance(event, Status)]
    assert len(await client.fetch("FETCH 1:* (FLAGS) (CHANGEDSINCE 0)")) == 1
    assert (await client.command("FETCH 1:* (FLAGS) (CHANGEDSINCE 7)")).status == "BAD"


# --- what is enabled and shown ---


async def test_utf8_names(front: Front) -> None:
    client = await front.user(None)
    await client.script(
        """
        C: a CREATE Gr&APw-n
        S: a OK <...>
        C: b ENABLE UTF8=ACCEPT X-NONE CONDSTORE
        S: * ENABLED UTF8=ACCEPT
        S: b OK Done
        C: c LIST "" G%
        S: * LIST (<...>) "/" "Grün"
        S: c OK <...>
        C: d SELECT "Grün"
        S: * FLAGS <...>
        S: * OK [PERMANENTFLAGS <...>
        S: * 0 EXISTS
        S: * 0 RECENT
        S: * OK [UIDVALIDITY <...>
        S: * OK [UIDNEXT 1] <...>
        S: * OK [MAILBOXID <...>
        S: d OK [READ-WRITE] Selected
        """
    )


async def test_rev2_is_a_setting(make_front: MakeFront) -> None:
    front = await make_front(rev2=True)
    await front.deliver(mail("one"))
    client = await front.user(None)
    await client.script(
        """
        C: a ENABLE IMAP4rev2
        S: * ENABLED IMAP4rev2
        S: a OK Done
        C: b SELECT INBOX
        S: * FLAGS <...>
        S: * OK [PERMANENTFLAGS <...>
        S: * 1 EXISTS
        S: * LIST (\\Subscribed) "/" INBOX
        S: * OK [UIDVALIDITY <...>
        S: * OK [UIDNEXT 2] <...>
        S: * OK [MAILBOXID <...>
        S: b OK [READ-WRITE] Selected
        C: c SEARCH ALL
        S: * ESEARCH (TAG "c") ALL 1
        S: c OK Done
        C: c2 IDLE
        S: + idling
        """
    )
    await front.deliver(mail("two"))
    await client.script(
        """
        S: * 2 EXISTS
        C: DONE
        S: c2 OK Idle ended
        C: c3 FETCH 2 FLAGS
        S: * 2 FETCH (FLAGS ())
        S: c3 OK Done
        C: d SELECT nowhere
        S: * OK [CLOSED] Closed
        S: d NO [NONEXISTENT] <...>
        """
    )
    other = await make_front()
    older = await other.user(None)
    assert lines(await older.ok("ENABLE IMAP4rev2"), "ENABLED") == [b""]


def test_everything_that_is_offered_has_its_code() -> None:
    assert TABLE.keys() >= OFFERS
    settings = ServeSettings("mx.example.org")
    everything = after_login(settings, None).split()
    for word in ("ESEARCH", "SEARCHRES", "SORT", "THREAD=REFERENCES", "BINARY", "PREVIEW", "MOVE", "OBJECTID"):
        assert word.encode() in everything
    unanswered = (c.StartTls, c.Login, c.Authenticate, c.AppendHead)
    assert set(HANDLERS) == {kind for kind in c.Command.__args__ if kind not in unanswered}


def test_users_see_what_the_primary_showed_them() -> None:
    settings = ServeSettings("mx.example.org")
    exchange = ("IMAP4", "IMAP4REV1", "UIDPLUS", "MOVE", "ID", "CHILDREN", "IDLE", "NAMESPACE", "LITERAL+", "X-OWN")
    words = after_login(settings, exchange).split()[1:]
    assert words[:4] == [b"IMAP4rev1", b"LITERAL+", b"ID", b"ENABLE"]
    assert {b"IDLE", b"NAMESPACE", b"CHILDREN", b"UIDPLUS", b"MOVE"} <= set(words)
    assert {b"SORT", b"ESEARCH", b"X-OWN"}.isdisjoint(words)


async def test_what_the_primary_showed_outlives_the_worker(front: Front) -> None:
    store, clock = front.spool.store, front.spool.clock
    offer = Offer(store, clock)
    assert offer.new_to_users(("IMAP4rev1", "Idle", "MOVE"))
    assert not offer.new_to_users(("MOVE", "IDLE", "IMAP4REV1"))
    assert not offer.new_to_users(())
    await offer.keep()
    later = Offer(store, clock)
    await later.recall()
    assert later.shown == ("IDLE", "IMAP4REV1", "MOVE")
    await store.put_setting(SETTING, b"{", now=1.0)
    await later.recall()
    assert later.shown == ("IDLE", "IMAP4REV1", "MOVE")
    assert not later.stale
    later.heed(Change(1, 0.0, ChangeKind.SETTING, new="something.else"))
    assert not later.stale
    later.heed(Change(2, 0.0, ChangeKind.SETTING, new=SETTING))
    assert later.stale


async def test_capability_follows_the_offer(front: Front) -> None:
    front.services.offer.new_to_users(("IMAP4rev1", "IDLE"))
    client = await front.client()
    answer = await client.login()
    assert answer.code == "CAPABILITY"
    (words,) = lines(await client.ok("CAPABILITY"), "CAPABILITY")
    assert b" IDLE" in words
    assert b"MOVE" not in words
    # A client that remembers more than it sees is served.
    await front.deliver(mail("one"))
    await client.ok("SELECT INBOX")
    assert lines(await client.ok("SORT (DATE) UTF-8 ALL"), "SORT") == [b"1"]


async def test_what_breaks_clients_or_would_be_a_promise_we_do_not_keep_is_never_offered(front: Front) -> None:
    never = ("UIDONLY", "URLAUTH", "MULTISEARCH", "COMPRESS=DEFLATE")
    front.services.offer.new_to_users((*OFFERS, *never))  # the primary shows everything
    client = await front.client()
    (before,) = lines(await client.ok("CAPABILITY"), "CAPABILITY")
    await client.login()
    (after,) = lines(await client.ok("CAPABILITY"), "CAPABILITY")
    assert b" SORT" in after
    for word in (*before.split(), *after.split()):
        assert not word.startswith((b"UIDONLY", b"URLAUTH", b"MULTISEARCH", b"COMPRESS")), word
    assert not OFFERS & set(never)


# --- many at once ---


async def test_everything_in_the_pipe_is_answered(front: Front) -> None:
    await front.deliver(*(mail(f"n{n}") for n in range(5)))
    client = await front.user()
    await client.script("C: a IDLE\nS: + idling")
    names = [f"p{n}" for n in range(30)]
    commands = ["UID SEARCH RETURN (SAVE) ALL", "FETCH $ (UID)", "NOOP", "SORT (SIZE) UTF-8 ALL", "UID FETCH 1:* FLAGS"]
    text = "".join(f"{name} {commands[n % len(commands)]}\r\n" for n, name in enumerate(names))
    client.send(b"DONE\r\n" + text.encode())
    answered: list[str] = []
    while len(answered) < len(names) + 1:
        event = await client.event()
        if isinstance(event, Status) and event.tag is not None:
            assert event.status == "OK"
            answered.append(event.tag)
    assert answered == ["a", *names]
    await client.nothing_left()


async def test_large_sets(front: Front) -> None:
    await front.deliver(*(mail(f"n{n}") for n in range(20)))
    client = await front.user()
    scattered = ",".join(str(n) for n in range(1, 20_000, 2))
    assert [one.uid for one in await client.fetch(f"UID FETCH {scattered} UID")] == list(range(1, 21, 2))
    assert len(await client.fetch("UID FETCH 1:4294967295 UID")) == 20
    (found,) = lines(await client.ok("SEARCH UID 1:4294967295 NOT 3:18"), "SEARCH")
    assert found == b"1 2 19 20"


async def test_others_are_served_in_between(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one session goes through a mailbox for the first time another one's NOOP is answered."""
    monkeypatch.setattr("relay.serve.pace.SLICE", 0.0)
    await front.deliver(*(mail(f"n{n}") for n in range(200)))
    reader, other = await front.user(), await front.user()
    order: list[str] = []

    async def say(client: Client, name: str, command: str) -> None:
        await client.ok(command)
        order.append(name)

    await asyncio.gather(
        say(reader, "long", "FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER])"), say(other, "short", "NOOP")
    )
    assert order == ["short", "long"]


def test_what_was_used_last_stays_in_memory() -> None:
    memory: Recent[str] = Recent(1_000)
    ids = [ItemId(f"item{n}") for n in range(4)]

    def get(item: ItemId) -> str | None:
        found, missing = memory.split([item])
        assert missing == ([] if found else [item])
        return found.get(item)

    for item in ids[:3]:
        memory.put(item, str(item), 100)
    assert get(ids[0]) == "item0"
    memory.put(ids[3], "new", 100)
    assert [get(item) for item in ids] == ["item0", None, "item2", "new"]
    memory.put(ids[3], "newer", 500)
    assert [get(item) for item in ids] == [None, None, "item2", "newer"]
    memory.put(ids[1], "too large", 2_000)
    assert [get(item) for item in ids] == [None] * 4
    memory.put(ids[0], "again", 700)
    assert get(ids[0]) == "again"
