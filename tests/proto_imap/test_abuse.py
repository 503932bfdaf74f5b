"""What a logged-in client may send to make us work or hold much: refused at once, or done in bounded time."""

from __future__ import annotations

import time
import tracemalloc
from array import array

import pytest

from relay.proto.imap import commands as c
from relay.proto.imap import grammar, sequence
from relay.proto.imap import search as keys
from relay.proto.imap.capabilities import EVERYTHING
from relay.proto.imap.grammar import Invalid, Parsed
from relay.proto.imap.limits import AFTER_LOGIN
from relay.proto.imap.receiver import Frame, Receiver, Rejected
from relay.proto.imap.seqview import SeqView

FLOODS: list[bytes] = [
    b"SEARCH " + b"(" * 100_000 + b"ALL" + b")" * 100_000,
    b"SEARCH " + b"(" * 30_000 + b"ALL" + b")" * 30_000,
    b"SEARCH" + b" NOT" * 16_000 + b" ALL",
    b"SEARCH" + b" OR ALL" * 8_000 + b" ALL",
    b"SEARCH RETURN (" + b"ALL " * 15_000 + b") ALL",
    b"SORT (" + b"REVERSE DATE " * 4_900 + b") UTF-8 ALL",
    b"ID (" + b'"k" "v" ' * 100_000 + b")",
    b"ID (" + b'"k" "v" ' * 8_000 + b")",
    b"ENABLE" + b" X" * 30_000,
    b'LIST "" (' + b"% " * 19_000 + b")",
    b'LIST "" * RETURN (STATUS (' + b"MESSAGES " * 7_000 + b"))",
    b"FETCH 1 (" + b"BODY[1] " * 8_000 + b")",
    b"FETCH 1 BODY[" + b"1." * 30_000 + b"1]",
    b"FETCH 1 BODY[HEADER.FIELDS (" + b"x " * 19_000 + b")]",
    b"FETCH " + b"1:4294967295," * 5_000 + b"* FLAGS",
    b"STORE 1 FLAGS (" + b"x " * 19_000 + b")",
    b"STATUS x (" + b"SIZE " * 12_000 + b")",
    b'SETQUOTA "" (' + b"STORAGE 1 " * 6_000 + b")",
    b"CREATE " + b"a/" * 32_000,
    b"CREATE &" + b"AAAA" * 16_000 + b"-",
    b"SELECT x (" + b"QRESYNC (1 1) " * 4_000 + b")",
    b"LOGIN " + b"{1+}\r\nx " * 60_000 + b"y",
]


@pytest.mark.parametrize("text", FLOODS, ids=lambda text: repr(text[:24]))
def test_floods(text: bytes) -> None:
    tracemalloc.start()
    try:
        started = time.process_time()
        receiver = Receiver(AFTER_LOGIN)
        data = b"a " + text + b"\r\n"
        outcome: object = None
        for start in range(0, len(data), 65_536):
            receiver.feed(data[start : start + 65_536])
            while (event := receiver.next()) is not None:
                outcome = event
                if isinstance(event, Frame):
                    outcome = grammar.parse(event.tokens, offers=EVERYTHING)
        assert time.process_time() - started < 10.0
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert isinstance(outcome, (Parsed, Invalid, Rejected))


def test_a_set_over_everything_is_a_look_at_what_is_there() -> None:
    view = SeqView(array("I", range(1, 200_001)))
    numbers = sequence.parse(b",".join([b"1:4294967295"] * 5_000))
    assert numbers is not None
    started = time.process_time()
    found = view.resolve(numbers, by_uid=True)
    assert found is not None
    assert len(found) == 200_000
    assert view.resolve(numbers, by_uid=False) is None
    assert time.process_time() - started < 5.0


def test_a_saved_result_of_everything_shrinks_in_one_go() -> None:
    uids = array("I", range(1, 100_001))
    view = SeqView(uids)
    view.save(uids)
    view.vanish(range(1, 100_001, 2))
    started = time.process_time()
    view.tell(expunges=True)
    assert time.process_time() - started < 10.0
    assert view.resolve(sequence.SAVED, by_uid=True) == list(range(2, 100_001, 2))


def test_a_wide_search_is_bound_and_walked_once() -> None:
    text = b"SEARCH " + b" ".join(b"OR %d:%d" % (n, n + 5) for n in range(1, 45)) + b" SEEN"
    receiver = Receiver(AFTER_LOGIN)
    receiver.feed(b"a " + text + b"\r\n")
    frame = receiver.next()
    assert isinstance(frame, Frame)
    parsed = grammar.parse(frame.tokens)
    assert isinstance(parsed, Parsed)
    assert isinstance(parsed.command, c.Search)
    bound = keys.bind(parsed.command.key, messages=100, largest_uid=100)
    assert len(list(keys.leaves(bound))) == 45
