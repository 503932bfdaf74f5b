"""Where a server's octets stand: the light tracker agrees with the full reader."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap.boundary import Boundary
from relay.proto.imap.client import ResponseReader

LINES = st.one_of(
    st.sampled_from([b"* OK hi\r\n", b"a1 OK Done\r\n", b"+ idling\r\n", b"* 5 EXISTS\r\n", b"* LIST () NIL x\r\n"]),
    st.lists(st.binary(max_size=40), min_size=1, max_size=3).map(
        lambda parts: b"* 1 FETCH (" + b" ".join(b"X {%d}\r\n%b" % (len(p), p) for p in parts) + b")\r\n"
    ),
)


@given(st.lists(LINES, max_size=6).map(b"".join), st.lists(st.integers(0, 300), max_size=10), st.integers(0, 400))
def test_it_agrees_with_the_full_reader_at_every_cut(data: bytes, cuts: list[int], stop: int) -> None:
    data = data[:stop]
    boundary, reader = Boundary(), ResponseReader()
    for start, end in itertools.pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        boundary.feed(data[start:end])
        reader.feed(data[start:end])
        while reader.next() is not None:
            pass
        assert boundary.at_line_start is reader.between_responses
    assert data.endswith(boundary.last) or not data


def test_a_large_literal_costs_a_subtraction() -> None:
    boundary = Boundary()
    boundary.feed(b"* 1 FETCH (BODY[] {10000000000}\r\n")
    for _ in range(1000):
        boundary.feed(bytes(10_000_000))
    assert not boundary.at_line_start
    boundary.feed(b")\r\n")
    assert boundary.at_line_start
