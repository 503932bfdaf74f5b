"""Sections: ranges lie inside the message and cut like the bytes do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.mime.section import Section, Slices, Text, find, pick, resolve, span
from relay.proto.mime.structure import parse

MESSAGE = (
    b"Subject: outer\r\nTo: a@b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nX: y\r\n\r\ntwo\r\n--b--\r\n"
)
ROOT = parse(MESSAGE)


def shown(section: Section) -> bytes:
    """The bytes on the wire."""
    where = span(ROOT, section)
    return joined(MESSAGE, resolve(ROOT, section, MESSAGE[slice(*where)] if where else b""))


def joined(data: bytes, slices: Slices) -> bytes:
    """Slices applied to a message."""
    return b"".join(data[start:end] for start, end in slices.ranges) + slices.suffix


@pytest.mark.parametrize(
    ("section", "content"),
    [
        (Section(), MESSAGE),
        (Section((), Text.HEADER), MESSAGE[: ROOT.body_start]),
        (Section((), Text.TEXT), MESSAGE[ROOT.body_start :]),
        (Section((), Text.FIELDS, (b"TO", b"x")), b"To: a@b\r\n\r\n"),
        (Section((), Text.FIELDS_NOT, (b"to", b"content-type")), b"Subject: outer\r\n\r\n"),
        (Section((1,)), b"one"),
        (Section((1,), Text.MIME), b"\r\n"),
        (Section((2,)), b"Subject: inner\r\nX: y\r\n\r\ntwo"),
        (Section((2,), Text.MIME), b"Content-Type: message/rfc822\r\n\r\n"),
        (Section((2,), Text.HEADER), b"Subject: inner\r\nX: y\r\n\r\n"),
        (Section((2,), Text.TEXT), b"two"),
        (Section((2,), Text.FIELDS, (b"subject",)), b"Subject: inner\r\n\r\n"),
        (Section((2, 1)), b"two"),
        (Section((3,)), b""),
        (Section((0,)), b""),
        (Section((1, 1)), b""),
        (Section((2, 2)), b""),
        (Section((1,), Text.HEADER), b""),
        (Section((9,), Text.FIELDS, (b"a",)), b""),
    ],
)
def test_sections(section: Section, content: bytes) -> None:
    """RFC 9051 6.4.5.1, one by one."""
    assert shown(section) == content


def test_single_part_message_is_its_own_part_one() -> None:
    """And has no part two."""
    root = parse(b"Subject: a\r\n\r\ntext")
    assert find(root, (1,)) is root
    assert find(root, (2,)) is None


def test_header_without_empty_line() -> None:
    """Fields left over show no empty line that is not there; chosen ones end with one, behind a line end."""
    data = b"A: 1\r\nB: 2"
    root = parse(data)
    assert joined(data, resolve(root, Section((), Text.FIELDS, (b"b",)), data)) == b"B: 2\r\n\r\n"
    assert joined(data, resolve(root, Section((), Text.FIELDS_NOT, (b"b",)), data)) == b"A: 1\r\n"


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=5),
    st.sampled_from([b"", b"\r\n"]),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_partials_cut_like_bytes(steps: list[tuple[int, int]], suffix: bytes, offset: int, count: int) -> None:
    """`<offset.count>`, past the end too; the size is told beforehand."""
    data = bytes(range(60))
    ranges, at = [], 0
    for gap, size in steps:
        ranges.append((at + gap, at + gap + size))
        at += gap + size
    slices = Slices(tuple(ranges), suffix)
    whole = joined(data, slices)
    assert slices.size == len(whole)
    part = slices.cut(offset, count)
    assert joined(data, part) == whole[offset : offset + count]
    assert part.size == len(whole[offset : offset + count])


@given(st.lists(st.sampled_from([b"A: 1\r\n", b"B: 2\r\n c\r\n", b"junk\r\n", b"C:\n"]), max_size=12))
def test_chosen_and_left_over_are_the_whole(lines: list[bytes]) -> None:
    """FIELDS and FIELDS.NOT of the same names share out the header."""
    header = b"".join(lines) + b"\r\n"
    names = (b"a", b"c")
    both = pick(header, names, wanted=True).ranges + pick(header, names, wanted=False).ranges
    assert b"".join(header[start:end] for start, end in sorted(both)) == header[:-2]
