"""Values to their form on the wire (RFC 9051 4): strings, responses, response codes.

Promise: nothing that comes in can end a line early. Text that would becomes a literal, or loses its control characters
where a literal is not allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_ATOM = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+\Z')
_QUOTABLE = re.compile(rb"[^\x00\r\n\x80-\xff]{0,1000}\Z")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]+")
CRLF = b"\r\n"


def quoted(value: bytes) -> bytes:
    """A quoted string; the caller knows that it has no CR, LF or NUL."""
    if b"\\" in value or b'"' in value:
        value = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"' + value + b'"'


def literal(value: bytes) -> bytes:
    """A literal as a server sends it. NUL may not be in one (RFC 9051 9 CHAR8): 0x80, as Dovecot shows it."""
    if b"\x00" in value:
        value = value.replace(b"\x00", b"\x80")
    return b"{%d}\r\n%b" % (len(value), value)


def literal8(value: bytes) -> bytes:
    """A literal whose octets are anything (RFC 3516 4.4)."""
    return b"~{%d}\r\n%b" % (len(value), value)


def string(value: bytes) -> bytes:
    """Quoted where that is possible, else a literal."""
    return quoted(value) if _QUOTABLE.match(value) else literal(value)


def nstring(value: bytes | None) -> bytes:
    """A string, or NIL."""
    return b"NIL" if value is None else string(value)


def astring(value: bytes) -> bytes:
    """An atom where that is possible (and does not read as NIL), else a string."""
    if _ATOM.match(value) and value.upper() != b"NIL":
        return value
    return string(value)


def text(value: str) -> bytes:
    """Human text of a response: one line, never empty (RFC 9051 9 text)."""
    clean = _UNSAFE.sub(" ", value).strip() or "-"
    return clean.encode("ascii", "replace")


def untagged(*words: bytes) -> bytes:
    """`* ...`"""
    return b"* " + b" ".join(words) + CRLF


def condition(tag: str | None, status: str, message: str, code: bytes | None = None) -> bytes:
    """A status response: OK, NO, BAD, BYE or PREAUTH, with a response code where there is one."""
    head = f"{tag or '*'} {status} ".encode("ascii")
    return head + (b"[" + code + b"] " if code else b"") + text(message) + CRLF


def continuation(message: bytes = b"OK") -> bytes:
    """`+ ...`"""
    return b"+ " + message + CRLF


def parens(items: Iterable[bytes]) -> bytes:
    """A parenthesised list."""
    return b"(" + b" ".join(items) + b")"
