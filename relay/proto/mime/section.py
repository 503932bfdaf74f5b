"""Which bytes of a message a `BODY[section]<offset.count>` asks for (RFC 9051 6.4.5.1).

A structure and a section in, offsets in the raw message out, so that only these bytes are read from a store of
chunks. HEADER.FIELDS needs the header itself: `span` says where it is, the caller reads it, `resolve` picks from it.

1. Ranges ascend, do not overlap and lie inside the message; `suffix` is what the wire shows behind them and the
   message does not hold (the empty line of HEADER.FIELDS).
2. A part that is not there is an empty string, as Dovecot answers it: clients ask for parts that they guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import msgspec

from relay.proto.mime.header import iter_fields
from relay.proto.mime.structure import Kind, Part

Range = tuple[int, int]
_EMPTY_LINE = b"\r\n"


class Text(Enum):
    """What of a part is wanted; the value is its name on the wire (section-text)."""

    ALL = b""
    HEADER = b"HEADER"
    FIELDS = b"HEADER.FIELDS"
    FIELDS_NOT = b"HEADER.FIELDS.NOT"
    TEXT = b"TEXT"
    MIME = b"MIME"


class Section(msgspec.Struct, frozen=True):
    """`BODY[1.2.HEADER.FIELDS (a b)]` as a value."""

    part: tuple[int, ...] = ()
    """Part numbers; empty = the message itself."""
    text: Text = Text.ALL
    fields: tuple[bytes, ...] = ()
    """Names for FIELDS and FIELDS_NOT, in any case."""


class Slices(msgspec.Struct, frozen=True):
    """What to send: ranges of the raw message in order, then `suffix`."""

    ranges: tuple[Range, ...] = ()
    suffix: bytes = b""

    @property
    def size(self) -> int:
        """Octets in all."""
        return sum(end - start for start, end in self.ranges) + len(self.suffix)

    def cut(self, offset: int, count: int) -> Slices:
        """The part `<offset.count>` of it; beyond the end there is nothing (RFC 9051 6.4.5)."""
        left = max(count, 0)
        kept: list[Range] = []
        for start, end in self.ranges:
            size = end - start
            if offset >= size:
                offset -= size
                continue
            take = min(size - offset, left)
            if take <= 0:
                break
            kept.append((start + offset, start + offset + take))
            left -= take
            offset = 0
        return Slices(tuple(kept), self.suffix[offset : offset + left] if left > 0 else b"")


def find(root: Part, numbers: Sequence[int]) -> Part | None:
    """The part with these numbers; None when there is none. `1` of a message without parts is its own body."""
    part = scope = root
    for number in numbers:
        if scope.kind is Kind.MULTIPART:
            if not 1 <= number <= len(scope.children):
                return None
            part = scope.children[number - 1]
        elif number == 1 and scope.envelope is not None:
            part = scope
        else:
            return None
        # Numbers go on inside the message that a message/rfc822 part holds; a leaf has no further ones.
        if part.kind is Kind.MESSAGE:
            scope = part.children[0]
        elif part.kind is Kind.MULTIPART:
            scope = part
        else:
            scope = _NOTHING
    return part


def span(root: Part, section: Section) -> Range | None:
    """Start and end of a section; for FIELDS and FIELDS_NOT of the header to pick from. None: no such part."""
    text = section.text
    if not section.part:
        if text is Text.ALL:
            return 0, root.body_end
        return (root.body_start, root.body_end) if text is Text.TEXT else (0, root.body_start)
    part = find(root, section.part)
    if part is None:
        return None
    if text is Text.ALL:
        return part.body_start, part.body_end
    if text is Text.MIME:
        return part.header_start, part.body_start
    if part.kind is not Kind.MESSAGE:
        return None
    inner = part.children[0]
    return (inner.body_start, inner.body_end) if text is Text.TEXT else (inner.header_start, inner.body_start)


def resolve(root: Part, section: Section, header: bytes = b"") -> Slices:
    """What to send for a section. `header`: the bytes of `span(...)`, for FIELDS and FIELDS_NOT only."""
    where = span(root, section)
    if where is None:
        return Slices()
    if section.text not in (Text.FIELDS, Text.FIELDS_NOT):
        return Slices((where,) if where[1] > where[0] else ())
    wanted = section.text is Text.FIELDS
    picked = pick(header, section.fields, wanted=wanted, offset=where[0])
    # RFC 3501 6.4.5: a message that has no empty line shows none. (Dovecot shows one behind chosen fields even so.)
    if not (wanted or section.part or header.endswith((b"\n\r\n", b"\n\n")) or header in (b"\r\n", b"\n")):
        return Slices(picked.ranges)
    return picked


def pick(header: bytes, names: Sequence[bytes], *, wanted: bool, offset: int = 0) -> Slices:
    """Fields of a header section with (or without) these names, as ranges from `offset` on, and the empty line."""
    folded = {name.lower() for name in names}
    ranges: list[Range] = []
    whole = True
    for field in iter_fields(header, 0, len(header), len(header)):
        if (field.name in folded) is not wanted:
            continue
        start, end = offset + field.start, offset + field.end
        whole = header[field.end - 1 : field.end] == b"\n"
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
    # The last line of a header that was cut short gets its end first.
    return Slices(tuple(ranges), _EMPTY_LINE if whole else _EMPTY_LINE * 2)


_NOTHING = Part(0, 0, 0, 0, Kind.LEAF, b"", b"")
"""What no number leads into."""
