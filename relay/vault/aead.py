"""AES-256-GCM with a 192-bit nonce: any number of messages under one long-lived key.

Plain GCM with random 96-bit nonces must stop after 2^32 messages; a busy relay wraps that many keys in weeks. Here
half of the nonce derives a key of its own per message, so a repeat needs 2^96 of them.
"""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relay.core.errors import Damaged

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_BYTES = 16
OVERHEAD = NONCE_BYTES + TAG_BYTES
"""Bytes that sealing adds."""


class Keyed:
    """HMAC-SHA-256 under one key, many times.

    `hmac.digest` lets go of the interpreter lock for every call, however short, and beside a busy thread waits long to
    have it back; this keeps it, and the key's own two blocks are computed once.
    """

    __slots__ = ("_state",)

    def __init__(self, key: bytes) -> None:
        self._state = hmac.new(key, digestmod="sha256")

    def digest(self, data: bytes) -> bytes:
        """32 bytes."""
        state = self._state.copy()
        state.update(data)
        return state.digest()


def derive(key: bytes, label: bytes) -> bytes:
    """An independent 256-bit key for another use of `key`."""
    return Keyed(key).digest(label)


class LongLivedKey:
    """Seals small values under one key; `aad` must be the same on both sides."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a key has 32 bytes")
        self._keyed = Keyed(key)

    def seal(self, data: bytes, aad: bytes) -> bytes:
        """Nonce, ciphertext, tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self._keyed.digest(nonce[:12])).encrypt(nonce[12:], data, aad)

    def open(self, sealed: bytes, aad: bytes) -> bytes:
        """What `seal` was given; Damaged otherwise."""
        if len(sealed) < OVERHEAD:
            raise Damaged("sealed value is cut short")
        try:
            return AESGCM(self._keyed.digest(sealed[:12])).decrypt(sealed[12:24], sealed[24:], aad)
        except InvalidTag:
            raise Damaged("sealed value does not verify") from None
