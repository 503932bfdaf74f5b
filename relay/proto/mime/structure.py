"""MIME structure of a message as an immutable tree with exact offsets (RFC 2045, 2046; RFC 9051 7.5.2).

Bytes in (whole, or block by block), a `Part` out: everything that ENVELOPE, BODYSTRUCTURE and BODY[section] need, so
that the message itself is read again only for the bytes that a client asks for. Where mail breaks the rules, the
reading is Dovecot's, because clients hold structures that Dovecot made.

1. Offsets are absolute and count raw bytes: `header_start <= body_start <= body_end <= size`; children lie inside
   their parent's body, in order, and do not overlap.
2. Linear time: each byte is looked at a bounded number of times (once per open boundary), with no recursion.
3. Bounded memory: while streaming, the parser keeps the header section under way (up to `limits.header`) and the tail
   of a body that may be the start of a boundary line.
4. Limits never raise: a part that would go deeper than `limits.depth` is a leaf `application/octet-stream`; behind
   `limits.parts` no further boundary is looked for.
5. The result does not depend on how the message was cut into blocks.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from relay.proto.mime.boundary import MAX_BOUNDARY, Boundary, BoundaryLine, OpenPart
from relay.proto.mime.entity import Entity, Kind, read_entity
from relay.proto.mime.header import HEADER_END
from relay.proto.mime.part import Limits, Part

__all__ = ["Kind", "Limits", "Part", "StructureParser", "parse"]


_LINE_LOOK: Final = 1000
"""How far the end of a boundary line is looked for (RFC 5322 2.1.1: lines have 998 characters at most)."""
_LONGEST: Final = len(b"\n--") + MAX_BOUNDARY
_EMPTY_LINE = re.compile(rb"\r?\n")
_OPAQUE = Entity(type=b"application", subtype=b"octet-stream", params=())


class StructureParser:
    """Takes a message in blocks: `feed` each, then `finish` once."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008  # frozen
        self._limits = limits
        self._buf = b""
        self._base = 0
        """Absolute offset of the first byte of the buffer."""
        self._pos = 0
        """Absolute offset up to which everything is decided."""
        self._line_start = True
        """Whether `_pos` is the start of a line that was not looked at yet."""
        self._region = self._floor = 0
        """Where the header or body under way starts, and where a part ends whose boundary line stands right there."""
        self._lines_at = self._lines = 0
        self._eof = False
        self._parts = 1
        self._header: list[bytes] = []
        self._header_room = limits.header
        self._boundaries: list[Boundary] = []
        self._open = [OpenPart(0, 0, mime=False, message=True)]
        self._root: Part | None = None
        self._step = self._in_header

    def feed(self, block: bytes) -> None:
        """Take the next block, of any size."""
        self._buf = self._buf + block if self._buf else bytes(block)
        while self._step():
            pass
        # Two bytes stay, for the line end in front of a boundary.
        keep = max(self._pos - 2, self._base)
        self._lines_before(self._pos)
        self._buf = self._buf[keep - self._base :]
        self._base = keep

    def finish(self) -> Part:
        """The message has ended: its structure."""
        if self._root is None:
            self._eof = True
            while self._step():
                pass
            self._close_until(None, self._base + len(self._buf))
            self._buf = b""
        assert self._root is not None
        return self._root

    def _in_header(self) -> bool:
        """Look for the empty line, or for a boundary line that comes before it."""
        buf, base = self._buf, self._base
        end = base + len(buf)
        start = self._pos - base
        if self._line_start and not self._eof and end - self._pos < 2 and buf[start:] in (b"", b"\r"):
            return False
        # The boundary first, from the memory of its search: the empty line is then looked for no farther than that, or
        # ten thousand parts without one would each search the whole rest of the message.
        line: BoundaryLine | int = self._boundary_line() if self._boundaries else end
        limit = line.start if isinstance(line, BoundaryLine) else line
        empty = _EMPTY_LINE.match(buf, start) if self._line_start else None
        if empty is None:
            first = HEADER_END.search(buf, start, min(limit + 2, end) - base)
            at, behind = (first.start() + 1, first.end()) if first else (-1, -1)
        else:
            at, behind = empty.span()
        if at >= 0 and base + at <= limit:
            self._take(base + behind)
            self._line_start = True
            self._step = self._behind_header
            return True
        if isinstance(line, BoundaryLine):
            self._take(line.start)
            return self._cut_header(line.start)
        if self._eof:
            self._take(end)
            self._header_ends(end)
            return True
        self._take(max(self._pos, min(limit, end - 2)))
        return False

    def _take(self, until: int) -> None:
        """Header bytes up to `until` are decided."""
        if until == self._pos:
            return
        if self._header_room > 0:
            piece = self._buf[
                self._pos - self._base : min(until - self._base, self._pos - self._base + self._header_room)
            ]
            self._header.append(piece)
            self._header_room -= len(piece)
        self._pos = until
        self._line_start = False

    def _behind_header(self) -> bool:
        """The header is whole; a boundary line right behind it takes the empty line's end for itself."""
        node = self._open[-1]
        entity = self._read_header(node)
        own = None
        if entity.kind is Kind.MULTIPART and entity.boundary is not None:
            own = Boundary(entity.boundary, node)
            self._boundaries.append(own)
        line = self._judge_here() if self._boundaries else False
        if line is None:
            if own is not None:
                self._boundaries.pop()
            return False
        if isinstance(line, BoundaryLine) and line.boundary is not own:
            return self._cut_header(self._pos)
        self._header_ends(self._pos)
        return True

    def _cut_header(self, line_start: int) -> bool:
        """A boundary line stands where the header still went on: the line end before it belongs to the boundary."""
        node = self._open[-1]
        end = node.header_start
        if line_start > self._region:
            end = self._without_line_end(line_start)
            if len(self._open) > 1:
                self._open[-2].extra += line_start - end
        self._header_ends(end)
        self._region, self._floor = line_start, end
        return True

    def _read_header(self, node: OpenPart) -> Entity:
        """What the header says, read once."""
        if node.entity is None:
            limits = self._limits
            parent = self._open[-2].entity if len(self._open) > 1 else None
            entity = read_entity(
                b"".join(self._header),
                mime=node.mime,
                message=node.message,
                in_digest=parent is not None and parent.is_digest,
                max_params=limits.params,
            )
            self._header = []
            self._header_room = limits.header
            too_deep = entity.kind is not Kind.LEAF and node.depth >= limits.depth
            if too_deep or (entity.kind is Kind.MESSAGE and self._parts >= limits.parts):
                entity = _opaque(entity)
            node.entity = entity
        return node.entity

    def _header_ends(self, body_start: int) -> None:
        node = self._open[-1]
        entity = self._read_header(node)
        node.body_start = body_start
        node.lines_before = self._lines_before(body_start)
        self._line_start = True
        self._region = self._floor = self._pos
        self._step = self._in_body
        if entity.kind is Kind.MESSAGE:
            self._begin_part(body_start, node.depth + 1, mime=False, message=True)

    def _begin_part(self, start: int, depth: int, *, mime: bool, message: bool) -> None:
        self._parts += 1
        self._open.append(OpenPart(start, depth, mime=mime, message=message))
        self._step = self._in_header

    def _in_body(self) -> bool:
        """Look for the next boundary line; without one, the body goes on."""
        line = self._boundary_line()
        if not isinstance(line, BoundaryLine):
            if line > self._pos:
                self._pos = line
                self._line_start = False
            return False
        end = self._without_line_end(line.start) if line.start > self._region else self._floor
        self._pos = line.start
        self._close_until(line.boundary.node, end)
        line.boundary.node.extra = 0
        keep = self._boundaries.index(line.boundary) + (0 if line.closes else 1)
        del self._boundaries[keep:]
        self._pos = line.behind
        self._step = self._in_delimiter
        return True

    def _in_delimiter(self) -> bool:
        """Pass the rest of a boundary line; then a part begins, or the epilogue."""
        at = self._buf.find(b"\n", self._pos - self._base)
        if at < 0:
            self._pos = self._base + len(self._buf)
            return False
        self._pos = self._base + at + 1
        self._line_start = True
        self._region = self._floor = self._pos
        node = self._open[-1]
        if self._parts >= self._limits.parts:
            self._boundaries.clear()
        if self._boundaries and self._boundaries[-1].node is node:
            self._begin_part(self._pos, node.depth + 1, mime=True, message=False)
        else:
            self._step = self._in_body
        return True

    def _boundary_line(self) -> BoundaryLine | int:
        """The next boundary line at `_pos` or behind it; else the offset up to which there is none."""
        buf, base = self._buf, self._base
        end = base + len(buf)
        if not self._boundaries:
            return end
        start = self._pos
        if self._line_start:
            line = self._judge_here()
            if line is None:
                return start
            if line:
                return line
        while True:
            at = min((at for b in self._boundaries if (at := b.next(buf, base, start)) >= 0), default=-1)
            if at < 0:
                return end if self._eof else max(start, end - _LONGEST + 1)
            line = self._judge(at + 1)
            if line is None:
                return at
            if line:
                return line
            start = at + 1

    def _judge_here(self) -> BoundaryLine | bool | None:
        """`_judge` for the line at `_pos`, which need not start with `--`."""
        at = self._pos - self._base
        if not self._eof and len(self._buf) - at < 2 and b"--".startswith(self._buf[at:]):
            return None
        return self._buf.startswith(b"--", at) and self._judge(self._pos)

    def _judge(self, start: int) -> BoundaryLine | bool | None:
        """Whose boundary line starts at `start`, where `--` stands: False for nobody's, None when more is needed."""
        buf = self._buf
        text = start - self._base + 2
        eol = buf.find(b"\n", text, text + _LINE_LOOK)
        if eol >= 0:
            line = buf[text:eol].removesuffix(b"\r")
        elif len(buf) - text < _LINE_LOOK and not self._eof:
            return None
        else:
            line = buf[text : text + MAX_BOUNDARY + 4]
        # RFC 2046 5.1.2: innermost first, and a line need only begin with the delimiter; the longest one wins, but an
        # exact line (`--foo`, `--foo--`) is nobody else's.
        exact = (len(line), len(line) - 2 if line.endswith(b"--") else -1)
        best: Boundary | None = None
        for boundary in reversed(self._boundaries):
            if line.startswith(boundary.value) and (best is None or len(boundary.value) > len(best.value)):
                best = boundary
                if len(best.value) in exact:
                    break
        if best is None:
            return False
        behind = text + len(best.value)
        closes = buf.startswith(b"--", behind)
        return BoundaryLine(start, best, closes, self._base + behind + (2 if closes else 0))

    def _without_line_end(self, line_start: int) -> int:
        """Where the line before ends: the line end belongs to the boundary (RFC 2046 5.1.1)."""
        at = line_start - self._base
        if line_start - 2 >= self._region and self._buf[at - 2 : at - 1] == b"\r":
            return line_start - 2
        return line_start - 1

    def _close_until(self, node: OpenPart | None, end: int) -> None:
        """Close every open part inside `node` (all of them for None); the innermost one ends at `end`."""
        while self._open and self._open[-1] is not node:
            done = self._open.pop()
            end += done.extra
            part = _freeze(done, end, self._lines_before(end) - done.lines_before)
            if self._open:
                self._open[-1].children.append(part)
            else:
                self._root = part

    def _lines_before(self, offset: int) -> int:
        """Line ends before an absolute offset that is still in the buffer."""
        at = self._lines_at
        if offset >= at:
            self._lines += self._buf.count(b"\n", at - self._base, offset - self._base)
            self._lines_at = offset
            return self._lines
        return self._lines - self._buf.count(b"\n", offset - self._base, at - self._base)


def _opaque(entity: Entity) -> Entity:
    """A container that is not taken apart: what it says of itself stays, but for its type."""
    return msgspec.structs.replace(
        entity, kind=Kind.LEAF, type=_OPAQUE.type, subtype=_OPAQUE.subtype, params=_OPAQUE.params, boundary=None
    )


def _freeze(node: OpenPart, end: int, lines: int) -> Part:
    entity = node.entity
    assert entity is not None
    return Part(
        node.header_start,
        node.body_start,
        end,
        lines,
        entity.kind,
        entity.type,
        entity.subtype,
        entity.params,
        entity.id,
        entity.description,
        entity.encoding,
        entity.md5,
        entity.disposition,
        entity.language,
        entity.location,
        entity.envelope,
        tuple(node.children),
    )


def parse(data: bytes, limits: Limits = Limits()) -> Part:  # noqa: B008  # frozen
    """The structure of a whole message."""
    parser = StructureParser(limits)
    parser.feed(data)
    return parser.finish()
