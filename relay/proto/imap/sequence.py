"""Sequence sets (RFC 9051 9 sequence-set): numbers and ranges, `*` for the largest number in use.

Parsing is linear and never expands a range, so `1:4294967295` costs as much as `1`.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import msgspec

LARGEST = 0xFFFFFFFF
"""RFC 9051 9 nz-number: 32 bits."""
STAR = LARGEST + 1
"""`*` inside a parsed set."""

_RANGE = re.compile(rb"([1-9][0-9]{0,9}|\*)(?::([1-9][0-9]{0,9}|\*))?")


class SequenceSet(msgspec.Struct, frozen=True):
    """Ranges as written, each with both ends (equal for a single number); an end may be `STAR`."""

    ranges: tuple[tuple[int, int], ...]
    saved: bool = False
    """It is `$`, the result of the last SEARCH that saved one (RFC 5182 2.1); `SeqView.resolve` knows it."""

    def resolve(self, largest: int) -> list[tuple[int, int]]:
        """Ascending, disjoint ranges with `*` replaced; `largest` 0 means that nothing is in use.

        RFC 9051 9: `*` names the largest number in use, and `559:*` holds that one even where it is below 559.
        """
        if largest == 0:
            return []
        spans = sorted(
            (min(low, high), max(low, high))
            for low, high in ((largest if a == STAR else a, largest if b == STAR else b) for a, b in self.ranges)
        )
        return merge(spans)

    def select(self, numbers: Sequence[int]) -> list[int]:
        """Those of ascending `numbers` that the set names, ascending."""
        if not numbers:
            return []
        chosen: list[int] = []
        for low, high in self.resolve(numbers[-1]):
            chosen.extend(numbers[bisect_left(numbers, low) : bisect_right(numbers, high)])
        return chosen

    def contains(self, number: int, largest: int) -> bool:
        """Whether the set names `number`."""
        return any(low <= number <= high for low, high in self.resolve(largest))


SAVED = SequenceSet((), saved=True)
"""`$`. It stands alone: the grammar has no way to join it with numbers (RFC 9051 9 sequence-set)."""


def merge(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ascending ranges that overlap or touch."""
    merged: list[tuple[int, int]] = []
    for low, high in spans:
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def parse(text: bytes) -> SequenceSet | None:
    """None when it is not a sequence set."""
    ranges: list[tuple[int, int]] = []
    position = 0
    while True:
        found = _RANGE.match(text, position)
        if found is None:
            return None
        low = _end(found[1])
        high = low if found[2] is None else _end(found[2])
        if low is None or high is None:
            return None
        ranges.append((low, high))
        position = found.end()
        if position == len(text):
            return SequenceSet(tuple(ranges))
        if text[position : position + 1] != b",":
            return None
        position += 1


def _end(text: bytes) -> int | None:
    if text == b"*":
        return STAR
    number = int(text)
    return number if number <= LARGEST else None


def compact(numbers: Iterable[int]) -> bytes:
    """Ascending numbers as the shortest set that names exactly them; empty for none."""
    spans = merge([(number, number) for number in numbers])
    return b",".join(b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in spans)
