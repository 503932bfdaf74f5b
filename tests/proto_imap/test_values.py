"""Sequence sets, names, patterns, flags, dates, encoding: round trips and bounds."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.proto.imap import dates, encode, flags, names, sequence
from relay.proto.imap.flags import Flags, System
from relay.proto.imap.limits import Limits
from relay.proto.imap.tokens import Atom, Literal, Quoted, Tokeniser

NUMBERS = st.sets(st.integers(1, 60), max_size=30)


@given(NUMBERS)
def test_compact_sets_name_exactly_their_numbers(numbers: set[int]) -> None:
    text = sequence.compact(sorted(numbers))
    if not numbers:
        assert text == b""
        return
    found = sequence.parse(text)
    assert found is not None
    assert found.select(range(1, 100)) == sorted(numbers)


ENDS = st.one_of(st.integers(1, 40).map(str), st.just("*"))


@given(st.lists(st.tuples(ENDS, ENDS), min_size=1, max_size=6), st.integers(0, 30))
def test_resolution_agrees_with_the_words_of_the_rfc(pairs: list[tuple[str, str]], largest: int) -> None:
    found = sequence.parse(",".join(f"{a}:{b}" for a, b in pairs).encode())
    assert found is not None
    expected: set[int] = set()
    for a, b in pairs:
        low, high = sorted(largest if end == "*" else int(end) for end in (a, b))
        expected |= set(range(low, high + 1))
    if largest == 0:
        expected = set()
    assert {n for n in range(1, 50) if found.contains(n, largest)} == expected
    assert found.select(range(1, largest + 1)) == sorted(n for n in expected if n <= largest)


@pytest.mark.parametrize(
    "text", [b"", b"0", b"1,", b",1", b"1:", b":1", b"1:2:3", b"a", b"4294967296", b"1 2", b"**", b"01"]
)
def test_what_is_no_set(text: bytes) -> None:
    assert sequence.parse(text) is None


def test_a_range_over_everything_costs_nothing() -> None:
    found = sequence.parse(b"1:4294967295," * 5000 + b"*")
    assert found is not None
    assert found.select([5, 4294967295]) == [5, 4294967295]


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=40))
@example("&")
@example("~peter/mail/台北/日本語")
@example("a&-b")
def test_modified_utf7_round_trip(name: str) -> None:
    wire = names.encode(name)
    assert re.fullmatch(rb"[\x20-\x7e]*", wire)
    expected = unicodedata.normalize("NFC", name)
    if expected.partition("/")[0].upper() == "INBOX":
        expected = "INBOX" + expected[5:]
    assert names.decode(wire) == expected


def test_the_rfc_example() -> None:
    assert names.encode("~peter/mail/台北/日本語") == b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"


@pytest.mark.parametrize(
    "wire",
    [
        b"&",
        b"&A",
        b"&AA-",
        b"&AGEAYg-",
        b"a\rb",
        b"a\nb",
        b"a\0b",
        b"&AAoACg-",
        b"\xff",
        b"x" * 1001,
        b"&2AA-",
        b"&AOk=-",
    ],
)
def test_names_that_are_refused(wire: bytes) -> None:
    with pytest.raises(names.BadName):
        names.decode(wire)


def test_raw_utf8_and_raw_ampersand() -> None:
    assert names.decode("Entwürfe".encode()) == "Entwürfe"
    assert names.decode(b"R&D", utf8=True) == "R&D"


@given(st.binary(max_size=30))
def test_names_never_fail_otherwise(wire: bytes) -> None:
    for utf8 in (True, False):
        try:
            name = names.decode(wire, utf8=utf8)
        except names.BadName:
            continue
        assert not set(name) & set("\r\n\0")


@given(st.text("ab/*%", max_size=8), st.text("ab/", max_size=10))
def test_patterns_agree_with_a_regular_expression(pattern: str, name: str) -> None:
    expression = "".join(".*" if c == "*" else "[^/]*" if c == "%" else re.escape(c) for c in pattern)
    assert names.Pattern(pattern).matches(name) == bool(re.fullmatch(expression, name))


def test_exponential_patterns_are_linear() -> None:
    assert not names.Pattern("%a*" * 300 + "x").matches("a" * 1000)


@given(st.lists(st.text("ab/*%", max_size=5), max_size=5), st.text("ab/", max_size=8))
def test_several_patterns_do_not_run_into_each_other(patterns: list[str], name: str) -> None:
    assert names.Pattern(*patterns).matches(name) == any(names.Pattern(one).matches(name) for one in patterns)


def test_inbox_in_patterns_has_no_case() -> None:
    assert names.Pattern("inbox").matches("INBOX")
    assert names.Pattern("iNbox/%").matches("INBOX/x")


def test_flags_are_sets_without_case() -> None:
    a = flags.parse([b"\\seen", b"Junk", b"JUNK", b"\\FLAGGED"])
    assert a == Flags(System.SEEN | System.FLAGGED, ("Junk",))
    assert a.plus(Flags(System.DRAFT, ("junk", "b"))) == Flags(
        System.SEEN | System.FLAGGED | System.DRAFT, ("Junk", "b")
    )
    assert a.minus(Flags(System.SEEN, ("junk",))) == Flags(System.FLAGGED)
    assert a.encode() == b"\\Flagged \\Seen Junk"


@given(st.floats(0, 4e9))
def test_date_times_round_trip(unix: float) -> None:
    assert dates.parse_date_time(dates.date_time(unix)) == int(unix)


@given(st.text("0123456789-: +JanFeb", max_size=30))
def test_dates_never_fail(text: str) -> None:
    dates.parse_date_time(text.encode())
    dates.parse_date(text.encode())
    dates.header_date(text)


def test_header_dates_name_the_day_as_written() -> None:
    for text in ("Mon, 2 Feb 2026 23:59:59 -1200", "2 Feb 26 00:00 GMT", "Monday, 02 February 2026 10:00:00 +0000"):
        day = dates.header_date(text)
        assert day is not None
        assert (day.year, day.month, day.day) == (2026, 2, 2)


def read_back(wire: bytes) -> bytes:
    """What a parser makes of one encoded string."""
    tokeniser = Tokeniser(Limits(literal=10_000))
    line, _, rest = wire.partition(b"\r\n")
    head = tokeniser.line(line)
    if head is not None:
        assert len(rest) == head.size
        tokeniser.literal(Literal(rest))
    (token,) = tokeniser.finish()
    assert isinstance(token, (Atom, Quoted, Literal))
    return token.value


@given(st.binary(max_size=60))
@example(b"")
@example(b"NIL")
@example(b'a"b\\c')
@example(b"x" * 2000)
def test_strings_survive(value: bytes) -> None:
    expected = value.replace(b"\0", b"\x80")
    assert read_back(encode.string(value)) == expected
    assert read_back(encode.astring(value)) == expected


@given(st.text(max_size=60))
def test_human_text_stays_on_its_line(text: str) -> None:
    line = encode.condition("a", "NO", text, b"UNAVAILABLE")
    assert line.endswith(b"\r\n")
    assert not re.search(rb"[\r\n\0]", line[:-2])
    assert line.isascii()
