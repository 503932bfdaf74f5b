"""Sections: which octets of a message they name, and which fields of a header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.mime.section import Section, Text, find, pick, span
from relay.proto.mime.structure import parse

MESSAGE = (
    b"Subject: outer\r\nTo: a@b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nX: y\r\n\r\ntwo\r\n--b--\r\n"
)
ROOT = parse(MESSAGE)


def shown(section: Section, message: bytes = MESSAGE) -> bytes:
    """The octets on the wire."""
    where = span(parse(message), section)
    return pick(message[slice(*where)], section) if where else b""


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
        (Section((1, 1)), b"one"),  # as in Dovecot: a leaf of a multipart is its own part 1, once
        (Section((1, 1, 1)), b""),
        (Section((2, 1, 1)), b""),
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
    assert find(root, (1, 1)) is None
    assert span(root, Section((1,), Text.MIME)) == (0, root.body_start)


def test_header_without_empty_line() -> None:
    """Fields left over show no empty line that is not there; chosen ones end with one, behind a line end."""
    data = b"A: 1\r\nB: 2"
    assert shown(Section((), Text.FIELDS, (b"b",)), data) == b"B: 2\r\n\r\n"
    assert shown(Section((), Text.FIELDS_NOT, (b"b",)), data) == b"A: 1\r\n"


@given(st.lists(st.sampled_from([b"A: 1\r\n", b"B: 2\r\n c\r\n", b"junk\r\n", b"C:\n"]), max_size=12))
def test_chosen_and_left_over_share_out_the_header(lines: list[bytes]) -> None:
    """FIELDS and FIELDS.NOT of the same names: every line is in one of them, in order."""
    names = (b"a", b"c")
    header = b"".join(lines) + b"\r\n"
    chosen = [line for line in lines if line[:1].lower() in names]
    left = [line for line in lines if line not in chosen]
    assert pick(header, Section((), Text.FIELDS, names)) == b"".join(chosen) + b"\r\n"
    assert pick(header, Section((), Text.FIELDS_NOT, names)) == b"".join(left) + b"\r\n"


def test_names_that_no_field_can_have_are_not_found() -> None:
    """A client may ask for anything."""
    header = b"a: 1\r\nno colon\r\n\r\n"
    for name in (b"", b"a:", b"a: 1\r\nno colon", b"no colon", b"."):
        assert pick(header, Section((), Text.FIELDS, (name,))) == (b"no colon\r\n\r\n" if name == b"" else b"\r\n"), (
            name
        )
    assert pick(header, Section((), Text.FIELDS, (b"A", b"a:"))) == b"a: 1\r\n\r\n"
