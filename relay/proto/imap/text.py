"""Text of messages as people read it, for SEARCH (RFC 9051 6.4.4): encoded words, transfer encodings, charsets undone.

Nothing here fails: what cannot be decoded is read as Latin-1, so that ASCII words in it are still found. Linear time.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from collections.abc import Iterator

from relay.proto.mime.envelope import unfold
from relay.proto.mime.header import iter_fields
from relay.proto.mime.structure import Part

# Bounded repetition: an unbounded one is quadratic on "=?a?q?=?a?q?...".
_WORD = re.compile(rb"=\?([!-<>@-~]{1,60})\?([qQbB])\?([!->@-~]{0,400})\?=")
_BETWEEN = re.compile(rb"(\?=)[ \t\r\n]+(?==\?)")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
MOST_FIELDS = 2_000


def decode(data: bytes, charset: str) -> str:
    """Text in a named charset, or as near as can be."""
    for name in (charset, "utf-8"):
        try:
            return data.decode(name)
        except (UnicodeError, LookupError, ValueError):
            continue
    return data.decode("latin-1")


def value(raw: bytes) -> str:
    """A header value with its encoded words decoded (RFC 2047)."""
    flat = unfold(raw)
    if b"=?" not in flat:
        return decode(flat, "utf-8")
    flat = _BETWEEN.sub(rb"\1", flat)  # RFC 2047 6.2: blanks between two encoded words are not shown
    parts: list[str] = []
    position = 0
    for found in _WORD.finditer(flat):
        parts.append(decode(flat[position : found.start()], "utf-8"))
        charset = found[1].partition(b"*")[0].decode("ascii")
        coded = _base64(found[3]) if found[2] in b"bB" else quopri.decodestring(found[3], header=True)
        parts.append(decode(coded, charset))
        position = found.end()
    parts.append(decode(flat[position:], "utf-8"))
    return "".join(parts)


def _base64(data: bytes) -> bytes:
    clean = _NOT_BASE64.sub(b"", data)
    try:
        return base64.b64decode(clean[: len(clean) // 4 * 4] + clean[len(clean) // 4 * 4 :].ljust(4, b"="))
    except (binascii.Error, ValueError):
        return base64.b64decode(clean[: len(clean) // 4 * 4])


def fields(header: bytes) -> dict[str, list[str]]:
    """Decoded values of a header section by lower-case field name."""
    found: dict[str, list[str]] = {}
    for field in iter_fields(header, 0, len(header), MOST_FIELDS):
        found.setdefault(field.name.decode("latin-1"), []).append(value(header[field.value : field.end]).strip())
    return found


def parts(root: Part) -> Iterator[Part]:
    """All parts, the message itself first, in order."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        yield part
        waiting.extend(reversed(part.children))


_AS_IT_IS = frozenset({b"7bit", b"8bit", b"binary", b""})


def untransferred(encoding: bytes, body: bytes) -> bytes | None:
    """A body with its transfer encoding undone (RFC 2045 6); None when nobody knows the encoding."""
    encoding = encoding.lower()
    if encoding == b"base64":
        return _base64(body)
    if encoding == b"quoted-printable":
        return quopri.decodestring(body)
    return body if encoding in _AS_IT_IS else None


def part_text(part: Part, body: bytes) -> str:
    """The text of one leaf from its raw body."""
    plain = untransferred(part.encoding, body)
    body = body if plain is None else plain
    charset = next((v for name, v in part.params if name.lower() == b"charset"), b"us-ascii")
    return decode(body, charset.decode("latin-1"))
