"""Ways to cut a stream."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st


def cuts(data: bytes, points: list[int]) -> list[bytes]:
    """`data` cut at the given places (taken modulo its length); empty pieces are left out."""
    size = len(data) + 1
    places = [0, *sorted({point % size for point in points}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places) if a < b]


def octets(data: bytes) -> list[bytes]:
    """One byte at a time."""
    return [data[i : i + 1] for i in range(len(data))]


POINTS = st.lists(st.integers(min_value=0, max_value=10_000), max_size=12)

MAILISH = st.lists(
    st.sampled_from(
        [b"\r\n", b"\r", b"\n", b".", b"..", b"\0", b"a", b"text", b"\r\n.", b"\r\n.\r", b" ", b"\xc3\xa4"]
    ),
    max_size=40,
).map(b"".join)
"""Streams made of what matters to the end of data."""
