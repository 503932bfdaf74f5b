"""Flags of a whole mailbox at once say what a look at each message says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap import search as keys
from relay.proto.imap.columns import places, sieve
from relay.proto.imap.flags import Flags, System


@dataclasses.dataclass
class Message:
    """Of which nothing is loaded but its row."""

    flags: Flags
    number: int = 1
    uid: int = 1
    recent: bool = False
    internal_date: float = 0.0
    size: int = 10

    def header(self, name: str) -> Sequence[str] | None:
        """Not loaded."""
        return None

    def header_text(self) -> str | None:
        """Not loaded."""
        return None

    def body_text(self) -> str | None:
        """Not loaded."""
        return None


_SYSTEM = st.integers(0, 31).map(System)
_LEAVES = st.one_of(
    st.builds(keys.HasFlags, _SYSTEM),
    st.builds(keys.Sized, st.integers(5, 15), st.booleans()),
    st.builds(keys.HeaderHas, st.just("subject"), st.just("x")),
)


def _trees(inner: st.SearchStrategy[keys.Key]) -> st.SearchStrategy[keys.Key]:
    return st.one_of(
        st.builds(keys.All, st.lists(inner, max_size=3).map(tuple)),
        st.builds(keys.AnyOf, inner, inner),
        st.builds(keys.Not, inner),
    )


_KEYS: st.SearchStrategy[keys.Key] = st.recursive(_LEAVES, _trees, max_leaves=8)


@given(_KEYS, st.lists(_SYSTEM, min_size=0, max_size=12))
def test_it_agrees_with_each_message(key: keys.Key, column: list[System]) -> None:
    found = sieve(key, bytes(column))
    if found is None:
        return
    assert len(found.column) == len(column)
    for flags, octet in zip(column, found.column, strict=True):
        answer = keys.evaluate(key, Message(Flags(flags)))
        if found.exact:
            assert octet == (answer is True)
        else:
            assert octet or answer is False


def test_flags_alone_are_exact_and_others_are_narrowed() -> None:
    flagged, subject = keys.HasFlags(System.FLAGGED), keys.HeaderHas("subject", "x")
    column = bytes((0, 4, 5, 31))
    both = sieve(keys.All((flagged, keys.Not(keys.HasFlags(System.SEEN)))), column)
    assert both is not None and both.exact and both.column == bytes((0, 1, 0, 0))
    narrowed = sieve(keys.All((subject, flagged)), column)
    assert narrowed is not None and not narrowed.exact and narrowed.column == bytes((0, 1, 1, 1))
    assert sieve(keys.AnyOf(subject, flagged), column) is None
    assert sieve(keys.Not(keys.All((subject, flagged))), column) is None
    assert sieve(subject, column) is None
    everything = sieve(keys.All(()), column)
    assert everything is not None and everything.column == b"\1" * 4


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 9))
def test_places_are_those_of_the_ones(marks: list[bool], thin: int) -> None:
    column = bytes(mark and at % thin == 0 for at, mark in enumerate(marks))
    assert list(places(column)) == [at for at, one in enumerate(column) if one]
