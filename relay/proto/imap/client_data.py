"""Untagged data and response codes of a server as typed values (RFC 9051 7.1 to 7.5, RFC 4315, RFC 7162).

Every reader takes what `client.ResponseReader` gave, and returns None when that is not of its kind or not well formed:
a server's mistake is never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from relay.proto.imap import dates, flags, names, sequence
from relay.proto.imap.args import Args, BadArgument
from relay.proto.imap.client import Data, Status
from relay.proto.imap.encode import parens
from relay.proto.imap.flags import Flags
from relay.proto.imap.sequence import SequenceSet
from relay.proto.imap.tokens import Atom, List, Literal, Quoted, Section, Streamed, Token


class Fetched(msgspec.Struct):
    """One FETCH response; what was not in it is None."""

    number: int
    uid: int | None = None
    flags: Flags | None = None
    recent: bool = False
    internal_date: float | None = None
    size: int | None = None
    modseq: int | None = None
    sections: dict[bytes, bytes | Streamed | None] = {}
    """By name as the server wrote it, upper case (`BODY[]`, `BODY[1.MIME]<0>`, `RFC822.HEADER`)."""
    other: dict[bytes, Token] = {}
    """Items that have no field here (ENVELOPE, BODYSTRUCTURE, ...)."""


class Listed(msgspec.Struct, frozen=True):
    """One LIST or LSUB response."""

    attributes: frozenset[str]
    """Lower case, with their backslash."""
    delimiter: str | None
    name: str


class Counts(msgspec.Struct, frozen=True):
    """One STATUS response."""

    name: str
    values: dict[str, int]


class Appended(msgspec.Struct, frozen=True):
    """APPENDUID (RFC 4315 3)."""

    uidvalidity: int
    uids: SequenceSet


class Copied(msgspec.Struct, frozen=True):
    """COPYUID (RFC 4315 3): sources and targets in corresponding order."""

    uidvalidity: int
    sources: SequenceSet
    targets: SequenceSet


class Vanished(msgspec.Struct, frozen=True):
    """VANISHED (RFC 7162 3.2.10)."""

    earlier: bool
    uids: SequenceSet


def fetched(data: Data) -> Fetched | None:
    """A FETCH response."""
    if data.name != "FETCH" or data.number is None:
        return None
    args = Args(data.tokens)
    found = Fetched(data.number)
    try:
        items = args.nested()
        args.end()
        while items.more:
            _item(found, items)
    except BadArgument:
        return None
    return found


def _item(value: Fetched, items: Args) -> None:
    token = items.token()
    if isinstance(token, Section):
        value.sections[label(token)] = _content(items.token())
        return
    if not isinstance(token, Atom):
        raise BadArgument("Expected the name of an item")
    name = token.value.upper()
    if name == b"UID":
        value.uid = items.number32()
    elif name == b"FLAGS":
        _flags(value, items.nested())
    elif name == b"INTERNALDATE":
        value.internal_date = dates.parse_date_time(items.string())
    elif name == b"RFC822.SIZE":
        value.size = items.number()
    elif name == b"MODSEQ":
        value.modseq = items.nested().number()
    elif name in (b"RFC822", b"RFC822.HEADER", b"RFC822.TEXT"):
        value.sections[name] = _content(items.token())
    else:
        value.other[name] = items.token()


def _flags(value: Fetched, inner: Args) -> None:
    words = []
    while inner.more:
        word = inner.bare()
        if word.lower() == b"\\recent":
            value.recent = True
        elif flags.parse([word]) is not None:
            # A server may show a flag that no client could set; such a one is passed over, the others count.
            words.append(word)
    value.flags = flags.parse(words)


def _content(token: Token) -> bytes | Streamed | None:
    if isinstance(token, (Quoted, Literal)):
        return token.value
    if isinstance(token, Streamed):
        return token
    if isinstance(token, Atom) and token.is_nil:
        return None
    raise BadArgument("Expected a string or NIL")


def label(section: Section) -> bytes:
    """A section's name, upper case."""
    words = []
    for token in section.items:
        if isinstance(token, List):
            words.append(parens(one.value for one in token.items if isinstance(one, (Atom, Quoted, Literal))))
        elif isinstance(token, (Atom, Quoted, Literal)):
            words.append(token.value)
    partial = b"" if section.partial is None else b"<" + section.partial + b">"
    return section.name + b"[" + b" ".join(words).upper() + b"]" + partial


def capabilities(tokens: Sequence[Token]) -> tuple[str, ...]:
    """Names from a CAPABILITY response or code, upper case, in order."""
    return tuple(token.value.decode("ascii", "replace").upper() for token in tokens if isinstance(token, Atom))


def listed(data: Data, *, utf8: bool = False) -> Listed | None:
    """A LIST or LSUB response."""
    if data.name not in ("LIST", "LSUB"):
        return None
    args = Args(data.tokens, utf8=utf8)
    try:
        inner, attributes = args.nested(), set()
        while inner.more:
            attributes.add(inner.bare().decode("ascii", "replace").lower())
        delimiter = args.nstring()
        name = names.decode(args.astring(), utf8=utf8)
    except (BadArgument, names.BadName):
        return None
    return Listed(frozenset(attributes), None if delimiter is None else delimiter.decode("utf-8", "replace"), name)


def counts(data: Data, *, utf8: bool = False) -> Counts | None:
    """A STATUS response."""
    if data.name != "STATUS":
        return None
    args = Args(data.tokens, utf8=utf8)
    values: dict[str, int] = {}
    try:
        name, inner = args.mailbox(), args.nested()
        while inner.more:
            item = inner.word()
            values[item] = inner.number()
    except BadArgument:
        return None
    return Counts(name, values)


def numbers(data: Data) -> tuple[int, ...] | None:
    """The numbers of a SEARCH response."""
    if data.name != "SEARCH":
        return None
    args, found = Args(data.tokens), []
    try:
        while args.more and not isinstance(args.peek(), List):  # (MODSEQ n) may end it
            found.append(args.number32())
    except BadArgument:
        return None
    return tuple(found)


def vanished(data: Data) -> Vanished | None:
    """A VANISHED response."""
    if data.name != "VANISHED":
        return None
    args, earlier = Args(data.tokens), False
    try:
        if isinstance(args.peek(), List):
            earlier = args.nested().word() == "EARLIER"
        return Vanished(earlier, args.sequence_set())
    except BadArgument:
        return None


def appended(status: Status) -> Appended | None:
    """The APPENDUID code."""
    if status.code != "APPENDUID":
        return None
    args = Args(status.arguments)
    try:
        return Appended(args.number32(), args.sequence_set())
    except BadArgument:
        return None


def copied(status: Status) -> Copied | None:
    """The COPYUID code."""
    if status.code != "COPYUID":
        return None
    args = Args(status.arguments)
    try:
        return Copied(args.number32(), args.sequence_set(), args.sequence_set())
    except BadArgument:
        return None


def number_code(status: Status, name: str) -> int | None:
    """The number in a code such as UIDVALIDITY, UIDNEXT, UNSEEN or HIGHESTMODSEQ."""
    if status.code != name:
        return None
    try:
        return Args(status.arguments).number()
    except BadArgument:
        return None


def expand(numbers_set: SequenceSet, most: int) -> list[int] | None:
    """Every number of a server's set in the order written; None when that would be more than `most`."""
    found: list[int] = []
    for low, high in numbers_set.ranges:
        low_end, high_end = min(low, high), max(low, high)
        if sequence.STAR in (low_end, high_end) or len(found) + high_end - low_end + 1 > most:
            return None
        found.extend(range(low_end, high_end + 1))
    return found
