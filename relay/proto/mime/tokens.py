"""Lexical pieces shared by every structured field: comments, atoms, quoted strings, phrases, domains (RFC 5322 3.2).

Bytes in, pieces out. A `Cursor` moves over one unfolded or folded field value; each method takes one piece and says
what lies behind it, as `Next`. The reading of broken input follows Dovecot, because clients already hold structures
that Dovecot made and compare them.

1. No recursion and no way back inside a method: the cost of one method is linear in what it passes over.
2. Never raises, whatever the bytes.
"""

from __future__ import annotations

import re
from enum import IntEnum

ATEXT_RANGES = rb"\x21\x23-\x27\x2a\x2b\x2d\x2f-\x39\x3d\x3f\x41-\x5a\x5e-\x7e\x80-\xff"
"""Inside a bracket: RFC 5322 3.2.3 atext, and every 8-bit byte (RFC 6532 3.2, and mail that never heard of it)."""
_ATOM = re.compile(rb"[" + ATEXT_RANGES + rb"]+")
_ATOM_OR_DOT = re.compile(rb"[." + ATEXT_RANGES + rb"]*")
_TOKEN_RANGES = ATEXT_RANGES.replace(rb"\x2f-\x39\x3d\x3f", rb"\x30-\x39")  # RFC 2045 5.1: atext without / = ?
_TOKEN = re.compile(rb"[." + _TOKEN_RANGES + rb"]*")
_WHITESPACE = re.compile(rb"[ \t\r\n]*")
_CFWS = frozenset(b" \t\r\n(")
_COMMENT_STOP = re.compile(rb"[()\\]")
_QUOTED_STOP = re.compile(rb'["\n\\]')
_LITERAL_STOP = re.compile(rb"[\]\\]")
ATEXT = frozenset(c for c in range(256) if _ATOM.match(bytes([c])))


class Next(IntEnum):
    """What a method found behind the piece that it took."""

    BROKEN = -1
    END = 0
    MORE = 1


class Cursor:
    """A place in one field value. `comment` is the text of the last comment passed, for `user@host (Real Name)`."""

    __slots__ = ("comment", "data", "end", "pos")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0
        self.end = len(data)
        self.comment = b""

    def peek(self) -> int:
        """The byte here, or -1 at the end."""
        return self.data[self.pos] if self.pos < self.end else -1

    def _behind(self) -> Next:
        return Next.MORE if self.pos < self.end else Next.END

    def skip_cfws(self) -> Next:
        """Pass blanks, line ends and comments (RFC 5322 3.2.2); BROKEN for a comment without its end."""
        data = self.data
        if self.pos < self.end and data[self.pos] not in _CFWS:  # as mostly
            return Next.MORE
        while True:
            self.pos = _WHITESPACE.match(data, self.pos).end()  # type: ignore[union-attr]  # matches the empty string
            if self.pos >= self.end or data[self.pos] != 0x28:
                return self._behind()
            if not self._skip_comment():
                return Next.BROKEN

    def _skip_comment(self) -> bool:
        data, depth = self.data, 1
        self.pos += 1
        start, text = self.pos, []
        while True:
            stop = _COMMENT_STOP.search(data, self.pos)
            if stop is None:
                self.pos = self.end
                return False
            at = stop.start()
            self.pos = at + 1
            what = data[at]
            if what == 0x28:
                depth += 1
            elif what == 0x29:
                depth -= 1
                if depth == 0:
                    text.append(data[start:at])
                    self.comment = b"".join(text)
                    return True
            else:
                text.append(data[start:at])
                start = self.pos
                if self.pos >= self.end:
                    return False
                self.pos += 1

    def atom(self, into: list[bytes]) -> Next:
        """One atom and the CFWS behind it."""
        match = _ATOM.match(self.data, self.pos)
        if match is None:
            return Next.BROKEN
        into.append(match[0])
        self.pos = match.end()
        return self.skip_cfws()

    def token(self, into: list[bytes]) -> Next:
        """One MIME token, possibly empty, and the CFWS behind it (RFC 2045 5.1)."""
        match = _TOKEN.match(self.data, self.pos)
        assert match is not None
        into.append(match[0])
        self.pos = match.end()
        return self.skip_cfws()

    def dot_atom(self, into: list[bytes]) -> Next:
        """`a.b.c`, with CFWS allowed around the dots (RFC 5322 4.4)."""
        match = _ATOM.match(self.data, self.pos)
        if match is None:
            return Next.BROKEN
        while True:
            into.append(match[0])
            self.pos = match.end()
            behind = self.skip_cfws()
            if behind is not Next.MORE:
                return behind
            if self.data[self.pos] != 0x2E:
                return Next.MORE
            into.append(b".")
            self.pos += 1
            if self.skip_cfws() is not Next.MORE:
                return Next.BROKEN
            match = _ATOM.match(self.data, self.pos)
            if match is None:
                return Next.BROKEN

    def quoted_string(self, into: list[bytes]) -> Next:
        """`"..."` without its quotes, escapes and line ends (RFC 5322 3.2.4); BROKEN without the closing quote."""
        data = self.data
        self.pos += 1
        start = self.pos
        while True:
            stop = _QUOTED_STOP.search(data, self.pos)
            if stop is None:
                self.pos = self.end
                return Next.BROKEN
            at = stop.start()
            self.pos = at + 1
            what = data[at]
            if what == 0x22:
                into.append(data[start:at])
                return self.skip_cfws()
            if what == 0x0A:
                into.append(data[start : at - 1 if at > start and data[at - 1] == 0x0D else at])
                start = self.pos
                continue
            if self.pos >= self.end:
                return Next.BROKEN
            into.append(data[start:at])
            start = self.pos
            self.pos += 1

    def phrase(self, into: list[bytes]) -> Next:
        """Words joined by one blank (RFC 5322 3.2.5 and its obsolete form with dots)."""
        if self.pos >= self.end:
            return Next.END
        if self.data[self.pos] == 0x2E:
            return Next.BROKEN
        while True:
            if self.data[self.pos] == 0x22:
                behind = self.quoted_string(into)
            else:
                match = _ATOM_OR_DOT.match(self.data, self.pos)
                assert match is not None
                into.append(match[0])
                self.pos = match.end()
                behind = self.skip_cfws()
            if behind is not Next.MORE:
                return behind
            here = self.data[self.pos]
            if here not in ATEXT and here not in b'".':
                return Next.MORE
            into.append(b" ")

    def domain(self, into: list[bytes]) -> Next:
        """What follows `@`: a dot-atom or a domain literal, brackets kept. The cursor stands on the `@`."""
        self.pos += 1
        if self.skip_cfws() is not Next.MORE:
            return Next.BROKEN
        if self.data[self.pos] != 0x5B:
            return self.dot_atom(into)
        start = self.pos
        while True:
            stop = _LITERAL_STOP.search(self.data, self.pos)
            if stop is None:
                self.pos = self.end
                return Next.BROKEN
            self.pos = stop.end()
            if stop[0] == b"]":
                into.append(self.data[start : self.pos])
                return self.skip_cfws()
            if self.pos >= self.end:
                return Next.BROKEN
            self.pos += 1


def clean(value: bytes) -> bytes:
    """NUL cannot travel in IMAP strings (RFC 9051 4.3): it becomes U+FFFD."""
    return value.replace(b"\0", b"\xef\xbf\xbd") if b"\0" in value else value
