"""An SMTP reply as a value (RFC 5321 4.2), whoever said it."""

from __future__ import annotations

import functools
import re

import msgspec

_CONTROLS = re.compile(r"[\0\r\n]")
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: |$)")


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """Code and text lines; the enhanced code, if any, is still the head of each line."""

    code: int
    lines: tuple[str, ...]

    @property
    def positive(self) -> bool:
        """2xx."""
        return 200 <= self.code < 300

    @property
    def intermediate(self) -> bool:
        """3xx."""
        return 300 <= self.code < 400

    @property
    def transient(self) -> bool:
        """4xx."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5xx."""
        return 500 <= self.code < 600

    @property
    def enhanced(self) -> str | None:
        """RFC 3463 status such as `5.1.1`; None when the peer gave none."""
        match = _ENHANCED.match(self.lines[0]) if self.lines else None
        return match[1] if match else None

    @property
    def text(self) -> str:
        """All lines joined by a blank."""
        return " ".join(self.lines)

    def encode(self) -> bytes:
        """The bytes on the wire (RFC 5321 4.2.1); CR, LF and NUL in the text become blanks."""
        return _encoded(self.code, self.lines)


@functools.lru_cache(maxsize=512)
def _encoded(code: int, lines: tuple[str, ...]) -> bytes:
    """Most replies are said over and over."""
    *most, last = [_CONTROLS.sub(" ", line) for line in lines] or [""]
    text = "".join([f"{code}-{line}\r\n" for line in most])
    return f"{text}{code} {last}\r\n".encode("utf-8", "replace")


def reply(code: int, text: str) -> Reply:
    """One-line reply; `text` starts with its enhanced code where it has one."""
    return Reply(code, (text,))


QUARREL = frozenset({500, 502, 503, 504, 530, 534, 535, 538})
"""Permanent replies about the conversation between the primary and us (RFC 5321 4.2.2, RFC 4954 6), not about the
message: bad sequence, login, encryption. Its sender is not to blame, and 5xx would lose the mail."""
