"""SORT as pure functions: base subject, collation, order (RFC 5256 2, 3, RFC 5051).

Enters: what SORT and THREAD look at of each message (`Sortable`). Leaves: the messages in order. Promises:

1. Every function is linear in its text (sorting itself: n log n), whatever the text.
2. Nothing raises for what a message says.
3. Messages that the criteria do not tell apart stay in the order in which they came, also under REVERSE.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from types import MappingProxyType

import msgspec


class By(Enum):
    """Sort keys; the value is the name on the wire (RFC 5256 3)."""

    ARRIVAL = "ARRIVAL"
    CC = "CC"
    DATE = "DATE"
    FROM = "FROM"
    SIZE = "SIZE"
    SUBJECT = "SUBJECT"
    TO = "TO"


class Criterion(msgspec.Struct, frozen=True):
    """One sort key, perhaps reversed."""

    by: By
    reverse: bool = False


class Sortable(msgspec.Struct, frozen=True):
    """One message; what no criterion asks for may be left out. Dates are Unix seconds."""

    id: int
    """What the answer names it by: its number or UID."""
    arrival: float = 0.0
    sent: float = 0.0
    """The Date header, or the arrival where it says nothing (RFC 5256 2.2)."""
    size: int = 0
    subject: str = ""
    """Base subject, without its case: `collate(base_subject(...).text)`."""
    from_: str = ""
    """The local part of the first address, collated; the same for `to` and `cc`."""
    to: str = ""
    cc: str = ""


_VALUE: MappingProxyType[By, Callable[[Sortable], float | str]] = MappingProxyType(
    {
        By.ARRIVAL: lambda one: one.arrival,
        By.CC: lambda one: one.cc,
        By.DATE: lambda one: one.sent,
        By.FROM: lambda one: one.from_,
        By.SIZE: lambda one: one.size,
        By.SUBJECT: lambda one: one.subject,
        By.TO: lambda one: one.to,
    }
)
NEEDS_HEADER = frozenset({By.CC, By.DATE, By.FROM, By.SUBJECT, By.TO})
"""Sort keys that the index does not answer."""


def order(messages: Iterable[Sortable], criteria: Sequence[Criterion]) -> list[int]:
    """Ids in order; `messages` come by ascending number, which decides what the criteria leave open (RFC 5256 3)."""
    found = list(messages)
    for criterion in reversed(criteria):
        found.sort(key=_VALUE[criterion.by], reverse=criterion.reverse)
    return [one.id for one in found]


def collate(text: str) -> str:
    """The form in which `i;unicode-casemap` compares: titlecase, then decomposed (RFC 5051 2).

    Code points and the octets of UTF-8 sort alike, so the text itself may be compared.
    """
    if text.isascii():
        return text.upper()
    return unicodedata.normalize("NFKD", "".join(map(_titled, text)))


def _titled(char: str) -> str:
    title = char.title()
    # UnicodeData.txt maps one character to one; Python also knows the longer ones, which the collation does not use.
    return title if len(title) == 1 else char


class Subject(msgspec.Struct, frozen=True):
    """A subject without what replies and forwards put around it."""

    text: str
    changed: bool
    """It was a reply or a forward."""


_BLANKS = re.compile(r"[ \t\r\n]+")
_BLOB = r"\[[^\[\]]*+\] *+"
_LEADER = re.compile(rf"(?:{_BLOB})*(?:re|fwd?) *+(?:{_BLOB})?:", re.IGNORECASE)
_ONE_BLOB = re.compile(_BLOB)
_FORWARDED = re.compile(r"\[fwd:", re.IGNORECASE)
_TRAILER = "(fwd)"


def base_subject(decoded: str) -> Subject:
    """RFC 5256 2.1, from a Subject whose encoded words are decoded. Works on indices: nothing is cut twice."""
    text = _BLANKS.sub(" ", decoded)  # step 1
    start, end, changed = 0, len(text), False
    while True:
        while end > start:  # step 2
            if text[end - 1] == " ":
                end -= 1
            elif text[max(start, end - len(_TRAILER)) : end].lower() == _TRAILER:
                end -= len(_TRAILER)
                changed = True
            else:
                break
        while start < end:  # steps 3 to 5
            if text[start] == " ":
                start += 1
            elif found := _LEADER.match(text, start, end):
                start, changed = found.end(), True
            else:
                behind = _behind_blobs(text, start, end)
                if behind == start:
                    break
                # What follows the run is no leader, or it would have matched with the blobs in front of it.
                start = behind
                break
        if _FORWARDED.match(text, start, end) and text[end - 1] == "]":  # step 6
            start, end, changed = start + len("[fwd:"), end - 1, True
            continue
        return Subject(text[start:end].strip(" "), changed)


def _behind_blobs(text: str, start: int, end: int) -> int:
    """Step 4: behind as many `[...]` as can go while something stays."""
    while (found := _ONE_BLOB.match(text, start, end)) and found.end() < end:
        start = found.end()
    return start
