"""Header sections: fields cover them byte for byte, limits hold, blocks change nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.mime.header import (
    FieldFinder,
    HeaderLimits,
    HeaderScanner,
    find_message_id,
    header_end,
    iter_fields,
    message_id,
    scan,
)

PIECES = (b"Subject: a", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"X", b"\0", b"\xff", b"Message-ID: <a@b>")
soup = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)


@given(soup, st.integers(1, 200), st.integers(1, 30))
def test_the_message_id_alone_is_what_all_fields_say(data: bytes, size: int, fields: int) -> None:
    limits = HeaderLimits(size=size, fields=fields)
    assert find_message_id(data, limits) == scan(data, limits).message_id()


@given(soup, st.integers(1, 200), st.integers(1, 30), st.integers(1, 9))
def test_fields_cover_the_section(data: bytes, size: int, fields: int, block: int) -> None:
    """Fields lie end to end; only the empty line is none; scanning block by block finds the same."""
    limits = HeaderLimits(size=size, fields=fields)
    section = scan(data, limits)
    assert len(section.data) <= size
    assert data.startswith(section.data)
    assert len(section.fields) <= fields
    at = 0
    for field in section.fields:
        assert field.start == at
        assert field.start <= field.value <= field.end
        at = field.end
        section.value(field)
    assert section.data[at:] in (b"", b"\n", b"\r\n")
    scanner = HeaderScanner(limits)
    found = None
    for start in range(0, len(data), block):
        found = found or scanner.feed(data[start : start + block])
    if found is not None:
        assert scanner.feed(b"more") == found
    assert scanner.finish() == section


def test_half_a_million_lines_are_a_bounded_number_of_fields() -> None:
    """Neither fields nor bytes beyond the limits; the scanner keeps nothing of the rest."""
    data = b"X: y\r\n" * 500_000 + b"\r\nbody"
    section = scan(data)
    assert not section.complete
    assert len(section.data) == HeaderLimits().size
    assert len(section.fields) == HeaderLimits().fields
    assert section.fields[-1].name == b""
    scanner = HeaderScanner()
    assert scanner.feed(data) == section
    assert len(scanner._data) == 0


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", -1), (b"\r\n", 2), (b"\n", 1), (b"\r", -1), (b"a: b\r\n\r\nx", 8), (b"a: b\n\nx", 6), (b"a: b\r\n\nx", 7),
        (b"a: b\r\r\n\r\n", 9), (b"a: b\n\r\r\n", -1), (b"a: b", -1), (b"\r\nbody\r\n\r\n", 2),
    ],
)  # fmt: skip
def test_end_of_header(data: bytes, end: int) -> None:
    """The first empty line, with CRLF or LF alone; never CR alone."""
    assert header_end(data) == end


def test_names_and_values() -> None:
    """Names without case and blanks, values unfolded, repetitions in order."""
    section = scan(
        b"Received: one\r\n two\r\nRECEIVED : three\r\nno colon\r\nDate:  Mon \r\nMessage-ID:\r\n <a@b>\r\n\r\nx"
    )
    assert list(section.all(b"received")) == [b"one two", b"three"]
    assert section.first(b"X-None") is None
    assert section.date() == b"Mon"
    assert section.message_id() == b"<a@b>"
    assert [field.name for field in section.fields] == [b"received", b"received", b"", b"date", b"message-id"]
    assert section.complete


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, None), (b"", None), (b" ", None), (b"<a@b>", b"<a@b>"), (b"(x) <a@b> <c@d>", b"<a@b>"),
        (b"< a @\t b >", b"<a@b>"), (b"a@b", b"a@b"), (b"<a<b@c>", b"<b@c>"), (b"<", b"<"),
    ],
)  # fmt: skip
def test_message_id(value: bytes | None, found: bytes | None) -> None:
    """The first identifier, without blanks."""
    assert message_id(value) == found


@given(
    st.lists(st.sampled_from([b"a", b"A", b"b-c", b":", b"\r\n", b"\n", b" ", b"\t", b"x", b"\r"]), max_size=24),
    st.sets(st.sampled_from([b"a", b"b-c", b"x"]), min_size=1),
)
def test_fields_found_by_name_are_those_that_are_there(pieces: list[bytes], names: set[bytes]) -> None:
    """The leap from name to name sees what the reading of every field sees."""
    data = b"".join(pieces)
    end = header_end(data)
    section = data[:end] if end >= 0 else data
    expected = [field for field in iter_fields(section, 0, len(section), 1_000) if field.name in names]
    assert list(FieldFinder(names).find(section, 1_000)) == expected
    assert list(FieldFinder(names).find(section, 1)) == expected[:1]
    for limit in (1, 1_000):
        assert FieldFinder(names).join(section, limit) == b"".join(section[f.start : f.end] for f in expected[:limit])
