"""Mailbox names: modified UTF-7 (RFC 3501 5.1.3), what a name may be, and LIST patterns (RFC 9051 6.3.9).

A name inside the relay is text without surrogates; on the wire of IMAP4rev1 it is modified UTF-7. `INBOX` is one
mailbox in every case.
"""

from __future__ import annotations

import binascii
import re
import unicodedata
from collections.abc import Sequence

DELIMITER = "/"
LONGEST = 1_000
"""Octets of a name on the wire, UTF-8 or modified UTF-7."""

_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")
_DIRECT = re.compile(rb"[\x20-\x25\x27-\x7e]+")
_TO_ENCODE = re.compile(r"[^\x20-\x7e]+|&")


class BadName(ValueError):
    """Not a mailbox name; the text is fixed and may be shown to the peer."""


def encode(name: str) -> bytes:
    """Modified UTF-7 of a name."""

    def shifted(found: re.Match[str]) -> str:
        text = found[0]
        if text == "&":
            return "&-"
        packed = binascii.b2a_base64(text.encode("utf-16-be"), newline=False).rstrip(b"=")
        return "&" + packed.decode("ascii").replace("/", ",") + "-"

    return _TO_ENCODE.sub(shifted, name).encode("ascii")


def decode(wire: bytes, *, utf8: bool = False) -> str:
    """The name that a client sent; `BadName` when it is none.

    With `utf8` (UTF8=ACCEPT or rev2 enabled) names are UTF-8 and `&` is an ordinary character (RFC 6855 3).
    """
    if len(wire) > LONGEST:
        raise BadName("Mailbox name too long")
    if utf8 or not wire.isascii() or b"\x7f" in wire:
        # Some clients send raw UTF-8 unasked; Dovecot takes it, and no other reading is possible.
        try:
            name = wire.decode("utf-8")
        except UnicodeDecodeError:
            raise BadName("Mailbox name is not UTF-8") from None
    else:
        name = _decode_utf7(wire)
    return checked(name)


def _decode_utf7(wire: bytes) -> str:
    if _DIRECT.fullmatch(wire):
        return wire.decode("ascii")
    parts: list[str] = []
    position = 0
    while position < len(wire):
        found = _DIRECT.match(wire, position)
        if found:
            parts.append(found[0].decode("ascii"))
        else:
            found = _SHIFTED.match(wire, position)
            if found is None:
                raise BadName("Mailbox name is not modified UTF-7")
            parts.append(_unshift(found[1]) if found[1] else "&")
        position = found.end()
    name = "".join(parts)
    if encode(name) != wire:
        # Two spellings of one name would be two keys for one folder.
        raise BadName("Mailbox name is not canonical modified UTF-7")
    return name


def _unshift(packed: bytes) -> str:
    try:
        raw = binascii.a2b_base64(packed.replace(b",", b"/") + b"=" * (-len(packed) % 4), strict_mode=True)
        return raw.decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise BadName("Mailbox name is not modified UTF-7") from None


def checked(name: str) -> str:
    """The name in the form under which it is kept: NFC, `INBOX` folded; `BadName` for what no mailbox may be called."""
    name = unicodedata.normalize("NFC", name)
    head, delimiter, rest = name.partition(DELIMITER)
    if head.upper() == "INBOX":
        name = "INBOX" + delimiter + rest
    # None of these is printable.
    if not name.isprintable() and any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name):
        # CR, LF and NUL would end a line somewhere upstream; the rest is RFC 5198 2.
        raise BadName("Mailbox name has a control character")
    return name


def creatable(name: str) -> bool:
    """Whether a mailbox of this name may be made: no empty or dotted level, no wildcard."""
    levels = name.split(DELIMITER)
    return all(level not in ("", ".", "..") for level in levels) and not any(char in name for char in "%*")


class Pattern:
    """LIST patterns as a set of positions, the bits of one integer: linear in the name, whatever the wildcards.

    Bit `i` says that the first `i` items have matched; several patterns stand side by side in the same integer, each
    one bit longer than its items, so that none runs into the next. Backtracking goes exponential on `%*%*%*x`.
    """

    def __init__(self, *patterns: str) -> None:
        self._star = self._percent = self._start = self._accept = 0
        self._literal: dict[str, int] = {}
        base = 0
        for pattern in patterns:
            items = re.sub(r"[*%]*\*[*%]*", "*", re.sub(r"%+", "%", pattern))
            head, slash, rest = items.partition(DELIMITER)
            if head.upper() == "INBOX":
                items = "INBOX" + slash + rest
            self._start |= 1 << base
            places: dict[str, list[int]] = {}
            for index, item in enumerate(items, base):
                places.setdefault(item, []).append(index)
            self._star |= _bits(places.pop("*", ()))
            self._percent |= _bits(places.pop("%", ()))
            for item, indices in places.items():
                self._literal[item] = self._literal.get(item, 0) | _bits(indices)
            base += len(items)
            self._accept |= 1 << base
            base += 1

    def matches(self, name: str) -> bool:
        """Whether the whole name is named by one of the patterns."""
        wild = self._star | self._percent
        state = self._start
        state |= (state & wild) << 1
        for char in name:
            state = (
                (state & self._literal.get(char, 0)) << 1
                | state & self._star
                | (state & self._percent if char != DELIMITER else 0)
            )
            if not state:
                return False
            state |= (state & wild) << 1
        return bool(state & self._accept)


def _bits(indices: Sequence[int]) -> int:
    """Set bits, in time linear in the highest: one by one they would each copy the integer."""
    if not indices:
        return 0
    octets = bytearray(indices[-1] // 8 + 1)
    for index in indices:
        octets[index // 8] |= 1 << index % 8
    return int.from_bytes(octets, "little")
