"""Search: three-valued answers agree with two-valued ones, whatever is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap import search as s
from relay.proto.imap.flags import Flags, System
from relay.proto.imap.sequence import SAVED, SequenceSet


class Message(msgspec.Struct):
    """A message of which header or body may not be loaded."""

    number: int = 1
    uid: int = 5
    flags: Flags = Flags(System.SEEN, ("Junk",))
    recent: bool = False
    internal_date: float = 1_770_000_000.0  # 2026-02-02
    size: int = 100
    headers: dict[str, list[str]] | None = None
    body: str | None = None

    def header(self, name: str) -> Sequence[str] | None:
        return None if self.headers is None else self.headers.get(name, [])

    def header_text(self) -> str | None:
        if self.headers is None:
            return None
        return "\n".join(f"{k}: {v}" for k, values in self.headers.items() for v in values).casefold()

    def body_text(self) -> str | None:
        return None if self.body is None else self.body.casefold()


FULL = Message(headers={"subject": ["Ärger"], "date": ["Mon, 2 Feb 2026 10:00 +0000"], "to": []}, body="Hello World")
BARE = Message()


def evaluate(key: s.Key, message: Message) -> bool | None:
    return s.evaluate(s.bind(key, messages=3, largest_uid=9), message)


LEAVES: list[tuple[s.Key, bool]] = [
    (s.HasFlags(System.SEEN), True),
    (s.HasFlags(System.DRAFT), False),
    (s.HasKeyword("junk"), True),
    (s.IsRecent(), False),
    (s.Numbers(SequenceSet(((1, 2),)), uid=False), True),
    (s.Numbers(SequenceSet(((1, 2),)), uid=True), False),
    (s.HeaderHas("subject", "är"), True),
    (s.HeaderHas("cc", ""), False),
    (s.HeaderHas("subject", ""), True),
    (s.BodyHas("world", header=False), True),
    (s.BodyHas("ärger", header=False), False),
    (s.BodyHas("ärger", header=True), True),
    (s.Dated(s.Compare.ON, date(2026, 2, 2), s.DateOf.ARRIVED), True),
    (s.Dated(s.Compare.BEFORE, date(2026, 2, 2), s.DateOf.SENT), False),
    (s.Dated(s.Compare.SINCE, date(2026, 2, 2), s.DateOf.SENT), True),
    (s.Sized(100, larger=True), False),
    (s.Sized(101, larger=False), True),
    (s.All(()), True),
]


def test_leaves() -> None:
    for key, expected in LEAVES:
        assert evaluate(key, FULL) is expected, key
        assert evaluate(key, BARE) in (expected, None), key


KEYS = st.recursive(
    st.sampled_from(LEAVES),
    lambda keys: st.one_of(
        keys.map(lambda k: (s.Not(k[0]), not k[1])),
        st.tuples(keys, keys).map(lambda p: (s.AnyOf(p[0][0], p[1][0]), p[0][1] or p[1][1])),
        st.lists(keys, max_size=3).map(lambda ks: (s.All(tuple(k for k, _ in ks)), all(v for _, v in ks))),
    ),
    max_leaves=12,
)


@given(KEYS)
def test_partial_knowledge_is_never_wrong(pair: tuple[s.Key, bool]) -> None:
    key, expected = pair
    assert evaluate(key, FULL) is expected
    assert evaluate(key, BARE) in (expected, None)
    header_only = msgspec.structs.replace(FULL, body=None)
    assert evaluate(key, header_only) in (expected, None)


def test_what_only_some_stores_keep() -> None:
    day = date(2026, 3, 1)
    saved = s.Dated(s.Compare.ON, day, s.DateOf.SAVED)
    kept = s.Kept(save_date=1_772_323_200.0, email_id="M1", thread_id="T1")  # 2026-03-01
    assert s.evaluate(saved, FULL, kept) is True
    # RFC 8514 4.1: without a date of its own the arrival counts.
    assert s.evaluate(saved, FULL) is False
    assert s.evaluate(s.Dated(s.Compare.ON, date(2026, 2, 2), s.DateOf.SAVED), FULL) is True
    for key, expected in (
        (s.ObjectIs("M1", thread=False), True),
        (s.ObjectIs("m1", thread=False), False),
        (s.ObjectIs("T1", thread=True), True),
        (s.ObjectIs("M1", thread=True), False),
    ):
        assert s.evaluate(s.All((key,)), FULL, kept) is expected
        assert s.evaluate(key, FULL) is False


def test_within_counts_from_the_time_of_the_command() -> None:
    arrival = FULL.internal_date
    for seconds, now, younger, older in ((60, 59.0, True, False), (60, 60.0, True, True), (60, 61.0, False, True)):
        for is_younger, expected in ((True, younger), (False, older)):
            key = s.bind(s.Not(s.Within(seconds, is_younger)), messages=3, largest_uid=9, now=arrival + now)
            assert s.evaluate(key, FULL) is not expected


def test_within_needs_the_time() -> None:
    with pytest.raises(TypeError):
        s.bind(s.Within(1, younger=True), messages=1, largest_uid=1)


def test_the_saved_result_is_a_set_of_uids() -> None:
    for uid in (True, False):
        key = s.bind(s.Numbers(SAVED, uid=uid), messages=3, largest_uid=9, saved=[4, 5, 6, 9])
        assert s.evaluate(key, FULL) is True
        assert s.evaluate(key, Message(number=5, uid=7)) is False
    assert s.evaluate(s.bind(s.Numbers(SAVED, uid=True), messages=3, largest_uid=9), FULL) is False


def test_leaves_are_what_is_asked() -> None:
    one, two, three = s.Sized(1, larger=True), s.IsRecent(), s.HasKeyword("x")
    assert list(s.leaves(s.All((s.Not(one), s.AnyOf(two, three))))) == [one, two, three]
