"""A store and a vault in a folder, with a key of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from relay.core.clock import Clock
from relay.store.sqlite import SqliteSettings, SqliteStore, open_store
from relay.vault.bootstrap import open_vault
from relay.vault.keys import KeyRing, init_key_file
from relay.vault.sealing import Vault


@asynccontextmanager
async def opened(directory: Path, clock: Clock) -> AsyncIterator[tuple[SqliteStore, Vault]]:
    """New ones; closed afterwards."""
    key = directory / "relay.key"
    init_key_file(key)
    store = await open_store(directory / "relay.db", SqliteSettings())

    async def put_if_absent(name: str, value: bytes) -> bytes:
        return await store.put_setting_if_absent(name, value, now=clock.now())

    yield store, await open_vault(KeyRing.load(key), store.setting, put_if_absent)
    await store.close()
