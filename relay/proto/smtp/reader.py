"""Replies of an SMTP server from its bytes (RFC 5321 4.2), for the client side.

Bytes enter in any pieces, `Reply` values leave in order. `PeerFault` when the peer says what is no reply; the reader is
of no use afterwards.

1. Bounded: a line, a reply and what waits unread each have a limit.
2. `pending` tells what came beyond the last reply: nothing may, before TLS starts (response injection).
"""

from __future__ import annotations

import re

from relay.core.errors import PeerFault
from relay.core.reply import Reply

LONGEST_LINE = 4096
"""RFC 5321 4.5.3.1.5 asks for 512 octets; real servers write more."""
MOST_LINES = 200
MOST_PENDING = 262_144

_LINE = re.compile(r"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class ReplyReader:
    """`feed` bytes, then call `next` until it gives None."""

    __slots__ = ("_buffer", "_code", "_lines", "_searched")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._lines: list[str] = []
        self._code = 0

    @property
    def pending(self) -> int:
        """Octets received that belong to no reply given out yet, half a reply included."""
        return len(self._buffer) + len(self._lines)

    def feed(self, data: bytes) -> None:
        """Take what the socket gave."""
        self._buffer += data
        if len(self._buffer) > MOST_PENDING:
            raise PeerFault("server sent more than was asked for")

    def next(self) -> Reply | None:
        """The next whole reply; None when more bytes are needed."""
        while (line := self._line()) is not None:
            match = _LINE.fullmatch(_CONTROLS.sub(" ", line))
            if match is None:
                raise PeerFault("server sent a line that is no reply")
            code = int(match[1])
            if self._lines and code != self._code:
                raise PeerFault("server changed the code within a reply")  # RFC 5321 4.2.1
            self._code = code
            self._lines.append(match[3] or "")
            if len(self._lines) > MOST_LINES:
                raise PeerFault("server sent an endless reply")
            if match[2] != "-":
                lines, self._lines = tuple(self._lines), []
                return Reply(code, lines)
        return None

    def _line(self) -> str | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > LONGEST_LINE:
                raise PeerFault("server sent an endless line")
            return None
        if end > LONGEST_LINE:
            raise PeerFault("server sent an over-long line")
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        self._searched = 0
        return line.decode("utf-8", "replace")
