"""xtext (RFC 3461 4): printable ASCII without `+` and `=`, everything else as `+` and two upper-case hex digits."""

from __future__ import annotations

import re

_PLAIN = frozenset(range(33, 127)) - {ord("+"), ord("=")}
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEX = re.compile(rb"\+([0-9A-F]{2})")


def encode(text: str) -> str:
    """The xtext form of a string's UTF-8 octets."""
    return "".join(chr(octet) if octet in _PLAIN else f"+{octet:02X}" for octet in text.encode())


def is_xtext(text: str) -> bool:
    """Whether `text` is well-formed xtext."""
    return _XTEXT.fullmatch(text) is not None


def decode(text: str) -> bytes:
    """The octets of an xtext; ValueError when it is not one."""
    if not is_xtext(text):
        raise ValueError("not xtext")
    return _HEX.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), text.encode("ascii"))
