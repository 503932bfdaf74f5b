"""Where the mail data of DATA ends, and what it says (RFC 5321 4.1.1.4, 4.5.2).

Blocks enter as they come from the wire; the content leaves with its leading dots removed. One pass with `bytes.find`.

1. Only `<CRLF>.<CRLF>` ends the data (or `.<CRLF>` as its very first line). No other spelling of a line end does.
2. The result does not depend on how the stream was cut into blocks.
3. At most four octets are held back between two blocks.
4. What follows the end is in `rest`, untouched: it belongs to the next command.
"""

from __future__ import annotations

_END = b"\r\n.\r\n"
_PREFIXES = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


class DataScanner:
    """Feed it until `done`; each `feed` gives the content that is certain by then."""

    __slots__ = ("_held", "_virtual", "done", "rest")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        # The line end of the DATA command itself: makes the first line like any other, and never leaves.
        self._held = b"\r\n"
        self._virtual = 2

    def feed(self, block: bytes) -> bytes:
        """Content without transparency dots; empty when nothing is certain yet."""
        if self.done:
            raise ValueError("the data has ended")
        text = self._held + block
        end = text.find(_END)
        if end >= 0:
            self.done = True
            self.rest = text[end + len(_END) :]
            text = text[: end + 2]
        else:
            keep = next((len(prefix) for prefix in _PREFIXES if text.endswith(prefix)), 0)
            cut = len(text) - keep
            self._held = text[cut:]
            text = text[:cut]
        # RFC 5321 4.5.2: a leading dot of a line that has more is removed.
        text = text.replace(b"\r\n.", b"\r\n")
        if self._virtual and text:
            text = text[self._virtual :]
            self._virtual = 0
        return text
