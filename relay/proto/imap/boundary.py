"""Where a server's octets stand: at the end of a response line, or in the middle of a line or literal. Pure.

For pass-through, which must know whether a line of its own may be put in. It only looks for literals at line ends, so
it costs one search per block. A status text that ends in `{5}` misleads it; the price is a missing BYE.
"""

from __future__ import annotations

import re

_LITERAL = re.compile(rb"\{([0-9]{1,19})\}\r?\n")
_TAIL = 24
"""Octets of a cut literal head that may be waiting for the rest."""
_LAST = 512


class Boundary:
    """Follows one direction of one connection."""

    __slots__ = ("_left", "_tail", "last")

    def __init__(self) -> None:
        self._left = 0
        self._tail = b""
        self.last = b""
        """The most recent octets, for a look at the server's last words."""

    @property
    def left(self) -> int:
        """Octets of the literal under way that are still to come."""
        return self._left

    @property
    def at_line_start(self) -> bool:
        """Whether everything so far was whole responses."""
        return self._left == 0 and (not self._tail or self._tail.endswith(b"\n"))

    def feed(self, data: bytes) -> None:
        """The next octets."""
        if not data:
            return
        self.last = data[-_LAST:] if len(data) >= _LAST else (self.last + data)[-_LAST:]
        if not self._left and data[-1] == 10 and b"}" not in data and self._tail[-1:] in (b"", b"\n"):
            self._tail = b"\n"  # whole lines: nearly everything that a session says
            return
        position = 0
        if self._left:
            if len(data) <= self._left:
                self._left -= len(data)
                # Behind a literal the line goes on: this is the middle of one even when nothing of it has come.
                self._tail = b"}"
                return
            position, self._left, self._tail = self._left, 0, b""
        if self._tail:
            data, position = self._tail + data[position:], 0
        while (found := _literal(data, position)) is not None:
            position = found.end() + int(found[1])
            if position >= len(data):
                self._left = position - len(data)
                self._tail = b"}"
                return
        self._tail = data[max(position, len(data) - _TAIL) :] or b"}"


def _literal(data: bytes, position: int) -> re.Match[bytes] | None:
    """The next literal head. By way of its closing brace: `find` reads a block ten times as fast as `re` does."""
    close = position
    while (close := data.find(b"}", close)) >= 0:
        opening = data.rfind(b"{", max(position, close - _TAIL), close)
        found = _LITERAL.match(data, opening) if opening >= 0 else None
        if found is not None:
            return found
        close += 1
    return None
