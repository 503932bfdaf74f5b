"""Small things that the way out remembers over a restart: one sealed value in the store's settings each.

What does not open is as good as absent: everything kept here can be learned again.
"""

from __future__ import annotations

from typing import Protocol

from relay.core.clock import Clock
from relay.core.errors import Damaged
from relay.obs.logs import logger
from relay.store.api import DirectoryStore, StoreUnavailable
from relay.vault.sealing import Vault

_log = logger("world.keeping")


class Keeping(Protocol):
    """Somewhere to keep one value."""

    async def load(self) -> bytes | None:
        """What was saved last."""
        ...

    async def save(self, value: bytes) -> None:
        """Keep it, if that is possible now."""
        ...


class SealedSetting:
    """A `Keeping` in the store: correspondents' domains must not be readable at rest."""

    def __init__(self, store: DirectoryStore, vault: Vault, clock: Clock, name: str) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._name = name

    async def load(self) -> bytes | None:
        """See `Keeping`."""
        try:
            sealed = await self._store.setting(self._name)
            return None if not sealed else self._vault.open(f"setting:{self._name}", sealed)
        except (StoreUnavailable, Damaged) as error:
            _log.warning("memory_not_read", part=self._name, error=type(error).__name__)
            return None

    async def save(self, value: bytes) -> None:
        """See `Keeping`."""
        try:
            sealed = self._vault.seal(f"setting:{self._name}", value)
            await self._store.put_setting(self._name, sealed, now=self._clock.now())
        except StoreUnavailable:
            _log.warning("memory_not_written", part=self._name)
