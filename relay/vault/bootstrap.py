"""From a key file and a data directory to a `Vault`.

The look-up and the meta key are random, made once per data directory, and kept there as settings wrapped by a key of
the ring. So rotation rewrites two settings and leaves every look-up value and every sealed name as it is; and a key
file of another data directory is noticed before anything is written, because nothing of it unwraps these two.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from relay.core.errors import ConfigFault, Damaged
from relay.vault.aead import KEY_BYTES
from relay.vault.keys import KeyRing, MissingKey
from relay.vault.sealing import Vault

LOOKUP = "vault.lookup"
META = "vault.meta"
"""Names of the settings."""

Get: TypeAlias = Callable[[str], Awaitable[bytes | None]]
PutIfAbsent: TypeAlias = Callable[[str, bytes], Awaitable[bytes]]
"""Answers with the value in force afterwards: of two starting workers the first wins."""
Put: TypeAlias = Callable[[str, bytes], Awaitable[None]]


async def open_vault(ring: KeyRing, get: Get, put_if_absent: PutIfAbsent) -> Vault:
    """The vault of a data directory; makes its two keys on first use. ConfigFault when `ring` is not its key file."""
    lookup = await _root(ring, LOOKUP, get, put_if_absent)
    meta = await _root(ring, META, get, put_if_absent)
    return Vault(ring, lookup, meta)


async def rewrap_roots(ring: KeyRing, get: Get, put: Put) -> int:
    """Wrap the two keys with the active key where they are not; returns how many were. Part of rotation."""
    done = 0
    for name in (LOOKUP, META):
        value = await get(name)
        if value is not None and _split(value)[0] != ring.active:
            await put(name, _wrap(ring, name, _unwrap(ring, name, value)))
            done += 1
    return done


async def root_keys_in_use(get: Get) -> frozenset[str]:
    """Names of the keys that the two are wrapped with: none of these may leave the key file."""
    values = [await get(name) for name in (LOOKUP, META)]
    return frozenset(_split(value)[0] for value in values if value is not None)


async def _root(ring: KeyRing, name: str, get: Get, put_if_absent: PutIfAbsent) -> bytes:
    value = await get(name)
    if value is None:
        value = await put_if_absent(name, _wrap(ring, name, secrets.token_bytes(KEY_BYTES)))
    return _unwrap(ring, name, value)


def _wrap(ring: KeyRing, name: str, key: bytes) -> bytes:
    key_id, wrapped = ring.wrap(key, _aad(name))
    return key_id.encode("ascii") + b"\0" + wrapped


def _unwrap(ring: KeyRing, name: str, value: bytes) -> bytes:
    key_id, wrapped = _split(value)
    try:
        key = ring.unwrap(key_id, wrapped, _aad(name))
    except MissingKey as missing:
        raise ConfigFault(
            f"vault.key_file: this key file does not belong to this data directory: {missing}, "
            "or point node.data_dir to the directory that belongs to this key file"
        ) from None
    except Damaged:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigFault(
            f"vault.key_file: this key file does not belong to this data directory: its key {key_id} does not open "
            f"the setting {name}. Restore the right key file, or the data directory, from its copy"
        )
    return key


def _split(value: bytes) -> tuple[str, bytes]:
    key_id, _, wrapped = value.partition(b"\0")
    return key_id.decode("ascii", "replace"), wrapped


def _aad(name: str) -> bytes:
    return b"relay 1 root " + name.encode()
