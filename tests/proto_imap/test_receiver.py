"""The receiver: whole, byte by byte and with a tail; bounds; garbage; linear work."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap.framing import LiteralData, LiteralEnd
from relay.proto.imap.limits import AFTER_LOGIN, BEFORE_LOGIN, Limits
from relay.proto.imap.receiver import (
    ContinueWanted,
    Event,
    Frame,
    Line,
    LiteralOffered,
    Receiver,
    Rejected,
)
from relay.proto.imap.tokens import Atom, List, Literal, Quoted, Section, Streamed

STREAMING = msgspec.structs.replace(AFTER_LOGIN, stream=1_000_000)


def drain(receiver: Receiver, *, accept: bool = True) -> list[Event]:
    """All events that are ready; data of streamed literals joined."""
    events: list[Event] = []
    while (event := receiver.next()) is not None:
        if isinstance(event, LiteralOffered):
            if accept:
                receiver.accept_literal()
            else:
                receiver.refuse_literal()
        if isinstance(event, LiteralData) and events and isinstance(events[-1], LiteralData):
            events[-1] = LiteralData(events[-1].data + event.data)
            continue
        events.append(event)
    return events


def read(data: bytes, cuts: list[int], limits: Limits = STREAMING) -> list[Event]:
    receiver = Receiver(limits)
    events: list[Event] = []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        receiver.feed(data[start:end])
        for event in drain(receiver):
            if isinstance(event, LiteralData) and events and isinstance(events[-1], LiteralData):
                events[-1] = LiteralData(events[-1].data + event.data)
            else:
                events.append(event)
    return events


CASES: list[tuple[bytes, list[Event]]] = [
    (b"a NOOP\r\n", [Frame("a", (Atom(b"NOOP"),))]),
    (b"a NOOP\n", [Frame("a", (Atom(b"NOOP"),))]),
    (b"a NOOP \r\n", [Frame("a", (Atom(b"NOOP"),))]),
    (
        b'a LOGIN "j\\"o\\\\e" {4}\r\npass\r\n',
        [ContinueWanted(), Frame("a", (Atom(b"LOGIN"), Quoted(b'j"o\\e'), Literal(b"pass")))],
    ),
    (b"a LOGIN {0+}\r\n {3+}\r\n{9}\r\n", [Frame("a", (Atom(b"LOGIN"), Literal(b""), Literal(b"{9}")))]),
    (
        b"a x (b (NIL) ()) c\r\n",
        [Frame("a", (Atom(b"x"), List((Atom(b"b"), List((Atom(b"NIL"),)), List(()))), Atom(b"c")))],
    ),
    (
        b"a FETCH 1 (BODY.PEEK[HEADER.FIELDS (To {4+}\r\nFrom)]<0.5> UID)\r\n",
        [
            Frame(
                "a",
                (
                    Atom(b"FETCH"),
                    Atom(b"1"),
                    List(
                        (
                            Section(
                                b"BODY.PEEK",
                                (Atom(b"HEADER.FIELDS"), List((Atom(b"To"), Literal(b"From")))),
                                b"0.5",
                            ),
                            Atom(b"UID"),
                        )
                    ),
                ),
            )
        ],
    ),
    (b"a SELECT BODY[1]\r\n", [Frame("a", (Atom(b"SELECT"), Atom(b"BODY[1]")))]),
    (b'a SELECT ""\r\n', [Frame("a", (Atom(b"SELECT"), Quoted(b"")))]),
    (b"a SEARCH ~{2+}\r\n\0\1\r\n", [Frame("a", (Atom(b"SEARCH"), Literal(b"\0\1", binary=True)))]),
    (
        b"a APPEND INBOX (\\Seen) {5}\r\nhello\r\n",
        [
            LiteralOffered(
                "a", (Atom(b"APPEND"), Atom(b"INBOX"), List((Atom(b"\\Seen"),))), 5, sync=True, binary=False
            ),
            LiteralData(b"hello"),
            LiteralEnd(),
            Frame("a", (Atom(b"APPEND"), Atom(b"INBOX"), List((Atom(b"\\Seen"),)), Streamed(5))),
        ],
    ),
    (
        b"a append {5+}\r\nINBOX {0+}\r\n\r\n",
        [
            LiteralOffered("a", (Atom(b"append"), Literal(b"INBOX")), 0, sync=False, binary=False),
            LiteralEnd(),
            Frame("a", (Atom(b"append"), Literal(b"INBOX"), Streamed(0))),
        ],
    ),
    (b"\r\n", [Rejected(None, "Missing or invalid tag")]),
    (b"+ x\r\n", [Rejected(None, "Missing or invalid tag")]),
    (b'a x "open\r\n', [Rejected("a", "Unexpected character")]),
    (b"a x (\r\n", [Rejected("a", "Missing closing parenthesis")]),
    (b"a x )\r\n", [Rejected("a", "Unexpected closing parenthesis")]),
    (b'a "x""y"\r\n', [Rejected("a", "Missing space between arguments")]),
    (b"a x\ry\r\n", [Rejected("a", "Unexpected character")]),
    (b"a x\0y\r\n", [Rejected("a", "Unexpected character")]),
    # What is behind a refused synchronising literal is a new command; behind any other it is thrown away.
    (b"a x ) {3}\r\nb NOOP\r\n", [Rejected("a", "Unexpected closing parenthesis"), Frame("b", (Atom(b"NOOP"),))]),
    (
        b"a x ) {8+}\r\nb NOOP\r\n y\r\nc NOOP\r\n",
        [Rejected("a", "Unexpected closing parenthesis"), Frame("c", (Atom(b"NOOP"),))],
    ),
    (b"a x {70000}\r\nb NOOP\r\n", [Rejected("a", "Literal too long"), Frame("b", (Atom(b"NOOP"),))]),
    (
        b"a APPEND x {1000001}\r\nb NOOP\r\n",
        [Rejected("a", "Message too big", too_big=True), Frame("b", (Atom(b"NOOP"),))],
    ),
    (b"a x {10000000000+}\r\nb NOOP\r\n", [Rejected("a", "Literal too long", fatal=True)]),
]


@pytest.mark.parametrize(("data", "expected"), CASES, ids=lambda value: repr(value)[:50])
def test_whole_bytewise_and_with_a_tail(data: bytes, expected: list[Event]) -> None:
    assert read(data, []) == expected
    assert read(data, list(range(len(data)))) == expected
    tail = b"tail LOGOUT\r\n"
    broken = any(isinstance(event, Rejected) and event.fatal for event in expected)
    assert read(data + tail, []) == expected + ([] if broken else [Frame("tail", (Atom(b"LOGOUT"),))])


def test_a_big_literal_that_was_not_asked_for_is_read_and_thrown_away() -> None:
    receiver = Receiver(msgspec.structs.replace(AFTER_LOGIN, stream=100_000))
    receiver.feed(b"a APPEND x {150000+}\r\n")
    assert receiver.next() == Rejected("a", "Message too big", too_big=True)
    for _ in range(15):
        receiver.feed(bytes(10_000))
        assert receiver.next() is None
        assert receiver.pending == 0
    receiver.feed(b" more\r\nb NOOP\r\n")
    assert receiver.next() == Frame("b", (Atom(b"NOOP"),))


@pytest.mark.parametrize("sync", [True, False])
def test_a_refused_literal_leaves_no_trace(sync: bool) -> None:
    receiver = Receiver(STREAMING)
    receiver.feed(b"a APPEND x {3%s}\r\n" % (b"" if sync else b"+"))
    receiver.feed((b"" if sync else b"abc (\r\n") + b"b NOOP\r\n")
    events = drain(receiver, accept=False)
    assert isinstance(events[0], LiteralOffered)
    assert events[1:] == [Frame("b", (Atom(b"NOOP"),))]


def test_raw_lines_on_request() -> None:
    receiver = Receiver(BEFORE_LOGIN)
    receiver.feed(b"a AUTHENTICATE PLAIN\r\nAGEAYg==\r\nb NOOP\r\n")
    assert isinstance(receiver.next(), Frame)
    receiver.expect_line()
    assert receiver.next() == Line(b"AGEAYg==")
    assert receiver.next() == Frame("b", (Atom(b"NOOP"),))


def test_lines_that_are_no_commands_do_not_add_up() -> None:
    """Each is answered by itself; the owner, not this reader, decides when there were too many."""
    receiver = Receiver(BEFORE_LOGIN)
    line = b"(" * (BEFORE_LOGIN.line - 2) + b"\r\n"
    for _ in range(4):
        receiver.feed(line)
        assert receiver.next() == Rejected(None, "Missing or invalid tag")


def test_discard_forgets_what_came_before_tls() -> None:
    receiver = Receiver(BEFORE_LOGIN)
    receiver.feed(b"a STARTTLS\r\nb LOGIN evil evil\r\n")
    assert isinstance(receiver.next(), Frame)
    assert receiver.discard() == len(b"b LOGIN evil evil\r\n")
    assert receiver.next() is None
    assert receiver.between_commands


@pytest.mark.parametrize(
    "data",
    [
        b"a LOGIN {10000000000}\r\n",  # 10 GB announced by a stranger
        b"a LOGIN {10000000000+}\r\n",
        b"a " + b"(" * 100_000 + b"\r\n",
        b"a ID (" + b'"k" "v" ' * 100_000 + b")\r\n",
        b"a " + b"x" * 1_000_000,
        b"a LOGIN " + b"{1+}\r\nx " * 100_000 + b"\r\n",
        b'a LOGIN "' + b"\\\\" * 500_000,
        b"a x {" + b"9" * 100_000 + b"}\r\n",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_a_stranger_cannot_make_us_hold_more_than_the_limits(data: bytes) -> None:
    receiver = Receiver(BEFORE_LOGIN)
    rejected: list[Rejected] = []
    for start in range(0, len(data), 4096):
        receiver.feed(data[start : start + 4096])
        while (event := receiver.next()) is not None:
            if isinstance(event, Rejected):
                rejected.append(event)
        assert receiver.pending <= BEFORE_LOGIN.line + 4096
        if rejected and rejected[-1].fatal:
            assert receiver.pending == 0
            break
    assert rejected


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_slicing_never_matters(data: bytes, cuts: list[int]) -> None:
    small = Limits(line=60, literal=20, command=120, stream=40, tokens=12, depth=3)
    assert read(data, cuts, small) == read(data, [], small)


IMAPISH = st.lists(
    st.sampled_from(
        [
            b"a ",
            b"APPEND ",
            b"x",
            b" ",
            b"(",
            b")",
            b'"',
            b"\\",
            b"{3}\r\n",
            b"{2+}\r\n",
            b"~{1}\r\n",
            b"\r\n",
            b"FETCH ",
            b"BODY[",
            b"]",
            b"<0.1>",
            b"\r",
            b"\n",
            b"\0",
            b"\xff",
            b"{99+}\r\n",
            b"{21}\r\n",
            b"*",
            b"NIL",
            b"UID ",
        ]
    ),
    max_size=40,
).map(b"".join)


@given(IMAPISH, st.lists(st.integers(0, 120), max_size=8))
def test_slicing_never_matters_for_what_looks_like_imap(data: bytes, cuts: list[int]) -> None:
    small = Limits(line=60, literal=20, command=120, stream=40, tokens=12, depth=3)
    assert read(data, cuts, small) == read(data, [], small)


@given(IMAPISH)
def test_after_garbage_and_line_ends_a_command_is_understood_again(data: bytes) -> None:
    receiver = Receiver(Limits(stream=0))
    receiver.feed(data + b"\r\n" * 2)
    events = drain(receiver)
    if any(isinstance(event, Rejected) and event.fatal for event in events):
        return
    # At most one announced literal of 99 octets is still open.
    receiver.feed(b"\r\n" * 60 + b"z NOOP\r\n")
    assert drain(receiver)[-1] == Frame("z", (Atom(b"NOOP"),))


def test_many_literals_cost_linear_work() -> None:
    """One command of 20,000 tokens through one-byte literals: a quadratic reader would take minutes."""
    receiver = Receiver(Limits(line=65_536, literal=10, command=2_000_000, tokens=30_000))
    receiver.feed(b"a x" + b" {1+}\r\ny" * 20_000 + b"\r\n")
    frame = receiver.next()
    assert isinstance(frame, Frame)
    assert len(frame.tokens) == 20_001
