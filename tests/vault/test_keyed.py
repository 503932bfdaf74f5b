"""The keyed hash is HMAC-SHA-256, so that what was stored before is found again."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st

from relay.vault.aead import Keyed, derive


@given(st.binary(min_size=1, max_size=200), st.lists(st.binary(max_size=5_000), max_size=4))
def test_it_is_hmac_whatever_was_hashed_before(key: bytes, messages: list[bytes]) -> None:
    keyed = Keyed(key)
    for message in messages:
        assert keyed.digest(message) == derive(key, message) == hmac.digest(key, message, "sha256")
