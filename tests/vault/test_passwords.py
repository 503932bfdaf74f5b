"""Password verifiers."""

from __future__ import annotations

import pytest

from relay.vault.passwords import DUMMY, hash_password, needs_rehash, verify_password


def test_a_password_fits_its_verifier_only() -> None:
    one, two = hash_password(b"secret"), hash_password(b"secret")
    assert one != two
    assert b"secret" not in one.encode()
    assert verify_password(b"secret", one)
    assert not verify_password(b"Secret", one)
    assert not verify_password(b"", one)
    assert not needs_rehash(one)


def test_the_dummy_is_a_real_verifier_with_todays_cost() -> None:
    assert not needs_rehash(DUMMY)
    assert len(DUMMY) == len(hash_password(b""))
    assert not verify_password(b"", DUMMY)


@pytest.mark.parametrize("verifier", ["", "x", "$argon2id$v=19$m=1", "$2b$12$abc", "é" * 50, DUMMY[:-1]])
def test_what_is_no_verifier_fits_nothing(verifier: str) -> None:
    assert not verify_password(b"secret", verifier)


def test_other_parameters_ask_for_a_new_hash() -> None:
    assert needs_rehash("$argon2id$v=19$m=65536,t=3,p=4$" + "A" * 22 + "$" + "A" * 43)
    assert needs_rehash("$argon2i$v=19$m=19456,t=2,p=1$" + "A" * 22 + "$" + "A" * 43)
