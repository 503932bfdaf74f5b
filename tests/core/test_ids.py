"""Item ids: round trip, order, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import ids


@given(st.binary(min_size=16, max_size=16))
def test_bytes_and_text_round_trip(raw: bytes) -> None:
    text = ids.from_bytes(raw)
    assert len(text) == ids.ITEM_ID_LENGTH
    assert ids.to_bytes(text) == raw
    assert ids.parse(f" {text.upper()} ") == text


@given(
    st.tuples(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10)),
    st.tuples(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10)),
)
def test_text_sorts_as_time(a: tuple[int, bytes], b: tuple[int, bytes]) -> None:
    first, second = ids.item_id(*a), ids.item_id(*b)
    assert ids.minted_ms(first) == a[0]
    assert (first < second) == (a < b)


@pytest.mark.parametrize("text", ["", "0" * 25, "0" * 27, "u" * 26, "z" * 26, "0" * 25 + "\n"])
def test_what_is_not_an_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="item id"):
        ids.to_bytes(ids.ItemId(text))


def test_wrong_ingredients_are_refused() -> None:
    with pytest.raises(ValueError, match="entropy"):
        ids.item_id(0, b"")
    with pytest.raises(ValueError, match="time"):
        ids.item_id(1 << 48, bytes(10))
    with pytest.raises(ValueError, match="16 bytes"):
        ids.from_bytes(b"")
