"""SEARCH keys (RFC 9051 6.4.4, RFC 3501 6.4.4) as a tree, and what they say of one message.

The answer has three values: True, False, and None for "cannot tell from what is loaded". So the caller tries with the
index row, loads the header only where that was not enough, and the body only where the header was not. A fully loaded
message never gives None.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from enum import Enum, auto
from typing import Protocol, TypeAlias

import msgspec

from relay.proto.imap.dates import header_date, utc_day
from relay.proto.imap.flags import Flags, System
from relay.proto.imap.sequence import SequenceSet, merge


class MessageView(Protocol):
    """What a message shows to a search. None = not loaded yet."""

    @property
    def number(self) -> int:
        """Message sequence number."""
        ...

    @property
    def uid(self) -> int:
        """UID."""
        ...

    @property
    def flags(self) -> Flags:
        """Flags without `Recent`."""
        ...

    @property
    def recent(self) -> bool:
        """Whether it is new to this session."""
        ...

    @property
    def internal_date(self) -> float:
        """Unix seconds."""
        ...

    @property
    def size(self) -> int:
        """Octets."""
        ...

    def header(self, name: str) -> Sequence[str] | None:
        """Decoded values of all fields of this name (lower case)."""
        ...

    def body_text(self) -> str | None:
        """Decoded text of the body, case folded."""
        ...

    def header_text(self) -> str | None:
        """Decoded text of the whole header, case folded."""
        ...


class Compare(Enum):
    """How a date is compared."""

    BEFORE = auto()
    ON = auto()
    SINCE = auto()


class Return(Enum):
    """What a SEARCH shall give back; the value is the name on the wire (RFC 4731 3.1, RFC 5182 2.1)."""

    MIN = "MIN"
    MAX = "MAX"
    ALL = "ALL"
    COUNT = "COUNT"
    SAVE = "SAVE"


class HasFlags(msgspec.Struct, frozen=True):
    """All of these system flags are set."""

    flags: System


class HasKeyword(msgspec.Struct, frozen=True):
    """The keyword is set."""

    name: str


class IsRecent(msgspec.Struct, frozen=True):
    r"""`\Recent`, which only rev1 has."""


class Numbers(msgspec.Struct, frozen=True):
    """A sequence set, of message numbers or UIDs."""

    numbers: SequenceSet
    uid: bool


class Among(msgspec.Struct, frozen=True):
    """`Numbers` once it is known what `*` means: ascending, disjoint spans, looked up by bisection."""

    lows: tuple[int, ...]
    highs: tuple[int, ...]
    uid: bool


class HeaderHas(msgspec.Struct, frozen=True):
    """A field of this name (lower case) contains the text (case folded); an empty text asks for the field alone."""

    name: str
    text: str


class BodyHas(msgspec.Struct, frozen=True):
    """The body, or with `header` also the header, contains the text (case folded)."""

    text: str
    header: bool


class DateOf(Enum):
    """Which of a message's dates is meant."""

    ARRIVED = auto()
    """INTERNALDATE."""
    SENT = auto()
    """The Date header, without time and zone."""
    SAVED = auto()
    """When it came into this mailbox (RFC 8514 4.3)."""


class Dated(msgspec.Struct, frozen=True):
    """One of its dates, compared by day."""

    compare: Compare
    day: date
    of: DateOf


class Within(msgspec.Struct, frozen=True):
    """INTERNALDATE at most (YOUNGER) or at least (OLDER) so many seconds ago (RFC 5032 2)."""

    seconds: int
    younger: bool


class Stamped(msgspec.Struct, frozen=True):
    """`Within` once it is known what time it is: INTERNALDATE at or after (or before) a moment in Unix seconds."""

    moment: float
    after: bool


class ObjectIs(msgspec.Struct, frozen=True):
    """EMAILID, or with `thread` THREADID, is exactly this (RFC 8474 6)."""

    id: str
    thread: bool


class Sized(msgspec.Struct, frozen=True):
    """RFC822.SIZE strictly above (LARGER) or below (SMALLER) the number."""

    octets: int
    larger: bool


class All(msgspec.Struct, frozen=True):
    """Every one of the keys; with none, every message."""

    keys: tuple[Key, ...]


class AnyOf(msgspec.Struct, frozen=True):
    """One of two."""

    left: Key
    right: Key


class Not(msgspec.Struct, frozen=True):
    """The opposite."""

    key: Key


_Leaf: TypeAlias = (
    HasFlags
    | HasKeyword
    | IsRecent
    | Numbers
    | Among
    | HeaderHas
    | BodyHas
    | Dated
    | Within
    | Stamped
    | Sized
    | ObjectIs
)
Key: TypeAlias = _Leaf | All | AnyOf | Not


class Kept(msgspec.Struct, frozen=True):
    """What a store may keep of a message beside what every message has."""

    save_date: float | None = None
    """Unix seconds; None = not known, then INTERNALDATE counts (RFC 8514 4.1)."""
    email_id: str | None = None
    thread_id: str | None = None


_NOTHING = Kept()
_NO_DATE = date(1970, 1, 1)
"""The day of a message without a Date that can be read: before all others, as in Dovecot."""


def leaves(key: Key) -> Iterator[_Leaf]:
    """What the tree asks of a message, in order; so a caller knows what it must load, and whether it needs `Kept`."""
    waiting = [key]
    while waiting:
        one = waiting.pop()
        if isinstance(one, All):
            waiting.extend(reversed(one.keys))
        elif isinstance(one, AnyOf):
            waiting += (one.right, one.left)
        elif isinstance(one, Not):
            waiting.append(one.key)
        else:
            yield one


def bind(key: Key, *, messages: int, largest_uid: int, now: float | None = None, saved: Iterable[int] = ()) -> Key:
    """The key with its sets resolved against the selected mailbox, and its intervals against the clock.

    `now` in Unix seconds; `saved` are the UIDs that `$` names, ascending.
    """
    if isinstance(key, Numbers):
        if key.numbers.saved:
            return _among(merge([(uid, uid) for uid in saved]), uid=True)
        return _among(key.numbers.resolve(largest_uid if key.uid else messages), key.uid)
    if isinstance(key, Within):
        if now is None:
            raise TypeError("the time is needed")
        return Stamped(now - key.seconds, after=key.younger)

    def bound(part: Key) -> Key:
        return bind(part, messages=messages, largest_uid=largest_uid, now=now, saved=saved)

    if isinstance(key, All):
        return All(tuple(bound(part) for part in key.keys))
    if isinstance(key, AnyOf):
        return AnyOf(bound(key.left), bound(key.right))
    if isinstance(key, Not):
        return Not(bound(key.key))
    return key


def _among(spans: Sequence[tuple[int, int]], uid: bool) -> Among:
    return Among(tuple(low for low, _ in spans), tuple(high for _, high in spans), uid)


def evaluate(key: Key, message: MessageView, kept: Kept = _NOTHING) -> bool | None:
    """Kleene's three-valued logic over a bound tree; recursion is bounded by the parser's depth limit."""
    if isinstance(key, All):
        unknown = False
        for part in key.keys:
            answer = evaluate(part, message, kept)
            if answer is False:
                return False
            unknown = unknown or answer is None
        return None if unknown else True
    if isinstance(key, AnyOf):
        left = evaluate(key.left, message, kept)
        if left:
            return True
        right = evaluate(key.right, message, kept)
        return True if right else (False if left is False and right is False else None)
    if isinstance(key, Not):
        answer = evaluate(key.key, message, kept)
        return None if answer is None else not answer
    return _leaf(key, message, kept)


def _leaf(key: _Leaf, message: MessageView, kept: Kept) -> bool | None:
    if isinstance(key, HasFlags):
        return key.flags in message.flags.system
    if isinstance(key, Among):
        number = message.uid if key.uid else message.number
        at = bisect_right(key.lows, number)
        return at > 0 and number <= key.highs[at - 1]
    if isinstance(key, (Numbers, Within)):
        raise TypeError("bind the key first")
    if isinstance(key, HeaderHas):
        values = message.header(key.name)
        if values is None:
            return None
        return any(key.text in value.casefold() for value in values)
    if isinstance(key, BodyHas):
        return _text(key, message)
    if isinstance(key, Dated):
        return _dated(key, message, kept)
    if isinstance(key, Stamped):
        return message.internal_date >= key.moment if key.after else message.internal_date <= key.moment
    if isinstance(key, ObjectIs):
        return key.id == (kept.thread_id if key.thread else kept.email_id)
    if isinstance(key, Sized):
        return message.size > key.octets if key.larger else message.size < key.octets
    if isinstance(key, HasKeyword):
        return message.flags.has_keyword(key.name)
    return message.recent


def _text(key: BodyHas, message: MessageView) -> bool | None:
    if key.header:
        header = message.header_text()
        if header is None:
            return None
        if key.text in header:
            return True
    body = message.body_text()
    return None if body is None else key.text in body


def _dated(key: Dated, message: MessageView, kept: Kept) -> bool | None:
    if key.of is DateOf.SENT:
        values = message.header("date")
        if values is None:
            return None
        day = (header_date(values[0]) if values else None) or _NO_DATE
    elif key.of is DateOf.SAVED and kept.save_date is not None:
        day = utc_day(kept.save_date)
    else:
        day = utc_day(message.internal_date)
    if key.compare is Compare.BEFORE:
        return day < key.day
    if key.compare is Compare.SINCE:
        return day >= key.day
    return day == key.day
