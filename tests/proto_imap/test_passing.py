"""What a proxy changes of a conversation: the answer to CAPABILITY, and nothing else, however the octets are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap.passing import Passing, passable

SHOWN = b"* CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS AUTH=PLAIN STARTTLS COMPRESS=DEFLATE IDLE SORT\r\n"
LEFT = b"* CAPABILITY IMAP4rev1 IDLE SORT\r\n"
BODY = b"* 1 FETCH (BODY[] {%d}\r\n%s)\r\n" % (len(SHOWN) + 2, b"\r\n" + SHOWN)
QUOTED = b'* 1 FETCH (ENVELOPE ("* CAPABILITY STARTTLS"))\r\n* OK [CAPABILITY STARTTLS] hm\r\n'


OTHERS = [BODY, QUOTED, b"* 3 EXISTS\r\n", b"x OK done\r\n", b"* C\r\n", b"+ go\r\n"]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(data)]
    return [data[one:two] for one, two in itertools.pairwise(edges)]


def test_what_a_proxy_cannot_keep() -> None:
    assert passable(["IMAP4rev1", "starttls", "AUTH=PLAIN", "IDLE", "compress=DEFLATE"]) == ["IMAP4rev1", "IDLE"]


@given(st.data())
def test_only_the_answer_is_changed_however_it_is_cut(data: st.DataObject) -> None:
    lines = data.draw(st.lists(st.sampled_from(OTHERS)))
    place = data.draw(st.integers(0, len(lines)))
    stream = b"".join([*lines[:place], SHOWN, *lines[place:]])
    passing = Passing()
    passing.client_said(b"a NOOP\r\nb capability\r\n")
    pieces = cut(stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    out = b"".join(passing.feed(piece) for piece in pieces)
    assert out == b"".join([*lines[:place], LEFT, *lines[place:]])
    assert passing.at_line_start
    # The next one was not asked for: it is somebody's business, not ours.
    assert passing.feed(SHOWN) == SHOWN


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6), st.booleans())
def test_no_octet_is_lost(stream: bytes, at: list[int], asked: bool) -> None:
    passing = Passing()
    if asked:
        passing.client_said(b"a CAPABILITY\r\n")
    out = b"".join(passing.feed(piece) for piece in cut(stream, [min(one, len(stream)) for one in at]))
    if not asked or b"* CAPABILITY" not in stream.upper():
        assert stream.startswith(out)
        assert b"* CAPABILITY ".startswith(stream[len(out) :].upper())


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (b"a CAPABILITY\r\n", True),
        (b"a1 noop\r\na2 Capability\r\n", True),
        (b"DONE\r\nx CAPABILITY\r\n", True),
        (b"a LOGIN CAPABILITY x\r\n", False),
        (b"a CAPABILITYX\r\n", False),
        (b"x" * 5000 + b"\r\na CAPABILITY\r\n", False),
    ],
)
def test_what_counts_as_the_question(said: bytes, asked: bool) -> None:
    passing = Passing()
    passing.client_said(said)
    assert passing.feed(SHOWN) == (LEFT if asked else SHOWN)


def test_a_held_beginning_is_the_middle_of_a_line() -> None:
    passing = Passing()
    passing.client_said(b"a CAPABILITY\r\n")
    assert passing.feed(SHOWN[:20]) == b""
    assert not passing.at_line_start
    assert passing.feed(SHOWN[20:]) == LEFT
    assert passing.at_line_start


def test_a_line_without_end_is_not_held_for_ever() -> None:
    passing = Passing()
    passing.client_said(b"a CAPABILITY\r\n")
    sent = b"* CAPABILITY " + b"X" * 10_000
    assert passing.feed(sent) == sent


def test_nothing_is_put_into_a_compressed_stream() -> None:
    passing = Passing()
    passing.client_said(b"a COMPRESS DEFLATE\r\n")
    assert passing.feed(b"a OK DEFLATE active\r\n") == b"a OK DEFLATE active\r\n"
    assert not passing.at_line_start


def test_the_servers_own_goodbye() -> None:
    passing = Passing()
    passing.feed(b"* 1 EXISTS\r\n")
    assert not passing.said_bye
    passing.feed(b"* BYE maintenance\r\n")
    assert passing.said_bye
