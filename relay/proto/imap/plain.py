"""Header sections that cannot have words in them, many at once and without decoding anything.

What a section says is what its octets show as long as they are ASCII and begin no encoded word (RFC 2047). All sections
are searched as one: a loop over them costs more than looking at their octets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


def may_have(words: Sequence[bytes], sections: Sequence[bytes]) -> list[int]:
    """Places of the sections that may have all of the words (lower case, without blanks), ascending."""
    joined = b"\n".join(sections).lower()
    starts = list(accumulate((len(section) + 1 for section in sections), initial=0))
    places = set(range(len(sections)))
    for word in words:
        places &= _holders(joined, word, starts)
    places |= _encoded(joined, starts)
    if not joined.isascii():
        places |= {place for place, section in enumerate(sections) if not section.isascii()}
    return sorted(places)


def _holders(joined: bytes, word: bytes, starts: Sequence[int]) -> set[int]:
    found: set[int] = set()
    at = joined.find(word)
    while at >= 0:
        place = bisect_right(starts, at) - 1
        found.add(place)
        at = joined.find(word, starts[place + 1])
    return found


def _encoded(joined: bytes, starts: Sequence[int]) -> set[int]:
    """Where `=?` is: one octet is found many times as fast as two."""
    found: set[int] = set()
    at = joined.find(b"?")
    while at >= 0:
        after = at + 1
        if joined[at - 1 : at] == b"=":
            place = bisect_right(starts, at) - 1
            found.add(place)
            after = starts[place + 1]
        at = joined.find(b"?", after)
    return found
