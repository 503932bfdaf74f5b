"""THREAD: the cases of RFC 5256 and Zawinski, that no message is lost or doubled, and that no header makes it slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap.sorting import Sortable, base_subject, collate
from relay.proto.imap.threads import (
    MOST_REFERENCES,
    Threadable,
    by_references,
    by_subject,
    encode,
    message_ids,
    references,
)


def message(number: int, subject: str = "", refs: str = "", name: str | None = None, sent: float = 0.0) -> Threadable:
    """Message `number`, with Message-ID `<number>` unless it has another name."""
    base = base_subject(subject)
    return Threadable(
        Sortable(number, sent=sent or float(number), subject=collate(base.text)),
        is_reply=base.changed,
        message_id=(name or str(number)).encode(),
        references=tuple(ref.encode() for ref in refs.split()),
    )


CASES: list[tuple[str, list[Threadable], bytes]] = [
    ("none", [], b""),
    ("alone", [message(1), message(2)], b"(1)(2)"),
    ("a reply", [message(1), message(2, refs="1")], b"(1 2)"),
    ("two replies", [message(1), message(2, refs="1"), message(3, refs="1")], b"(1 (2)(3))"),
    (
        "the example of the RFC",
        [message(2), *(message(n, refs=r) for n, r in ((3, ""), (6, "3"), (4, "3 6"), (23, "3 6 4"))),
         *(message(n, refs=r) for n, r in ((44, "3 6"), (7, "3 6 44"), (96, "3 6 44 7")))],
        b"(2)(3 6 (4 23)(44 7 96))",
    ),
    ("the parent comes later", [message(1, refs="2"), message(2)], b"(2 1)"),
    ("an absent parent of one", [message(1, refs="x")], b"(1)"),
    ("an absent parent of two", [message(1, refs="x"), message(2, refs="x")], b"((1)(2))"),
    ("an absent one in between", [message(1), message(2, refs="1 x")], b"(1 2)"),
    ("absent ones above each other", [message(1, refs="x y"), message(2, refs="x z")], b"((1)(2))"),
    ("references tell of others", [message(1), message(2), message(3, refs="1 2")], b"(1 2 3)"),
    ("a later message without references has no parent", [message(3, refs="1 2"), message(2)], b"(2 3)"),
    ("the last reference is the word of the message", [message(1), message(2), message(3, refs="1 2"),
     message(4, refs="2 1")], b"(1 (2 3)(4))"),
    ("a message that answers itself", [message(1, refs="1")], b"(1)"),
    ("two that answer each other", [message(1, refs="2"), message(2, refs="1")], b"(2 1)"),
    ("one Message-ID twice", [message(1, name="a"), message(2, name="a"), message(3, refs="a")], b"(1 3)(2)"),
    ("siblings by date", [message(1), message(2, refs="1", sent=9.0), message(3, refs="1", sent=5.0)], b"(1 (3)(2))"),
    ("threads by date", [message(1, sent=9.0), message(2, sent=5.0)], b"(2)(1)"),
    ("one subject, an answer", [message(1, "x"), message(2, "Re: x")], b"(1 2)"),
    ("one subject, the answer first", [message(1, "Re: x"), message(2, "x")], b"(2 1)"),
    ("one subject, no answer", [message(1, "x"), message(2, "x")], b"((1)(2))"),
    ("one subject, no answer, three", [message(1, "x"), message(2, "X"), message(3, "x")], b"((1)(2)(3))"),
    ("one subject, only answers", [message(1, "Re: x"), message(2, "Re: x")], b"((1)(2))"),
    ("one subject, a place", [message(1, "x", refs="a"), message(2, "x", refs="a"), message(3, "Re: x")],
     b"((1)(2)(3))"),
    ("one subject, two places",
     [message(1, "x", refs="a"), message(2, "x", refs="a"), message(3, "x", refs="b"), message(4, "x", refs="b")],
     b"((1)(2)(3)(4))"),
    ("no subject is no subject", [message(1, ""), message(2, "Re:")], b"(1)(2)"),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_references(messages: list[Threadable], expected: bytes) -> None:
    assert encode(by_references(messages)) == expected


SUBJECTS: list[tuple[list[Threadable], bytes]] = [
    ([], b""),
    ([message(1, "a"), message(2, "b")], b"(1)(2)"),
    ([message(1, "a"), message(2, "Re: A")], b"(1 2)"),
    ([message(1, "a"), message(2, "b"), message(3, "a"), message(4, "Re: a")], b"(1 (3)(4))(2)"),
    ([message(1, "a", sent=9.0), message(2, "b", sent=5.0), message(3, "a", sent=1.0)], b"(3 1)(2)"),
]


@pytest.mark.parametrize(("messages", "expected"), SUBJECTS)
def test_ordered_subject(messages: list[Threadable], expected: bytes) -> None:
    assert encode(by_subject(messages)) == expected


IDS = st.sampled_from(["1", "2", "3", "4", "5", "6", "a", "b"])
MAILBOX = st.lists(
    st.tuples(st.sampled_from(["", "x", "Re: x", "y", "Re: y"]), st.lists(IDS, max_size=4), st.booleans()), max_size=7
)


@given(MAILBOX, st.lists(st.integers(1, 9), min_size=7, max_size=7))
def test_every_message_is_there_once(mailbox: list[tuple[str, list[str], bool]], sent: list[int]) -> None:
    messages = [
        message(n, subject, " ".join(refs), None if named else "1", float(sent[n - 1]))
        for n, (subject, refs, named) in enumerate(mailbox, 1)
    ]
    for algorithm in (by_references, by_subject):
        wire = encode(algorithm(messages))
        assert sorted(int(n) for n in re.findall(rb"[0-9]+", wire)) == list(range(1, len(messages) + 1))
        # thread-list: chains, then nothing or two lists at least (RFC 5256 5).
        left = wire
        while left != (left := re.sub(rb"\((?:[0-9]+(?: [0-9]+)*)?(?: ?T{2,})?\)(?<!\(\))", b"T", left)):
            pass
        assert re.fullmatch(rb"T*", left), wire


def bounded(messages: list[Threadable]) -> bytes:
    started = time.process_time()
    wire = encode(by_references(messages))
    by_subject(messages)
    assert time.process_time() - started < 20.0
    return wire


MANY = 20_000


def test_one_thread_as_deep_as_the_mailbox() -> None:
    wire = bounded([message(n, refs=str(n - 1)) for n in range(1, MANY)])
    assert wire == b"(" + b" ".join(b"%d" % n for n in range(1, MANY)) + b")"


def test_one_thread_that_branches_at_every_message() -> None:
    messages = [message(n, refs=str(n - 2 + n % 2)) for n in range(2, MANY)]
    assert bounded(messages).count(b"(") > MANY // 2


def test_everybody_answers_everybody() -> None:
    chain = " ".join(str(n) for n in range(500))
    backwards = " ".join(str(n) for n in reversed(range(500)))
    bounded([message(n, refs=chain if n % 2 else backwards) for n in range(500)])


def test_absent_ones_in_a_long_chain() -> None:
    chain = " ".join(f"x{n}" for n in range(100_000))
    assert bounded([message(1, refs=chain), message(2, refs=chain)]) == b"((1)(2))"


def test_one_subject_for_all() -> None:
    bounded([message(n, "x" if n % 2 else "Re: x") for n in range(1, MANY)])


def test_message_ids() -> None:
    assert message_ids(b"<a@b> junk\r\n <c@\r\n d> <e@f>,<g@h>") == (b"a@b", b"e@f", b"g@h")
    assert message_ids(b"<" * 100_000) == ()
    assert references(b"<a>  <b>", b"<c>") == (b"a", b"b")
    assert references(b"nothing", b"<c> <d>") == (b"c",)
    assert references(None, None) == ()
    many = b" ".join(b"<%d>" % n for n in range(5000))
    assert references(many, None) == tuple(b"%d" % n for n in range(5000 - MOST_REFERENCES, 5000))
