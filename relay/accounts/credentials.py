"""Stored password verifiers, sealed: the one place that knows how they lie in the store.

1. A row names its login inside the sealed verifier, so a verifier copied into another row does not open there.
2. A row that does not open is as good as absent, and never stops a listing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from relay.core.errors import Damaged
from relay.store.api import DirectoryStore
from relay.store.records import Credential, Mac
from relay.vault.sealing import Vault

Kind = Literal["configured", "remembered", "token", "revoked"]
"""Passwords of the relay's own, those seen to work on the primary, tokens seen to work, and when all was revoked."""


class StoredLogin(msgspec.Struct, frozen=True):
    """One verifier in plain words; `stamp` changes with every change of the row."""

    address: str
    kind: Kind
    verifier: str
    updated_at: float
    stamp: bytes


class _Body(msgspec.Struct, frozen=True, array_like=True):
    address: str
    verifier: str


class Credentials:
    """Verifiers by account address."""

    def __init__(self, store: DirectoryStore, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    def mac(self, address: str) -> Mac:
        """Look-up key of an account."""
        return self._vault.mac("login", address)

    async def get(self, address: str, kind: Kind) -> StoredLogin | None:
        """One verifier. NotNow."""
        row = await self._store.credential(self.mac(address), kind)
        return None if row is None else self._open(row, kind, address)

    async def put(self, address: str, kind: Kind, verifier: str, *, now: float) -> None:
        """Insert or replace. NotNow."""
        body = msgspec.msgpack.encode(_Body(address, verifier))
        await self._store.put_credential(
            Credential(
                self.mac(address),
                kind,
                self._vault.seal("login", address.encode()),
                self._vault.seal("verifier", body),
                now,
            )
        )

    async def delete(self, address: str, kind: Kind | None = None) -> int:
        """Remove; how many there were. NotNow."""
        return await self._store.delete_credential(self.mac(address), kind)

    async def all(self, kind: Kind) -> list[StoredLogin]:
        """All of a kind, by address. NotNow."""
        opened = (self._open(row, kind) for row in await self._store.credentials(kind))
        return sorted((one for one in opened if one is not None), key=lambda one: one.address)

    def _open(self, row: Credential, kind: Kind, address: str | None = None) -> StoredLogin | None:
        try:
            body = msgspec.msgpack.decode(self._vault.open("verifier", row.verifier), type=_Body)
        except (Damaged, msgspec.DecodeError):
            return None
        if row.mac != self.mac(body.address) or address not in (None, body.address):
            return None
        return StoredLogin(body.address, kind, body.verifier, row.updated_at, row.verifier)
