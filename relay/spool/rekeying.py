"""A new key taken into use while the node runs.

Whoever changes the key file (`relay keys rotate`, or the operator who replaces a mounted secret) announces it in the
store, or sends HUP. Each worker reads the file again and answers in the store with the names of the keys it has.

1. Stored keys are wrapped anew only when every running worker has answered with the new key: a row never waits for a
   key that somebody who must open it cannot get.
2. A worker that is late wraps with the old key; the old key stays in the file until `relay keys status` says that
   nothing uses it, so nothing that was sealed meanwhile is lost.
3. What does not open is left as it is and named, and stops nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from relay.core.clock import Clock
from relay.core.errors import ConfigFault, Damaged
from relay.core.ids import ItemId
from relay.obs.logs import logger
from relay.store.api import Store, StoreUnavailable
from relay.store.records import Change, ChangeKind, WrappedKey
from relay.vault.bootstrap import rewrap_roots
from relay.vault.keys import KeyRing
from relay.vault.sealing import Vault

ANNOUNCED = "keys.announced"
"""Setting: name of the key that the key file has as the active one now."""
_LOADED = "keys.loaded."
_BATCH = 1000
_RETRY_SECONDS = 0.5

_log = logger("spool.rekeying")


def loaded_setting(worker: str) -> str:
    """Name of the setting in which a worker (`node/slot`) says which keys it has, separated by spaces."""
    return _LOADED + worker


class KeyKeeper:
    """Keeps one worker's keys those of the file; `run` beside the rest of the worker."""

    def __init__(
        self,
        vault: Vault,
        store: Store,
        clock: Clock,
        *,
        worker: str,
        failed: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`failed` hears 1 when the file does not load, and 0 when it does."""
        self._vault = vault
        self._store = store
        self._clock = clock
        self._worker = worker
        self._failed = failed
        self._news = asyncio.Event()

    def heed(self, change: Change) -> None:
        """A handler for the change feed (SETTING)."""
        if change.kind is ChangeKind.SETTING and change.new == ANNOUNCED:
            self._news.set()

    def reload(self) -> None:
        """Read the key file again now. ConfigFault: the keys are what they were."""
        before = self._vault.active_key
        self._failed(1)
        gone = self._vault.refresh()
        self._failed(0)
        if self._vault.active_key != before:
            _log.info("key_taken_into_use", key_id=self._vault.active_key)
        if gone:
            _log.warning(
                "keys_left_the_file",
                key_id=list(gone),
                remedy="they work until the next start; `relay keys status` says whether anything still needs them",
            )
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._news.clear()
            try:
                self.reload()
            except ConfigFault as fault:
                _log.error("not_reloaded", part="keys", problem=str(fault))
            self._news.clear()
            try:
                await self._answer()
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            await self._news.wait()

    async def _answer(self) -> None:
        name, value = loaded_setting(self._worker), " ".join(self._vault.key_names).encode()
        if await self._store.setting(name) != value:
            await self._store.put_setting(name, value, now=self._clock.now())


class Rewrapped(msgspec.Struct, frozen=True):
    """What rotation did to the stored keys."""

    done: int
    damaged: tuple[ItemId, ...]
    """They do not open, and were left as they are."""


async def announce(store: Store, key: str, *, now: float) -> None:
    """Make every worker read the key file. StoreUnavailable."""
    await store.put_setting(ANNOUNCED, key.encode(), now=now)


async def has_loaded(store: Store, worker: str, key: str) -> bool:
    """Whether a worker has said that it has the key. StoreUnavailable."""
    said = await store.setting(loaded_setting(worker))
    return said is not None and key in said.decode("ascii", "replace").split()


async def rewrap(store: Store, vault: Vault, ring: KeyRing, *, now: float) -> Rewrapped:
    """Wrap every stored key with the active one; may be repeated, and interrupted. StoreUnavailable."""

    async def put(name: str, value: bytes) -> None:
        await store.put_setting(name, value, now=now)

    done = await rewrap_roots(ring, store.setting, put)
    damaged: set[ItemId] = set()
    while True:
        # Those that do not open stay as they are, so the answer begins with them again.
        rows = await store.wrapped_keys(not_key=vault.active_key, limit=_BATCH + len(damaged))
        pairs = []
        for row in rows:
            if row.item in damaged:
                continue
            try:
                key_id, wrapped = vault.rewrap(row.key_id, row.wrapped_key, row.item)
            except Damaged:
                damaged.add(row.item)
            else:
                pairs.append((row, WrappedKey(row.item, key_id, wrapped)))
        if not pairs:
            return Rewrapped(done, tuple(sorted(damaged)))
        done += await store.rewrap(pairs)
