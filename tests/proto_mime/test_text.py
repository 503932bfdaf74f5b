"""Text for searches: character sets, transfer encodings, blocks, bounds."""

from __future__ import annotations

import base64
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.mime.structure import Part, parse
from relay.proto.mime.text import Finder, PartText, charset, decode, fold, header_text, part_text


def part(encoding: str, name: str = "utf-8") -> Part:
    """A text part with these fields."""
    return parse(
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset={name}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"a\r\n b", "a b"),
        (b"=?utf-8?Q?J=C3=BCrgen_x?=", "J\u00fcrgen x"),
        (b"=?UTF-8?b?w5w=?= =?utf-8?B?w5w=?=", "\u00dc\u00dc"),
        (b"=?utf-8?B?w5w=?=\r\n\t=?utf-8?B?w5w=?=", "\u00dc\u00dc"),
        (b"=?utf-8?B?w5w=?= and =?utf-8?B?w5w=?=", "\u00dc and \u00dc"),
        (b"=?utf-8?Q?=C3?= =?utf-8?Q?=9C?=", "\u00dc"),
        (b"=?iso-8859-1?Q?=FC?= =?utf-8?Q?=C3=BC?=", "\u00fc\u00fc"),
        (b"=?utf-8*de?Q?x?=", "x"),
        (b"=?no-such?Q?=C3=BC?=", "\u00fc"),
        (b"=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
        (b"=?utf-8?Q?unclosed", "=?utf-8?Q?unclosed"),
        (b"=?utf-8?B?w5?=", "\u00c3"),
        (b"raw \xfc", "raw \u00fc"),
        (b"raw \xc3\xbc", "raw \u00fc"),
        (b"x =?utf-8?Q?y?= z", "x y z"),
    ],
)
def test_header_text(value: bytes, text: str) -> None:
    """RFC 2047 6.2, and what mail makes of it."""
    assert header_text(value) == text


@pytest.mark.parametrize(
    ("name", "python"),
    [
        (b"UTF-8", "utf-8"), (b"us-ascii", "utf-8"), (b"ISO-8859-15", "iso8859-15"), (b"windows-1252", "cp1252"),
        (b"no-such", "utf-8"), (b"", "utf-8"), (b"\xff", "utf-8"), (b"zlib", "utf-8"), (b"rot13", "utf-8"),
        (b"base64", "utf-8"), (b"idna", "utf-8"), (b"punycode", "utf-8"), (b"unicode_escape", "utf-8"),
        (b"undefined", "utf-8"), (b"gb2312", "gb18030"), (b"a\0b", "utf-8"),
    ],
)  # fmt: skip
def test_charset(name: bytes, python: str) -> None:
    """Only character sets; what else Python can decode is not asked for."""
    assert charset(name) == python


PLAIN = st.characters(exclude_characters="\x0e\x0f\x1b", exclude_categories=["Cs"])
"""No shifts and escapes: where they are text, an encoder makes of them what no decoder takes."""


@given(st.text(PLAIN, max_size=200), st.sampled_from(["utf-8", "utf-16", "iso-2022-jp", "gb18030"]), st.integers(1, 9))
def test_blocks_change_nothing(text: str, name: str, size: int) -> None:
    """Escapes, groups and characters split between blocks come together again."""
    raw = text.encode(name, "ignore")
    plain = raw.decode(name)
    for encoding, body in (
        ("8bit", raw),
        ("base64", base64.encodebytes(raw)),
        ("quoted-printable", quopri.encodestring(raw)),
    ):
        reader = PartText(part(encoding, name))
        made = "".join(reader.feed(body[at : at + size]) for at in range(0, len(body), size)) + reader.finish()
        if encoding == "quoted-printable":
            # The standard library's encoder leaves line ends as they are, and so do we.
            assert made == quopri.decodestring(body).decode(name)
        else:
            assert made == plain


@given(
    st.binary(max_size=300),
    st.sampled_from(["8bit", "base64", "quoted-printable", "x-odd"]),
    st.sampled_from(
        ["utf-8", "us-ascii", "utf-16", "utf-32", "iso-2022-kr", "hz", "shift_jis", "big5", "cp037", "zlib"]
    ),
    st.integers(1, 40),
)
def test_bytes_never_raise_nor_grow(body: bytes, encoding: str, name: str, size: int) -> None:
    """Whatever the bytes say they are."""
    reader = PartText(part(encoding, name))
    made = "".join(reader.feed(body[at : at + size]) for at in range(0, len(body), size)) + reader.finish()
    assert len(made) <= len(body) + 8
    assert header_text(body) is not None


def test_limit() -> None:
    """No more than asked for is decoded."""
    assert part_text(part("8bit"), b"x" * 100, limit=10) == "x" * 10


def test_broken_transfer_encodings() -> None:
    """What can be read is read."""
    assert part_text(part("base64"), b"SGVs\r\nbG8=\r\n-- \r\n").startswith("Hello")
    assert part_text(part("base64"), b"SGVsb") == "Hel"
    assert part_text(part("quoted-printable"), b"a=ZZb=\r\nc=") == "a=ZZbc="
    assert part_text(part("BASE64 "), b"SGk=") == "Hi"
    assert decode(b"\xff\xfe", b"utf-8") == "\u00ff\u00fe"


@given(st.text("ab\u00df\u0130 ", max_size=30), st.text("ab\u00dfS\u0130", max_size=4), st.integers(1, 5))
def test_finder(hay: str, needle: str, size: int) -> None:
    """Across every seam."""
    finder = Finder(needle)
    for at in range(0, len(hay), size):
        finder.feed(hay[at : at + size])
    assert finder.found == (fold(needle) in fold(hay))


def test_fold() -> None:
    """Without case, in one composition."""
    assert fold("STRASSE") == fold("stra\u00dfe")
    assert fold("J\u00dcRGEN") == fold("ju\u0308rgen")
