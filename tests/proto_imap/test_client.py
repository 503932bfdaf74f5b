"""The client half: every line an event, in any slicing; large literals in pieces; typed data."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap import client_data as cd
from relay.proto.imap.client import (
    Continuation,
    Data,
    Event,
    LiteralBegins,
    Malformed,
    ResponseReader,
    Status,
)
from relay.proto.imap.flags import Flags, System
from relay.proto.imap.framing import LiteralData, LiteralEnd
from relay.proto.imap.limits import Limits
from relay.proto.imap.sequence import SequenceSet
from relay.proto.imap.tokens import Atom, List, Literal, Quoted, Streamed

SMALL = Limits(line=200, literal=20, command=400, stream=1000, tokens=50, depth=5)


def read(data: bytes, cuts: list[int], limits: Limits = SMALL) -> list[Event]:
    reader = ResponseReader(limits)
    events: list[Event] = []
    for start, end in itertools.pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        reader.feed(data[start:end])
        while (event := reader.next()) is not None:
            if isinstance(event, LiteralData) and events and isinstance(events[-1], LiteralData):
                events[-1] = LiteralData(events[-1].data + event.data)
            else:
                events.append(event)
    return events


CASES: list[tuple[bytes, list[Event]]] = [
    (b"* OK ready\r\n", [Status(None, "OK", None, (), "ready")]),
    (b"* BYE\r\n", [Status(None, "BYE", None, (), "")]),
    (b"* PREAUTH hi\r\n", [Status(None, "PREAUTH", None, (), "hi")]),
    (
        b"* OK [PERMANENTFLAGS (\\Seen \\*)] Flags [not a code]\r\n",
        [Status(None, "OK", "PERMANENTFLAGS", (List((Atom(b"\\Seen"), Atom(b"\\*"))),), "Flags [not a code]")],
    ),
    (b"a1 no [UNAVAILABLE] later {5}\r\n", [Status("a1", "NO", "UNAVAILABLE", (), "later {5}")]),
    (b'a1 NO [BADCHARSET ("a]b")] x\r\n', [Status("a1", "NO", "BADCHARSET", (List((Quoted(b"a]b"),)),), "x")]),
    (b"+ idling\r\n+\r\n+ \r\n", [Continuation(b"idling"), Continuation(b""), Continuation(b"")]),
    (b"* 5 EXISTS\r\n", [Data("EXISTS", 5, ())]),
    (b"* SEARCH\r\n* SEARCH 1 2\r\n", [Data("SEARCH", None, ()), Data("SEARCH", None, (Atom(b"1"), Atom(b"2")))]),
    (b"* 1 FETCH (X {3}\r\na\r\n)\r\n", [Data("FETCH", 1, (List((Atom(b"X"), Literal(b"a\r\n"))),))]),
    (
        b"* 1 FETCH (RFC822 {30}\r\n" + b"x" * 30 + b" UID 7)\r\n",
        [
            LiteralBegins("FETCH", 1, (), 30),
            LiteralData(b"x" * 30),
            LiteralEnd(),
            Data("FETCH", 1, (List((Atom(b"RFC822"), Streamed(30), Atom(b"UID"), Atom(b"7"))),)),
        ],
    ),
    (b"* 1 FETCH (5 * 3)\r\n", [Data("FETCH", 1, (List((Atom(b"5"), Atom(b"*"), Atom(b"3"))),))]),
    (b"garbage\r\n* 1 EXISTS\r\n", [Malformed("Not a response"), Data("EXISTS", 1, ())]),
    (b"* LIST ) {4}\r\n\r\n* x\r\n", [Malformed("Unexpected closing parenthesis")]),
    (b"* 1 FETCH (a {1001}\r\n", [Malformed("Literal too long", fatal=True)]),
    (b"x" * 300, [Malformed("Line too long", fatal=True)]),
]


@pytest.mark.parametrize(("data", "expected"), CASES, ids=lambda value: repr(value)[:40])
def test_whole_bytewise_and_with_a_tail(data: bytes, expected: list[Event]) -> None:
    assert read(data, []) == expected
    assert read(data, list(range(len(data)))) == expected
    if not (isinstance(expected[-1], Malformed) and expected[-1].fatal):
        assert read(data + b"* 9 RECENT\r\n", []) == [*expected, Data("RECENT", 9, ())]


PIECES = st.sampled_from(
    [
        b"* ",
        b"a ",
        b"OK",
        b" ",
        b"[",
        b"]",
        b"(",
        b")",
        b'"',
        b"{3}\r\n",
        b"{30}\r\n",
        b"\r\n",
        b"1 ",
        b"FETCH ",
        b"BODY[",
        b"+ ",
        b"BYE ",
        b"\0",
        b"\xff",
        b"x",
        b"NIL",
        b"~{1}\r\n",
        b"{5000}\r\n",
        b"\\",
    ]
)


@given(st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=40).map(b"".join)), st.lists(st.integers(0, 150)))
def test_slicing_never_matters_and_nothing_escapes(data: bytes, cuts: list[int]) -> None:
    events = read(data, cuts)
    assert events == read(data, [])
    for event in events:
        if isinstance(event, Data):
            for reader in (cd.fetched, cd.listed, cd.counts, cd.numbers, cd.vanished):
                reader(event)
        elif isinstance(event, Status):
            cd.appended(event)
            cd.copied(event)


def test_a_large_literal_is_never_gathered() -> None:
    reader = ResponseReader(Limits(line=1000, literal=1000, command=5000, stream=1 << 40))
    reader.feed(b"* 1 FETCH (BODY[] {50000000}\r\n")
    assert reader.next() == LiteralBegins("FETCH", 1, (), 50_000_000)
    got = 0
    while got < 50_000_000:
        reader.feed(bytes(100_000))
        while isinstance(event := reader.next(), LiteralData):
            got += len(event.data)
        assert reader.pending == 0
    reader.feed(b")\r\n")
    assert isinstance(event, LiteralEnd) or isinstance(reader.next(), LiteralEnd)
    done = reader.next()
    assert isinstance(done, Data)
    assert done.name == "FETCH"


def test_thousands_of_lines_in_one_read_are_linear() -> None:
    reader = ResponseReader()
    reader.feed(b"".join(b"* %d FETCH (UID %d FLAGS (\\Seen))\r\n" % (n, n) for n in range(1, 20_001)))
    count = 0
    while (event := reader.next()) is not None:
        assert isinstance(event, Data)
        count += 1
    assert count == 20_000


def one(line: bytes) -> Event:
    (event,) = read(line + b"\r\n", [], Limits())
    return event


def test_typed_fetch() -> None:
    event = one(
        b'* 12 FETCH (UID 7 FLAGS (\\Seen \\Recent $Junk \\Bogus) INTERNALDATE "17-Jul-1996 02:44:25 -0700" '
        b'RFC822.SIZE 5 MODSEQ (99) BODY[HEADER.FIELDS (To "Cc")]<0> {2}\r\nab RFC822.TEXT NIL ENVELOPE (NIL "x"))'
    )
    assert isinstance(event, Data)
    assert cd.fetched(event) == cd.Fetched(
        12,
        uid=7,
        flags=Flags(System.SEEN, ("$Junk",)),
        recent=True,
        internal_date=837596665.0,
        size=5,
        modseq=99,
        sections={b"BODY[HEADER.FIELDS (TO CC)]<0>": b"ab", b"RFC822.TEXT": None},
        other={b"ENVELOPE": List((Atom(b"NIL"), Quoted(b"x")))},
    )


def test_other_typed_data() -> None:
    line = one(b'* LIST (\\HasNoChildren \\Sent) "/" "Entw&APw-rfe"')
    assert isinstance(line, Data)
    assert cd.listed(line) == cd.Listed(frozenset({"\\hasnochildren", "\\sent"}), "/", "Entwürfe")
    line = one(b"* STATUS {5}\r\nINBOX (MESSAGES 3 UIDNEXT 9)")
    assert isinstance(line, Data)
    assert cd.counts(line) == cd.Counts("INBOX", {"MESSAGES": 3, "UIDNEXT": 9})
    line = one(b"* VANISHED (EARLIER) 1:3,9")
    assert isinstance(line, Data)
    assert cd.vanished(line) == cd.Vanished(True, SequenceSet(((1, 3), (9, 9))))
    line = one(b"a OK [COPYUID 5 4,2:3 10:12] Done")
    assert isinstance(line, Status)
    copied = cd.copied(line)
    assert copied is not None
    assert (cd.expand(copied.sources, 10), cd.expand(copied.targets, 10)) == ([4, 2, 3], [10, 11, 12])
    assert cd.expand(SequenceSet(((1, 4_000_000_000),)), 1000) is None
    line = one(b"a OK [APPENDUID 5 7] Done")
    assert isinstance(line, Status)
    assert cd.appended(line) == cd.Appended(5, SequenceSet(((7, 7),)))
    line = one(b"* OK [UIDVALIDITY 77] x")
    assert isinstance(line, Status)
    assert cd.number_code(line, "UIDVALIDITY") == 77
    line = one(b"* SEARCH 3 1 (MODSEQ 9)")
    assert isinstance(line, Data)
    assert cd.numbers(line) == (3, 1)
    line = one(b"* CAPABILITY IMAP4rev1 idle AUTH=PLAIN")
    assert isinstance(line, Data)
    assert cd.capabilities(line.tokens) == ("IMAP4REV1", "IDLE", "AUTH=PLAIN")
