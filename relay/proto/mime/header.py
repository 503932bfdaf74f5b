"""The header section of a message, found and read within limits (RFC 5322 2.2, 3.6).

Bytes in, fields with exact offsets out. Two readers share the same view of what a field is:

`scan(data)`       a whole header section at once.
`HeaderScanner`    the accept path: blocks are fed until the header section ends or the limit is reached; the body is
                   never looked at.

1. A field is a line that does not start with a blank, with every line after it that does (RFC 5322 2.2.3). The first
   empty line ends the section. LF alone ends a line too; CR alone does not.
2. A line without a colon is a field without a value; nothing is thrown away, so fields and their ends cover the
   section byte for byte.
3. Linear time, and at most `limits.fields` fields: 500,000 lines cost one pass, and what is behind the limit is one
   last nameless field.
4. Never raises.

`FieldFinder` gives some of the fields that `iter_fields` gives all of, many times as fast.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from relay.proto.mime.envelope import unfold

HEADER_END = re.compile(rb"\n\r?\n")
_EMPTY_START = re.compile(rb"\r?\n")
_FIELD = re.compile(rb"[^\n]*+(?:\n[ \t][^\n]*+)*\n?")
_NAME = re.compile(rb"([^\n:]*?)[ \t]*:")
_MESSAGE_ID = re.compile(rb"<[^<>]*>")


class HeaderLimits(msgspec.Struct, frozen=True):
    """How much of a header section is read."""

    size: int = 256 * 1024
    """Bytes, the empty line included."""
    fields: int = 2_000


class Field(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One field: `name` in lower case (empty for a line without a colon), offsets into the scanned bytes."""

    name: bytes
    start: int
    value: int
    """Where the value starts, behind the colon; equal to `end` where there is no colon."""
    end: int
    """Behind the line end."""


class HeaderSection(msgspec.Struct, frozen=True):
    """The fields of one header section, and the bytes that they point into."""

    data: bytes
    """The header section, the empty line included where there is one."""
    fields: tuple[Field, ...]
    complete: bool = True
    """False when a limit came before the empty line."""

    def all(self, name: bytes) -> Iterator[bytes]:
        """Unfolded values of every field of that name, in order."""
        wanted = name.lower()
        return (self.value(field) for field in self.fields if field.name == wanted)

    def first(self, name: bytes) -> bytes | None:
        """Unfolded value of the first field of that name; None when there is none."""
        return next(self.all(name), None)

    def value(self, field: Field) -> bytes:
        """A field's value on one line, without blanks around it."""
        return _value(self.data, field)

    def message_id(self) -> bytes | None:
        """The first `<...>` of Message-ID without blanks; the bare value where it has no brackets; else None."""
        return message_id(self.first(b"message-id"))

    def date(self) -> bytes | None:
        """The Date field as written."""
        return self.first(b"date") or None


def _value(data: bytes, field: Field) -> bytes:
    return unfold(data[field.value : field.end].rstrip(b"\r\n")).strip(b" \t")


def message_id(value: bytes | None) -> bytes | None:
    """An identifier as it is compared: RFC 5322 3.6.4 msg-id with blanks and line ends taken out."""
    if value is None:
        return None
    match = _MESSAGE_ID.search(value)
    return b"".join((match[0] if match else value).split()) or None


def header_end(data: bytes, start: int = 0) -> int:
    """Offset behind the empty line that ends the header section at `start`; -1 when there is none."""
    empty = _EMPTY_START.match(data, start)
    if empty is not None:
        return empty.end()
    found = HEADER_END.search(data, start)
    return -1 if found is None else found.end()


def iter_fields(data: bytes, start: int, end: int, limit: int) -> Iterator[Field]:
    """Fields between two offsets; `end` may lie behind the empty line, which is not a field."""
    at = start
    while at < end and limit > 0:
        if _EMPTY_START.match(data, at, end):
            return
        limit -= 1
        match = _FIELD.match(data, at, end)
        assert match is not None
        if limit == 0 and match.end() < end:
            # The last field allowed takes everything up to the end of the section.
            tail = end
            for empty in (b"\r\n\r\n", b"\n\n"):
                if data.endswith(empty, at, end):
                    tail = end - len(empty) // 2
                    break
            yield Field(b"", at, tail, tail)
            return
        stop = match.end()
        named = _NAME.match(data, at, stop)
        if named is None:
            yield Field(b"", at, stop, stop)
        else:
            yield Field(named[1].lower(), at, named.end(), stop)
        at = stop


class FieldFinder:
    """Finds fields by their names without a look at the others; compiled once, for many header sections."""

    __slots__ = ("_search", "_texts")

    def __init__(self, names: Iterable[bytes]) -> None:
        wanted = sorted(set(names))
        named = b"|".join(map(re.escape, wanted)) or b"(?!)"
        first = b"".join(
            sorted({re.escape(letter) for name in wanted for letter in (name[:1].lower(), name[:1].upper())})
        )
        # The line end in front is what the search leaps to; a line that starts with a name never continues another.
        # A look at one letter is what most lines cost.
        start = rb"\n(?=[%b])" % (first or b":")
        rest = rb"[ \t]*:[^\n]*+(?:\n[ \t][^\n]*+)*"
        self._search = re.compile(rb"%b(%b)%b" % (start, named, rest), re.IGNORECASE).finditer
        self._texts = re.compile(rb"%b((?:%b)%b)" % (start, named, rest), re.IGNORECASE).findall

    def join(self, section: bytes, limit: int) -> bytes:
        """The octets of what `find` finds, joined."""
        if not section.endswith(b"\n"):  # cut short
            return b"".join(section[field.start : field.end] for field in self.find(section, limit))
        found = self._texts(b"\n" + section)[:limit]
        return b"\n".join(found) + b"\n" if found else b""

    def find(self, section: bytes, limit: int) -> Iterator[Field]:
        """At most `limit` of a header section, in order, as `iter_fields` has them (whose limit counts all fields)."""
        for found in islice(self._search(b"\n" + section), limit):
            end = found.end()
            # Offsets are one less than in the text that was searched, and the line end belongs to the field.
            yield Field(
                found[1].lower(), found.start(), section.index(b":", found.end(1) - 1) + 1, min(end, len(section))
            )


def scan(data: bytes, limits: HeaderLimits = HeaderLimits()) -> HeaderSection:  # noqa: B008  # frozen
    """The header section at the start of `data`, within limits."""
    end = header_end(data[: limits.size] if len(data) > limits.size else data)
    # A message may be all header; it is incomplete only where the limit hid the rest.
    complete = end >= 0 or len(data) <= limits.size
    section = data[: end if end >= 0 else min(len(data), limits.size)]
    return HeaderSection(section, tuple(iter_fields(section, 0, len(section), limits.fields)), complete)


_MESSAGE_ID_FIELD = FieldFinder((b"message-id",))


def find_message_id(data: bytes, limits: HeaderLimits) -> bytes | None:
    """`scan(data, limits).message_id()`, in most cases without a look at the other fields."""
    end = header_end(data[: limits.size] if len(data) > limits.size else data)
    section = data[: end if end >= 0 else limits.size]
    for field in _MESSAGE_ID_FIELD.find(section, 1):
        if section.count(b"\n", 0, field.start) + 1 >= limits.fields:  # as many fields perhaps: it may be one too many
            return scan(data, limits).message_id()
        return message_id(_value(section, field))
    return None


class HeaderScanner:
    """Collects the header section from a stream of blocks, never more than `limits.size` bytes of it."""

    def __init__(self, limits: HeaderLimits = HeaderLimits()) -> None:  # noqa: B008  # frozen
        self._limits = limits
        self._data = bytearray()
        self._searched = 0
        self._section: HeaderSection | None = None

    def feed(self, block: bytes) -> HeaderSection | None:
        """Take the next block of the message; the section once it is known, and the same one ever after."""
        if self._section is not None:
            return self._section
        room = self._limits.size - len(self._data)
        self._data += block[:room]
        end = header_end_in(self._data, self._searched)
        self._searched = max(len(self._data) - 2, 0)
        if end >= 0:
            self._finish(end, complete=True)
        elif len(block) > room:
            self._finish(len(self._data), complete=False)
        return self._section

    def finish(self) -> HeaderSection:
        """The message has ended: the section as far as it came."""
        if self._section is None:
            self._finish(len(self._data), complete=True)
        assert self._section is not None
        return self._section

    def _finish(self, end: int, *, complete: bool) -> None:
        data = bytes(self._data[:end])
        fields: Sequence[Field] = tuple(iter_fields(data, 0, end, self._limits.fields))
        self._section = HeaderSection(data, tuple(fields), complete)
        self._data = bytearray()


def header_end_in(data: bytearray, searched: int) -> int:
    """`header_end` over a growing buffer whose first `searched` bytes held no end."""
    if searched <= 1:
        empty = _EMPTY_START.match(data)
        if empty is not None:
            return empty.end()
    found = HEADER_END.search(data, searched)
    return -1 if found is None else found.end()
