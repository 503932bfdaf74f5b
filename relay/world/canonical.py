"""The hash of a message body under DKIM's relaxed canonicalisation (RFC 6376 3.4.4), from blocks of any size. Pure.

1. The same as over the whole body at once, however it is cut; memory does not grow with the body.
2. Linear time, whatever runs of blanks and empty lines it holds.
3. Bare CR and LF count as line ends and NUL as nothing, because that is how they leave (`proto.smtp.stuffing`).
"""

from __future__ import annotations

import hashlib
import re

_BLANKS = re.compile(rb"[ \t]+")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_WHITE = b" \t\r\n"
_EMPTY_LINES = b"\r\n" * 4096


class BodyHash:
    """Feed it, then take the `digest`, once."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._lines = 0
        """Line ends since the last octet that is not white."""
        self._blank = False
        """Blanks since then or since the last line end."""
        self._cr = False
        """The block ended in CR: half a line end, or a whole one."""
        self._any = False

    def feed(self, block: bytes) -> None:
        """The next octets of the body."""
        if self._cr:
            block = b"\r" + block
        self._cr = block.endswith(b"\r")
        if self._cr:
            block = block[:-1]
        if b"\0" in block:
            block = block.replace(b"\0", b"")
        inner = block.lstrip(_WHITE)
        self._skip(block[: len(block) - len(inner)])
        core = inner.rstrip(_WHITE)
        if core:
            self._flush()
            self._hash.update(_canonical(core))
            self._any = True
            self._skip(inner[len(core) :])

    def digest(self) -> bytes:
        """SHA-256 of the canonical body; of nothing where it is empty."""
        if self._any:
            self._hash.update(b"\r\n")  # one line end, however many empty lines there were
        return self._hash.digest()

    def _skip(self, white: bytes) -> None:
        count = len(_LINE_END.findall(white))
        if count:
            self._lines += count
            self._blank = white[-1:] in (b" ", b"\t")
        else:
            self._blank = self._blank or bool(white)

    def _flush(self) -> None:
        while self._lines:
            some = min(self._lines, len(_EMPTY_LINES) // 2)
            self._hash.update(_EMPTY_LINES[: 2 * some])
            self._lines -= some
        if self._blank:
            self._hash.update(b" ")
            self._blank = False


def _canonical(text: bytes) -> bytes:
    pairs = text.count(b"\r\n")
    if text.count(b"\n") != pairs or text.count(b"\r") != pairs:
        text = _LINE_END.sub(b"\r\n", text)
    return _BLANKS.sub(b" ", text).replace(b" \r\n", b"\r\n")
