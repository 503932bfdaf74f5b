"""Parts whose end is not known yet, and the delimiters that are looked for to end them (RFC 2046 5.1.1)."""

from __future__ import annotations

from typing import Final

import msgspec

from relay.proto.mime.entity import Entity
from relay.proto.mime.part import Part

MAX_BOUNDARY: Final = 80
"""RFC 2046 5.1.1 allows 70; what is longer is compared by its first 80 bytes."""


class OpenPart:
    """A part whose end is not known yet."""

    __slots__ = (
        "body_start",
        "children",
        "depth",
        "entity",
        "extra",
        "header_start",
        "lines_before",
        "message",
        "mime",
    )

    def __init__(self, header_start: int, depth: int, *, mime: bool, message: bool) -> None:
        self.header_start = header_start
        self.body_start = header_start
        self.depth = depth
        self.mime = mime
        self.message = message
        self.entity: Entity | None = None
        self.lines_before = 0
        self.extra = 0
        """Bytes of this body behind its last child: the line end of a header that a boundary cut short."""
        self.children: list[Part] = []


class Boundary:
    """A delimiter that is looked for, with the memory of its own search, so that nothing is searched twice."""

    __slots__ = ("found", "node", "pattern", "searched", "value")

    def __init__(self, value: bytes, node: OpenPart) -> None:
        self.value = value[:MAX_BOUNDARY]
        self.pattern = b"\n--" + self.value
        self.node = node
        self.found = -1
        self.searched = 0

    def next(self, buf: bytes, base: int, start: int) -> int:
        """Absolute offset of the next line end before this delimiter, at `start` or behind it; -1 when not in `buf`."""
        if self.found < start:
            begin = max(start, self.searched)
            at = buf.find(self.pattern, begin - base)
            if at < 0:
                self.searched = max(begin, base + len(buf) - len(self.pattern) + 1)
                return -1
            self.found = base + at
        return self.found


class BoundaryLine(msgspec.Struct, frozen=True, gc=False):
    """A boundary line: where it starts, whose it is, whether it closes, where the delimiter itself ends."""

    start: int
    boundary: Boundary
    closes: bool
    behind: int
