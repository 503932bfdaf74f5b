"""What a proxy must know of an IMAP conversation that it passes on, and the little that it must change. Pure.

The server's octets enter `feed` and leave it; the client's are shown to `client_said`.

1. Only the answer to a CAPABILITY command is ever changed, outside literals, by leaving words out.
2. However the octets are cut, the same ones leave in the end; an incomplete line is held only while it may become such
   an answer, `_HELD` octets at most.
3. While nobody has asked for CAPABILITY a block costs one look for its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from relay.proto.imap.boundary import Boundary

_BROKEN = ("STARTTLS", "LOGINDISABLED", "AUTH=", "SASL-IR", "COMPRESS=", "UNAUTHENTICATE", "LOGIN-REFERRALS",
           "MAILBOX-REFERRALS", "URLAUTH")  # fmt: skip
"""Not shown after login: they end or change what a connection is, or send the client past us."""
_COMMAND = re.compile(rb"(?:\A|\n)[^ \r\n]{1,100} (CAPABILITY|COMPRESS)\b", re.IGNORECASE)
_SMALL = 4096
"""Larger blocks of the client are uploads; a command behind one in the same block is not seen, which harms nobody."""
_ANSWER = b"* CAPABILITY "
_HELD = 8192


def passable(words: Iterable[str]) -> list[str]:
    """The primary's capabilities, as far as they hold through us."""
    return [word for word in words if not word.upper().startswith(_BROKEN)]


class Passing:
    """Follows one conversation after its login."""

    __slots__ = ("_asked", "_boundary", "_held", "_opaque")

    def __init__(self) -> None:
        self._boundary = Boundary()
        self._asked = 0
        self._held = b""
        self._opaque = False

    @property
    def at_line_start(self) -> bool:
        """Whether a line of our own may be put in now."""
        return self._boundary.at_line_start and not self._held and not self._opaque

    @property
    def said_bye(self) -> bool:
        """Whether the server has said goodbye itself."""
        return b"* BYE" in self._boundary.last

    def client_said(self, data: bytes) -> None:
        """Octets on their way to the server."""
        if len(data) > _SMALL:
            return
        for found in _COMMAND.finditer(data):
            if found[1].upper() == b"COMPRESS":
                # A client that was never told of it: if the server agrees, nothing is readable from here on.
                self._opaque = True
            else:
                self._asked += 1

    def feed(self, data: bytes) -> bytes:
        """Octets of the server; what goes on to the client now."""
        if not self._asked or self._opaque:
            if self._held:
                data, self._held = self._held + data, b""
            self._boundary.feed(data)
            return data
        return self._filtered(data)

    def _filtered(self, data: bytes) -> bytes:
        boundary, out = self._boundary, []
        data, self._held = self._held + data, b""
        position = 0
        while position < len(data):
            if not self._asked:
                out.append(data[position:])
                boundary.feed(data[position:])
                break
            end = data.find(b"\n", position) + 1
            if boundary.left:
                end = position + min(boundary.left, len(data) - position)
            elif boundary.at_line_start:
                line = data[position : end or len(data)]
                if not end and len(line) <= _HELD and _ANSWER.startswith(line[: len(_ANSWER)].upper()):
                    self._held = line
                    break
                if end and line[: len(_ANSWER)].upper() == _ANSWER:
                    self._asked -= 1
                    boundary.feed(line)
                    out.append(_rewritten(line))
                    position = end
                    continue
            piece = data[position : end or len(data)]
            boundary.feed(piece)
            out.append(piece)
            position += len(piece)
        return b"".join(out)


def _rewritten(line: bytes) -> bytes:
    words = passable(line[len(_ANSWER) :].decode("latin-1").split())
    return _ANSWER + " ".join(words).encode("latin-1") + b"\r\n"
