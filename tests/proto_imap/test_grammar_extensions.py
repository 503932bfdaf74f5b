"""Extensions from octets: their corner cases, what each needs, and APPEND and REPLACE through their literals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap import commands as c
from relay.proto.imap import grammar, sequence
from relay.proto.imap.capabilities import BASIC, EVERYTHING
from relay.proto.imap.fetch import Attribute, BodyPart, Form
from relay.proto.imap.flags import Flags, System
from relay.proto.imap.grammar import Invalid, Parsed
from relay.proto.imap.limits import AFTER_LOGIN
from relay.proto.imap.receiver import Frame, LiteralOffered, Receiver, Rejected
from relay.proto.imap.search import All, DateOf, HasFlags, Not, Numbers, ObjectIs, Return, Within
from relay.proto.imap.sequence import SequenceSet
from relay.proto.imap.sorting import By, Criterion
from relay.proto.imap.threads import Algorithm
from relay.proto.imap.tokens import Atom, List, Streamed
from tests.proto_imap.test_grammar import parse

ONE = SequenceSet(((1, 1),))
EVERY = All(())


def search(*returns: Return, by_uid: bool = False) -> c.Search:
    return c.Search(EVERY, by_uid, frozenset(returns))


GOOD: list[tuple[bytes, c.Command]] = [
    # RFC 4731 3.1, RFC 5182 2.1
    (b"SEARCH RETURN () ALL", search(Return.ALL)),
    (b"SEARCH return (min MAX) all", search(Return.MIN, Return.MAX)),
    (b"UID SEARCH RETURN (COUNT SAVE) CHARSET UTF-8 ALL", search(Return.COUNT, Return.SAVE, by_uid=True)),
    (b"SEARCH $", c.Search(Numbers(sequence.SAVED, uid=False), by_uid=False)),
    (b"SEARCH UID $", c.Search(Numbers(sequence.SAVED, uid=True), by_uid=False)),
    (b"FETCH $ FLAGS", c.Fetch(sequence.SAVED, (Attribute.FLAGS,), by_uid=False)),
    (b"UID MOVE $ x", c.Copy(sequence.SAVED, "x", by_uid=True, move=True)),
    (b"UID EXPUNGE $", c.Expunge(sequence.SAVED)),
    # RFC 5032, RFC 8474, RFC 8514
    (b"SEARCH OLDER 60", c.Search(Within(60, younger=False), by_uid=False)),
    (b"SEARCH YOUNGER 4294967295", c.Search(Within(0xFFFFFFFF, younger=True), by_uid=False)),
    (b"SEARCH EMAILID M6d99ac3275bb4e", c.Search(ObjectIs("M6d99ac3275bb4e", thread=False), by_uid=False)),
    (b"SEARCH NOT THREADID T-_1", c.Search(Not(ObjectIs("T-_1", thread=True)), by_uid=False)),
    (b"SEARCH SAVEDATESUPPORTED", c.Search(EVERY, by_uid=False)),
    # RFC 5256
    (b"SORT (SUBJECT REVERSE DATE) UTF-8 ALL", c.Sort((Criterion(By.SUBJECT), Criterion(By.DATE, True)), EVERY, False)),
    (
        b'UID SORT (reverse size) "us-ascii" DELETED',
        c.Sort((Criterion(By.SIZE, True),), HasFlags(System.DELETED), True),
    ),
    (b"SORT (DATE REVERSE DATE) UTF-8 ALL", c.Sort((Criterion(By.DATE),), EVERY, False)),
    (b"THREAD REFERENCES UTF-8 ALL", c.Thread(Algorithm.REFERENCES, EVERY, by_uid=False)),
    (b"UID THREAD orderedsubject US-ASCII ALL", c.Thread(Algorithm.ORDEREDSUBJECT, EVERY, by_uid=True)),
    # RFC 3516, RFC 8474, RFC 8514, RFC 8970
    (b"FETCH 1 BINARY[]", c.Fetch(ONE, (BodyPart(False, form=Form.DECODED),), by_uid=False)),
    (
        b"FETCH 1 (binary.peek[1.2]<0.5> BINARY.SIZE[3])",
        c.Fetch(
            ONE,
            (
                BodyPart(True, part=(1, 2), partial=(0, 5), form=Form.DECODED),
                BodyPart(True, part=(3,), form=Form.DECODED_SIZE),
            ),
            by_uid=False,
        ),
    ),
    (
        b"FETCH 1 (EMAILID THREADID SAVEDATE)",
        c.Fetch(ONE, (Attribute.EMAILID, Attribute.THREADID, Attribute.SAVEDATE), by_uid=False),
    ),
    (b"FETCH 1 PREVIEW", c.Fetch(ONE, (Attribute.PREVIEW,), by_uid=False)),
    (b"FETCH 1 (PREVIEW (LAZY) UID)", c.Fetch(ONE, (Attribute.PREVIEW, Attribute.UID), by_uid=False)),
    (b"FETCH 1 PREVIEW (LAZY)", c.Fetch(ONE, (Attribute.PREVIEW,), by_uid=False)),
    # RFC 9208
    (b'GETQUOTA ""', c.GetQuota("")),
    (b"GETQUOTAROOT inbox", c.GetQuotaRoot("INBOX")),
    (b'SETQUOTA "" (STORAGE 512 message 3)', c.SetQuota("", (("STORAGE", 512), ("MESSAGE", 3)))),
    (b'SETQUOTA "" ()', c.SetQuota("", ())),
    # RFC 7889, RFC 8438, RFC 8474, RFC 9051 6.3.11
    (
        b"STATUS x (SIZE DELETED MAILBOXID APPENDLIMIT SIZE)",
        c.Status("x", ("SIZE", "DELETED", "MAILBOXID", "APPENDLIMIT")),
    ),
    (b"STATUS x (HIGHESTMODSEQ)", c.Status("x", ("HIGHESTMODSEQ",))),
    # RFC 5258, RFC 6154
    (
        b'LIST (RECURSIVEMATCH SUBSCRIBED) "" * RETURN (SUBSCRIBED SPECIAL-USE)',
        c.ListMailboxes(
            "",
            ("*",),
            selection=frozenset({"RECURSIVEMATCH", "SUBSCRIBED"}),
            returns=frozenset({"SUBSCRIBED", "SPECIAL-USE"}),
            extended=True,
        ),
    ),
    (b'LIST () "" * RETURN ()', c.ListMailboxes("", ("*",), extended=True)),
    (b"CREATE x (USE (\\Drafts \\Sent \\Drafts))", c.Create("x", ("\\Drafts", "\\Sent"))),
    (b"CREATE x/", c.Create("x")),
    (b"CREATE /", c.Create("/")),
    (b"SELECT x (CONDSTORE)", c.Select("x", read_only=False, condstore=True)),
    (b"EXAMINE x (QRESYNC (1 2 1:5 (1 2)))", c.Select("x", read_only=True, condstore=True)),
]


@pytest.mark.parametrize(("text", "command"), GOOD, ids=lambda value: repr(value)[:40])
def test_extensions(text: bytes, command: c.Command) -> None:
    parsed = parse(text)
    assert isinstance(parsed, Parsed), parsed
    assert parsed.command == command


BAD = [
    b"SEARCH RETURN ALL",
    b"SEARCH RETURN (FOO) ALL",
    b"SEARCH RETURN (ALL)",
    b"SEARCH $,1",
    b"FETCH 1,$ FLAGS",
    b"SEARCH OLDER 0",
    b"SEARCH YOUNGER 4294967296",
    b"SEARCH OLDER",
    b"SEARCH EMAILID a.b",
    b'SEARCH THREADID ""',
    b"SEARCH EMAILID " + b"x" * 256,
    b"SEARCH SAVEDON yesterday",
    b"SEARCH MODSEQ 1",
    b"SORT UTF-8 ALL",
    b"SORT () UTF-8 ALL",
    b"SORT (REVERSE) UTF-8 ALL",
    b"SORT (REVERSE REVERSE DATE) UTF-8 ALL",
    b"SORT (FOO) UTF-8 ALL",
    b"SORT (DATE) UTF-8",
    b"THREAD REFERENCES UTF-8",
    b"THREAD JWZ UTF-8 ALL",
    b"FETCH 1 BINARY[HEADER]",
    b"FETCH 1 BINARY[1.MIME]",
    b"FETCH 1 BINARY.SIZE[1]<0.1>",
    b"FETCH 1 (PREVIEW (EAGER))",
    b"FETCH 1 MODSEQ",
    b"FETCH 1 FLAGS (CHANGEDSINCE 0 VANISHED)",
    b"STORE 1 (UNCHANGEDSINCE 5) FLAGS ()",
    b"SETQUOTA x (STORAGE)",
    b"SETQUOTA x (STORAGE x)",
    b'SETQUOTA "" (' + b"STORAGE 1 " * 21 + b")",
    b"GETQUOTA",
    b'LIST (RECURSIVEMATCH REMOTE) "" *',
    b'LIST "" (' + b"x " * 101 + b")",
    b'LIST "" * RETURN (MYRIGHTS)',
    b'LIST "" * RETURN (STATUS)',
    b"SELECT x (FOO)",
    b"SELECT x CONDSTORE",
    b"APPEND x {1+}\r\ny",
    b"REPLACE 1 x",
    b'ID ("' + b"k" * 31 + b'" NIL)',
    b'ID ("k" {1025+}\r\n' + b"v" * 1025 + b")",
]


@pytest.mark.parametrize("text", BAD, ids=lambda value: repr(value)[:40])
def test_what_no_extension_knows(text: bytes) -> None:
    parsed = parse(text)
    assert isinstance(parsed, Invalid), parsed
    assert len(parsed.text) < 60


def test_changed_since_zero_is_no_mod_sequence() -> None:
    parsed = parse(b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE 0)")
    assert isinstance(parsed, Parsed)
    assert isinstance(parsed.command, c.Fetch)
    assert parsed.command.changed_since == 0


def test_an_unknown_charset_of_sort_and_thread_is_told_apart() -> None:
    for text in (b"SORT (DATE) KOI8-R ALL", b"THREAD REFERENCES latin-9 ALL"):
        parsed = parse(text)
        assert isinstance(parsed, Invalid)
        assert parsed.bad_charset


NEEDS: list[tuple[bytes, str]] = [
    (b"SEARCH RETURN () ALL", "ESEARCH"),
    (b"SEARCH $", "SEARCHRES"),
    (b"FETCH $ FLAGS", "SEARCHRES"),
    (b"SEARCH OLDER 1", "WITHIN"),
    (b"SEARCH EMAILID x", "OBJECTID"),
    (b"SEARCH SAVEDON 1-Jan-2026", "SAVEDATE"),
    (b"SEARCH SAVEDATESUPPORTED", "SAVEDATE"),
    (b"SORT (DATE) UTF-8 ALL", "SORT"),
    (b"FETCH 1 BINARY[1]", "BINARY"),
    (b"FETCH 1 PREVIEW", "PREVIEW"),
    (b"FETCH 1 THREADID", "OBJECTID"),
    (b"FETCH 1 SAVEDATE", "SAVEDATE"),
    (b'GETQUOTA ""', "QUOTA"),
    (b"STATUS x (MAILBOXID)", "OBJECTID"),
    (b"STATUS x (APPENDLIMIT)", "APPENDLIMIT"),
    (b"MOVE 1 x", "MOVE"),
    (b"UNSELECT", "UNSELECT"),
    (b"CREATE x (USE (\\Sent))", "CREATE-SPECIAL-USE"),
]


@pytest.mark.parametrize(("text", "extension"), NEEDS, ids=lambda value: repr(value)[:40])
def test_an_extension_is_understood_only_where_it_is_offered(text: bytes, extension: str) -> None:
    assert isinstance(parse(text), Parsed)
    assert isinstance(parse(text, EVERYTHING - {extension, "IMAP4rev2"}), Invalid)
    assert isinstance(parse(text, BASIC | {extension}), Parsed)


def test_threading_needs_its_algorithm() -> None:
    offers = EVERYTHING - {"THREAD=ORDEREDSUBJECT"}
    assert isinstance(parse(b"THREAD REFERENCES UTF-8 ALL", offers), Parsed)
    assert isinstance(parse(b"THREAD ORDEREDSUBJECT UTF-8 ALL", offers), Invalid)


@pytest.mark.parametrize("text", [b"UID SORT (DATE) UTF-8 1", b"UID THREAD REFERENCES UTF-8 NOT 1:2", b"UID SEARCH 1"])
def test_uid_forms_by_number_hold_expunges_back(text: bytes) -> None:
    parsed = parse(text)
    assert isinstance(parsed, Parsed)
    assert not parsed.row.may_expunge


def test_the_saved_result_names_no_numbers() -> None:
    parsed = parse(b"UID SEARCH $")
    assert isinstance(parsed, Parsed)
    assert parsed.row.may_expunge


def test_what_needs_something_needs_what_there_is() -> None:
    assert {row.needs for row in c.TABLE.values()} - {None} <= EVERYTHING


# -- APPEND and REPLACE ----------------------------------------------------------------------------------------------


def upload(text: bytes, offers: frozenset[str] = EVERYTHING) -> list[object]:
    """The heads of all literals that are offered, and what the whole command is at the end."""
    receiver = Receiver(AFTER_LOGIN.with_stream(1000))
    receiver.feed(b"a " + text + b"\r\n")
    found: list[object] = []
    before = 0
    while (event := receiver.next()) is not None:
        if isinstance(event, LiteralOffered):
            found.append(grammar.parse_head(event.tokens, offers=offers))
            before = before or len(event.tokens)
            receiver.accept_literal()
        elif isinstance(event, Frame):
            parsed = grammar.parse(event.tokens, offers=offers)
            if found and isinstance(found[0], c.AppendHead):
                assert grammar.completed(found[0], before, event.tokens) in (None, parsed)
            found.append(parsed.command if isinstance(parsed, Parsed) else parsed)
        elif isinstance(event, Rejected):
            found.append(event)
    return found


SEEN = Flags(System.SEEN)
DATE = b'"17-Jul-1996 02:44:25 -0700"'


def test_a_plain_append_is_not_read_twice() -> None:
    head = c.AppendHead("x", SEEN, None)
    tokens = (Atom(b"APPEND"), Atom(b"x"), List((Atom(b"\\Seen"),)), Streamed(3))
    parsed = grammar.completed(head, 3, tokens)
    assert parsed is not None
    assert parsed == grammar.parse(tokens)
    assert grammar.completed(head, 3, (*tokens[:3], Streamed(3, binary=True))) is None
    assert grammar.completed(head, 3, (*tokens, Atom(b"more"))) is None
    assert grammar.completed(head, 3, (*tokens, Streamed(4))) is None
    assert grammar.completed(c.AppendHead("x", SEEN, None, utf8=True), 3, tokens) is None


def test_append_of_one() -> None:
    assert upload(b"APPEND x (\\Seen) " + DATE + b" {3+}\r\nabc") == [
        c.AppendHead("x", SEEN, 837596665.0),
        c.Append("x", (c.Appended(SEEN, 837596665.0, 3),)),
    ]


def test_append_of_several() -> None:
    assert upload(b"APPEND x {3+}\r\nabc (\\Seen) {2+}\r\nde {0+}\r\n") == [
        c.AppendHead("x", Flags(), None),
        c.AppendHead("x", SEEN, None, index=1),
        c.AppendHead("x", Flags(), None, index=2),
        c.Append("x", (c.Appended(Flags(), None, 3), c.Appended(SEEN, None, 2), c.Appended(Flags(), None, 0))),
    ]


def test_append_in_utf8_and_binary() -> None:
    assert upload(b"APPEND x UTF8 (~{2+}\r\n\xc3\xa4) ~{1+}\r\n\0") == [
        c.AppendHead("x", Flags(), None, utf8=True),
        c.AppendHead("x", Flags(), None, index=1),
        c.Append("x", (c.Appended(Flags(), None, 2, True, utf8=True), c.Appended(Flags(), None, 1, binary=True))),
    ]


def test_replace() -> None:
    head = c.AppendHead("x", SEEN, None)
    assert upload(b"REPLACE * x (\\Seen) {2+}\r\nab") == [
        c.ReplaceHead(SequenceSet(((sequence.STAR, sequence.STAR),)), False, head),
        c.Replace(SequenceSet(((sequence.STAR, sequence.STAR),)), False, "x", c.Appended(SEEN, None, 2)),
    ]
    assert upload(b"UID REPLACE 1 x (\\Seen) {2+}\r\nab")[0] == c.ReplaceHead(ONE, True, head)


@pytest.mark.parametrize(
    "text",
    [
        b"APPEND x {1+}\r\na (\\Seen)",
        b"APPEND x (\\Seen {1+}\r\na) {1+}\r\nb",
        b"APPEND x UTF8 {1+}\r\na",
        b"APPEND x UTF8 ({1+}\r\na)",
        b"APPEND x UTF8 (~{1+}\r\na ~{1+}\r\nb)",
        b"APPEND x CATENATE (TEXT {1+}\r\na)",
        b"APPEND x y {1+}\r\na",
        b"APPEND x (\\Recent) {1+}\r\na",
        b"REPLACE 1:2 x {1+}\r\na",
        b"REPLACE $ x {1+}\r\na",
        b"REPLACE 1 x {1+}\r\na {1+}\r\nb",
        b"APPEND x {1+}\r\na {1+}\r\nb y",
    ],
    ids=repr,
)
def test_uploads_that_are_none(text: bytes) -> None:
    assert isinstance(upload(text)[-1], Invalid)


def test_uploads_need_their_extensions() -> None:
    assert isinstance(upload(b"APPEND x {1+}\r\na {1+}\r\nb", BASIC)[1], Invalid)
    assert isinstance(upload(b"APPEND x ~{1+}\r\na", BASIC)[-1], Invalid)
    assert isinstance(upload(b"APPEND x UTF8 (~{1+}\r\na)", BASIC)[0], Invalid)
    assert isinstance(upload(b"REPLACE 1 x {1+}\r\na", BASIC)[0], Invalid)
    receiver = Receiver(AFTER_LOGIN.with_stream(10))
    receiver.feed(b"a REPLACE 1 x {1}\r\n")
    offered = receiver.next()
    assert isinstance(offered, LiteralOffered)
    assert isinstance(grammar.parse_append(offered.tokens, offers=EVERYTHING), Invalid)


PIECES = st.sampled_from(
    [
        b"APPEND", b"REPLACE", b"UID", b"x", b"1", b"(\\Seen)", b"(", b")", b"UTF8", b"~{1+}\r\na", b"{1+}\r\na",
        b"{0+}\r\n", DATE, b"NIL", b'""', b"$", b"CATENATE",
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=9).map(b" ".join))
def test_garbage_of_uploads_never_escapes(text: bytes) -> None:
    upload(text)


EXTENSION_WORDS = st.sampled_from(
    [name.encode() for name in c.TABLE]
    + [
        b"RETURN", b"(", b")", b"MIN", b"SAVE", b"$", b"UTF-8", b"ALL", b"OLDER", b"1", b"0", b"EMAILID", b"REVERSE",
        b"DATE", b"REFERENCES", b"BINARY[", b"BINARY.SIZE[1]", b"]", b"<0.1>", b"PREVIEW", b"(LAZY)", b"STORAGE", b'""',
        b"MAILBOXID", b"RECURSIVEMATCH", b"USE", b"\\Sent", b"QRESYNC", b"*", b"SAVEDON", b"1-Jan-2026",
    ]
)  # fmt: skip


@given(st.lists(EXTENSION_WORDS, max_size=12).map(b" ".join))
def test_garbage_of_extensions_never_escapes(text: bytes) -> None:
    receiver = Receiver(AFTER_LOGIN)
    receiver.feed(b"t " + text + b"\r\n")
    while (event := receiver.next()) is not None:
        if isinstance(event, Frame):
            assert isinstance(grammar.parse(event.tokens, offers=EVERYTHING), (Parsed, Invalid))


def test_dates_are_told_apart() -> None:
    for word, of in ((b"ON", DateOf.ARRIVED), (b"SENTON", DateOf.SENT), (b"SAVEDON", DateOf.SAVED)):
        parsed = parse(b"SEARCH " + word + b" 1-Jan-2026")
        assert isinstance(parsed, Parsed)
        assert isinstance(parsed.command, c.Search)
        assert getattr(parsed.command.key, "of", None) is of
