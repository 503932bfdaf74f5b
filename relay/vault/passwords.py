"""Password verifiers: Argon2id in PHC strings. Pure and slow (about 50 ms, 19 MiB): call them in a bounded pool.

The parameters are the first choice of OWASP's Password Storage Cheat Sheet (2024): m = 19 MiB, t = 2, p = 1.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

_MEMORY_KIB = 19 * 1024
_ITERATIONS = 2
_LANES = 1
_SALT_BYTES = 16
_LENGTH = 32
_CURRENT = f"$argon2id$v=19$m={_MEMORY_KIB},t={_ITERATIONS},p={_LANES}$"

DUMMY = _CURRENT + "AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43
"""A verifier that no known password fits: verify against it for an unknown user, so that time tells nothing."""


def hash_password(password: bytes) -> str:
    """A PHC string with a random salt."""
    return Argon2id(
        salt=os.urandom(_SALT_BYTES), length=_LENGTH, iterations=_ITERATIONS, lanes=_LANES, memory_cost=_MEMORY_KIB
    ).derive_phc_encoded(password)


def verify_password(password: bytes, verifier: str) -> bool:
    """Whether the password fits; False also for a verifier that is not one."""
    try:
        Argon2id.verify_phc_encoded(password, verifier)
    except (InvalidKey, ValueError):
        return False
    return True


def needs_rehash(verifier: str) -> bool:
    """Whether the verifier was made with other parameters than today's."""
    return not verifier.startswith(_CURRENT)
