"""Search: three-valued answers agree with two-valued ones, whatever is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap import search as s
from relay.proto.imap.flags import Flags, System
from relay.proto.imap.sequence import SequenceSet


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
