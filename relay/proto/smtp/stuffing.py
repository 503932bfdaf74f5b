"""Message content as the mail data of DATA, for the client side (RFC 5321 4.5.2).

Content enters in blocks of any size; what leaves is ready for the wire, and `finish` gives the end of data.

1. The receiver, however lenient, finds exactly one end of data: every CR and LF that leaves is part of a CRLF, no NUL
   leaves, and a line that begins with a dot gets a second one. Content that passed `content.ContentCheck` with its
   default rules is changed by nothing but the dots.
2. The result does not depend on how the content was cut into blocks.
3. A last line without its line end gets one.
"""

from __future__ import annotations

import re

from relay.proto.smtp.content import in_pairs

_LINE_END = re.compile(rb"\r\n|\r|\n")
_LEADING_DOT = re.compile(rb"\r\n\.")
"""Found in half the time that `bytes.replace` needs to find nothing."""


class DotStuffer:
    """Encoder of one message."""

    __slots__ = ("_cr", "_line_start")

    def __init__(self) -> None:
        self._line_start = True
        self._cr = False

    def encode(self, block: bytes) -> bytes:
        """The next piece of the wire form; a CR at the end of a block waits for the next one."""
        if 0 in block:
            block = block.replace(b"\0", b"")
        if self._cr:
            block = b"\r" + block
            self._cr = False
        if block.endswith(b"\r"):
            self._cr = True
            block = block[:-1]
        if not block:
            return b""
        if not in_pairs(block):
            block = _LINE_END.sub(b"\r\n", block)
        out = block
        if b"." in block and _LEADING_DOT.search(block):  # no dot at all in what base64 makes
            out = block.replace(b"\r\n.", b"\r\n..")
        if self._line_start and out.startswith(b"."):
            out = b"." + out
        self._line_start = out.endswith(b"\r\n")
        return out

    def finish(self) -> bytes:
        """The end of data, with the line end that the content still lacks."""
        if self._cr:
            return b"\r\n.\r\n"
        return b".\r\n" if self._line_start else b"\r\n.\r\n"
