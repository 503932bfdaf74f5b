"""Which octets of a message a `BODY[section]` asks for (RFC 9051 6.4.5.1).

A structure and a section in, offsets in the raw message out (`span`), so that only these octets are read from a store
of chunks. HEADER.FIELDS needs the header itself: `span` says where it is, the caller reads it, `pick` takes from it.

1. A span lies inside the message.
2. A part that is not there has no span; it is shown as an empty string, as Dovecot does: clients ask for parts that
   they guess.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

import msgspec

from relay.proto.mime.header import FieldFinder, iter_fields
from relay.proto.mime.structure import Kind, Part

_EMPTY_LINE = b"\r\n"
_FINDABLE = re.compile(rb"[^\x00-\x20:\x7f]+\Z")
"""Names that a field can have; `FieldFinder` would take others for what they are not."""
_MOST_FIELDS = 10_000
"""Fields that are told apart; what is behind them counts as one without a name."""


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


def find(root: Part, numbers: Sequence[int]) -> Part | None:
    """The part with these numbers; None when there is none."""
    part = scope = root
    deeper = True
    for number in numbers:
        if not deeper:
            return None
        if scope.kind is Kind.MULTIPART:
            if not 1 <= number <= len(scope.children):
                return None
            part = scope.children[number - 1]
        elif number == 1:
            part = scope  # a message that is no multipart is its own part 1
        else:
            return None
        # The numbers of an embedded message go on inside it; a leaf of a multipart is its own part 1, as in Dovecot.
        deeper = part.kind is not Kind.LEAF or part is not scope
        scope = part.children[0] if part.kind is Kind.MESSAGE else part
    return part


def span(root: Part, section: Section) -> tuple[int, int] | None:
    """First octet and end of a section; for FIELDS and FIELDS_NOT of the header to pick from. None: no such part."""
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
        return None  # RFC 9051 6.4.5.1: HEADER and TEXT of a part ask for the message inside it
    inner = part.children[0]
    return (inner.body_start, inner.body_end) if text is Text.TEXT else (inner.header_start, inner.body_start)


def pick(header: bytes, section: Section) -> bytes:
    """What a section takes of a header section, given the octets of its span."""
    return Picker(section).pick(header)


class Picker:
    """`pick` for one section of many messages."""

    __slots__ = ("_always_ends", "_finder", "_names", "_wanted")

    def __init__(self, section: Section) -> None:
        self._wanted = section.text is Text.FIELDS
        self._names: set[bytes] | None = {name.lower() for name in section.fields}
        self._always_ends = self._wanted or bool(section.part)
        self._finder: FieldFinder | None = None
        if self._wanted and all(_FINDABLE.match(name) for name in section.fields):
            self._finder = FieldFinder(section.fields)
        elif section.text not in (Text.FIELDS, Text.FIELDS_NOT):
            self._names = None

    def pick(self, header: bytes) -> bytes:
        """What the section takes of this header section."""
        if self._finder is not None:
            picked = self._finder.join(header, _MOST_FIELDS)
        elif self._names is None:
            return header
        else:
            fields = iter_fields(header, 0, len(header), _MOST_FIELDS)
            picked = b"".join(
                header[field.start : field.end] for field in fields if (field.name in self._names) is self._wanted
            )
        # RFC 3501 6.4.5: a message with no empty line shows none. (Dovecot shows one behind chosen fields even so.)
        if not (self._always_ends or header.endswith((b"\n\r\n", b"\n\n")) or header in (b"\r\n", b"\n")):
            return picked
        # The last line of a header that was cut short gets its end first.
        return picked + (_EMPTY_LINE if not picked or picked.endswith(b"\n") else _EMPTY_LINE * 2)
