"""Commands from octets: what each takes, and that nothing escapes from garbage."""

from __future__ import annotations

from collections.abc import Set
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap import commands as c
from relay.proto.imap import grammar, grammar_search
from relay.proto.imap.capabilities import EVERYTHING
from relay.proto.imap.fetch import Attribute, BodyPart
from relay.proto.imap.flags import Flags, System
from relay.proto.imap.grammar import Invalid, Parsed
from relay.proto.imap.limits import Limits
from relay.proto.imap.receiver import Frame, LiteralOffered, Receiver
from relay.proto.imap.search import (
    All,
    AnyOf,
    BodyHas,
    Compare,
    Dated,
    DateOf,
    HasFlags,
    HasKeyword,
    HeaderHas,
    IsRecent,
    Not,
    Numbers,
    Sized,
)
from relay.proto.imap.sequence import STAR, SequenceSet
from relay.proto.mime.section import Text


def parse(text: bytes, offers: Set[str] = EVERYTHING) -> Parsed | Invalid:
    receiver = Receiver(Limits())
    receiver.feed(b"t " + text + b"\r\n")
    while (event := receiver.next()) is not None:
        if isinstance(event, Frame):
            return grammar.parse(event.tokens, offers=offers)
    raise AssertionError("no frame")


ONE = SequenceSet(((1, 1),))

GOOD: list[tuple[bytes, c.Command]] = [
    (b"capability", c.Capability()),
    (b"NOOP", c.Noop()),
    (b"LOGOUT", c.Logout()),
    (b"ID NIL", c.Id(())),
    (b'ID ("name" "x" "version" NIL)', c.Id(((b"name", b"x"), (b"version", None)))),
    (b"STARTTLS", c.StartTls()),
    (b'LOGIN joe "pass word"', c.Login(b"joe", b"pass word")),
    (b"LOGIN j]oe NIL", c.Login(b"j]oe", b"NIL")),
    (b"LOGIN {3+}\r\njoe {1+}\r\n\xff", c.Login(b"joe", b"\xff")),
    (b"AUTHENTICATE plain", c.Authenticate("PLAIN", None)),
    (b"AUTHENTICATE PLAIN AGEAYg==", c.Authenticate("PLAIN", b"AGEAYg==")),
    (b"AUTHENTICATE EXTERNAL =", c.Authenticate("EXTERNAL", b"=")),
    (b"ENABLE condstore UTF8=ACCEPT", c.Enable(("CONDSTORE", "UTF8=ACCEPT"))),
    (b"SELECT inbox", c.Select("INBOX", read_only=False)),
    (b'EXAMINE "Entw&APw-rfe"', c.Select("Entwürfe", read_only=True)),
    (b"SELECT INBOX (CONDSTORE QRESYNC (1 1))", c.Select("INBOX", read_only=False, condstore=True)),
    (b"CREATE Sent (USE (\\Sent))", c.Create("Sent", ("\\Sent",))),
    (b"DELETE x", c.Delete("x")),
    (b"RENAME inbox y", c.Rename("INBOX", "y")),
    (b"SUBSCRIBE x", c.Subscribe("x", on=True)),
    (b"UNSUBSCRIBE x", c.Subscribe("x", on=False)),
    (b'LIST "" *', c.ListMailboxes("", ("*",))),
    (b'LIST "" ""', c.ListMailboxes("", ("",))),
    (b'LSUB "" %/%', c.ListMailboxes("", ("%/%",), lsub=True)),
    (
        b'LIST (SUBSCRIBED) "" ("INBOX" "S%") RETURN (CHILDREN STATUS (MESSAGES UNSEEN))',
        c.ListMailboxes(
            "",
            ("INBOX", "S%"),
            selection=frozenset({"SUBSCRIBED"}),
            returns=frozenset({"CHILDREN"}),
            status=("MESSAGES", "UNSEEN"),
            extended=True,
        ),
    ),
    (b"NAMESPACE", c.Namespace()),
    (b"STATUS INBOX (messages UIDNEXT)", c.Status("INBOX", ("MESSAGES", "UIDNEXT"))),
    (b"IDLE", c.Idle()),
    (b"CHECK", c.Check()),
    (b"CLOSE", c.Close(expunge=True)),
    (b"UNSELECT", c.Close(expunge=False)),
    (b"EXPUNGE", c.Expunge()),
    (b"UID EXPUNGE 3:*", c.Expunge(SequenceSet(((3, STAR),)))),
    (b"FETCH 1 FAST", c.Fetch(ONE, (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.SIZE), by_uid=False)),
    (b"FETCH 1 (flags UID flags)", c.Fetch(ONE, (Attribute.FLAGS, Attribute.UID), by_uid=False)),
    (b"UID FETCH 1 (FLAGS UID)", c.Fetch(ONE, (Attribute.UID, Attribute.FLAGS), by_uid=True)),
    (
        b"UID FETCH 1 FLAGS (CHANGEDSINCE 0)",
        c.Fetch(ONE, (Attribute.UID, Attribute.FLAGS), by_uid=True, changed_since=0),
    ),
    (b"FETCH 1 BODY", c.Fetch(ONE, (Attribute.BODY,), by_uid=False)),
    (b"FETCH 1 BODY[]", c.Fetch(ONE, (BodyPart(peek=False),), by_uid=False)),
    (b"FETCH 1 RFC822.PEEK", c.Fetch(ONE, (BodyPart(peek=True, legacy=b"RFC822"),), by_uid=False)),
    (
        b"FETCH 1 BODY.PEEK[1.2.MIME]<10.20>",
        c.Fetch(ONE, (BodyPart(peek=True, part=(1, 2), text=Text.MIME, partial=(10, 20)),), by_uid=False),
    ),
    (
        b"FETCH 1 body.peek[header.fields.not (Date {2+}\r\nTo)]",
        c.Fetch(ONE, (BodyPart(peek=True, text=Text.FIELDS_NOT, fields=(b"Date", b"To")),), by_uid=False),
    ),
    (
        b"STORE 1 +flags.silent (\\seen Junk)",
        c.StoreFlags(ONE, c.StoreMode.ADD, Flags(System.SEEN, ("Junk",)), silent=True, by_uid=False),
    ),
    (
        b"UID STORE 1 FLAGS \\Deleted \\Draft",
        c.StoreFlags(ONE, c.StoreMode.SET, Flags(System.DELETED | System.DRAFT), silent=False, by_uid=True),
    ),
    (b"STORE 1 -FLAGS ()", c.StoreFlags(ONE, c.StoreMode.REMOVE, Flags(), silent=False, by_uid=False)),
    (b"UID MOVE 1 Trash", c.Copy(ONE, "Trash", by_uid=True, move=True)),
    (b"SEARCH ALL", c.Search(All(()), by_uid=False)),
    (
        b"SEARCH 1,2:* NOT DELETED",
        c.Search(
            All((Numbers(SequenceSet(((1, 1), (2, STAR))), uid=False), Not(HasFlags(System.DELETED)))), by_uid=False
        ),
    ),
    (
        b"UID SEARCH UID 1 NEW",
        c.Search(All((Numbers(ONE, uid=True), All((IsRecent(), Not(HasFlags(System.SEEN)))))), by_uid=True),
    ),
    (
        b"SEARCH OR (FROM joe TO x) LARGER 5",
        c.Search(AnyOf(All((HeaderHas("from", "joe"), HeaderHas("to", "x"))), Sized(5, larger=True)), by_uid=False),
    ),
    (b"SEARCH CHARSET utf-8 SUBJECT {3+}\r\n\xc3\x84x", c.Search(HeaderHas("subject", "äx"), by_uid=False)),
    (b'SEARCH HEADER X-Foo ""', c.Search(HeaderHas("x-foo", ""), by_uid=False)),
    (b"SEARCH SENTSINCE 1-Feb-2026", c.Search(Dated(Compare.SINCE, date(2026, 2, 1), DateOf.SENT), by_uid=False)),
    (
        b'SEARCH ON "01-feb-2026" KEYWORD Junk',
        c.Search(All((Dated(Compare.ON, date(2026, 2, 1), DateOf.ARRIVED), HasKeyword("Junk"))), by_uid=False),
    ),
    (b"SEARCH TEXT a BODY B", c.Search(All((BodyHas("a", header=True), BodyHas("b", header=False))), by_uid=False)),
]


@pytest.mark.parametrize(("text", "command"), GOOD, ids=lambda value: repr(value)[:40])
def test_commands(text: bytes, command: c.Command) -> None:
    parsed = parse(text)
    assert isinstance(parsed, Parsed), parsed
    assert parsed.command == command


BAD = [
    b"",
    b"FOO",
    b"UID",
    b"UID NOOP",
    b"NOOP x",
    b"LOGIN a",
    b"LOGIN a b c",
    b"LOGIN (a) b",
    b"SELECT",
    b'SELECT ""',
    b"SELECT a*b",
    b"SELECT &bad",
    b"SELECT {4+}\r\na\r\nb",
    b"SELECT {3+}\r\na\0b",
    b"STATUS INBOX ()",
    b"STATUS INBOX (FOO)",
    b"STATUS INBOX MESSAGES",
    b"FETCH 0 FLAGS",
    b"FETCH 1: FLAGS",
    b"FETCH 1,,2 FLAGS",
    b"FETCH 4294967296 FLAGS",
    b"FETCH 1 ()",
    b"FETCH 1 FOO",
    b"FETCH 1 BODY[MIME]",
    b"FETCH 1 BODY[0]",
    b"FETCH 1 BODY[1.]",
    b"FETCH 1 BODY[.TEXT]",
    b"FETCH 1 BODY[HEADER.FIELDS ()]",
    b"FETCH 1 BODY[HEADER.FIELDS]",
    b"FETCH 1 BODY[TEXT]<5>",
    b"FETCH 1 BODY[TEXT]<0.0>",
    b"FETCH 1 (FAST)",
    b"FETCH 1 BODY[1TEXT]",
    b"STORE 1 FOO x",
    b"STORE 1 FLAGS \\Recent",
    b"STORE 1 FLAGS (a\x80)",
    b"STORE 1 FLAGS ((a))",
    b"SEARCH",
    b"SEARCH FOO",
    b"SEARCH NOT",
    b"SEARCH OR ALL",
    b"SEARCH ON 32-Feb-2026",
    b"SEARCH ()",
    b"SEARCH SUBJECT {1+}\r\n\xff",
    b"SEARCH LARGER -1",
    b"SEARCH " + b"NOT " * 60 + b"ALL",
    b"SEARCH" + b" ALL" * 1001,
    b"APPEND INBOX",
    b"ENABLE",
    b"ID (a)",
    b'ID ("a")',
    b"ID (" + b'"k" NIL ' * 31 + b")",
    b"CREATE x (FOO (\\Sent))",
    b'LIST "" * x',
    b'LIST (FOO) "" *',
    b'LIST (RECURSIVEMATCH) "" *',
    b'LIST "" () RETURN ()',
    b"EXPUNGE 1",
    b"UID EXPUNGE",
]


@pytest.mark.parametrize("text", BAD, ids=lambda value: repr(value)[:40])
def test_what_is_no_command_is_said_to_be_none(text: bytes) -> None:
    parsed = parse(text)
    assert isinstance(parsed, Invalid)
    assert parsed.text.isascii()
    assert len(parsed.text) < 60


def test_an_unknown_charset_is_told_apart() -> None:
    parsed = parse(b"SEARCH CHARSET KOI8-R ALL")
    assert isinstance(parsed, Invalid)
    assert parsed.bad_charset


def test_uid_search_by_number_holds_expunges_back() -> None:
    by_number, by_uid = parse(b"UID SEARCH NOT (OR 1 ALL)"), parse(b"UID SEARCH UID 1")
    assert isinstance(by_number, Parsed)
    assert isinstance(by_uid, Parsed)
    assert not by_number.row.may_expunge
    assert by_uid.row.may_expunge


def test_every_row_of_the_table_has_a_reader() -> None:
    for name in c.TABLE:
        parsed = parse(name.encode())
        assert parsed == Invalid(name, parsed.text, row=c.TABLE[name]) if isinstance(parsed, Invalid) else True
        assert not (isinstance(parsed, Invalid) and parsed.name is None)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"INBOX {1}", c.AppendHead("INBOX", Flags(), None)),
        (b"x (\\Seen a) {1}", c.AppendHead("x", Flags(System.SEEN, ("a",)), None)),
        (b'x () "17-Jul-1996 02:44:25 -0700" {1}', c.AppendHead("x", Flags(), 837596665.0)),
    ],
)
def test_append_heads(head: bytes, expected: c.AppendHead) -> None:
    receiver = Receiver(Limits(stream=10))
    receiver.feed(b"a APPEND " + head + b"\r\n")
    offered = receiver.next()
    assert isinstance(offered, LiteralOffered)
    assert grammar.parse_append(offered.tokens) == expected


def test_bad_append_heads() -> None:
    for head in (b'x "now" {1}', b"x (\\Recent) {1}", b"x y {1}"):
        receiver = Receiver(Limits(stream=10))
        receiver.feed(b"a APPEND " + head + b"\r\n")
        offered = receiver.next()
        assert isinstance(offered, LiteralOffered)
        assert isinstance(grammar.parse_append(offered.tokens), Invalid)


WORDS = st.sampled_from(
    [name.encode() for name in c.TABLE]
    + [
        b"(",
        b")",
        b" ",
        b"1:*",
        b"*",
        b"INBOX",
        b'""',
        b'"a"',
        b"NIL",
        b"FLAGS",
        b"BODY[",
        b"]",
        b"HEADER.FIELDS",
        b"<0.5>",
        b"NOT",
        b"OR",
    ]
    + [
        b"UID",
        b"CHARSET",
        b"UTF-8",
        b"SUBJECT",
        b"1-Feb-2026",
        b"+FLAGS",
        b"\\Seen",
        b"RETURN",
        b"STATUS",
        b"{1+}\r\nx",
        b"\xff",
        b"&AOk-",
        b"RFC822",
    ]
)


@given(st.lists(WORDS, max_size=14).map(b" ".join))
def test_garbage_from_real_words_never_escapes(text: bytes) -> None:
    receiver = Receiver(Limits())
    receiver.feed(b"t " + text + b"\r\n")
    while (event := receiver.next()) is not None:
        if isinstance(event, Frame):
            assert isinstance(grammar.parse(event.tokens), (Parsed, Invalid))


def test_search_bounds_are_stated() -> None:
    assert grammar_search.DEEPEST < 100
    nested = b"SEARCH " + b"(" * 31 + b"ALL" + b")" * 31
    assert isinstance(parse(nested), Parsed)
