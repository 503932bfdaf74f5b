"""Connections to the servers of the world: a small pool for each, bounded in all.

1. At most `connections` transactions at a time over all servers, `pool.connections` to one.
2. At most `pools` servers are remembered; who was not used for longest goes first, and only when nobody uses it.
3. A connection that was made under one protection is never used under another.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from relay.core.clock import Clock
from relay.primary.errors import NoContact
from relay.primary.settings import PoolSettings, SmtpSettings
from relay.primary.smtp import SmtpPool
from relay.primary.tls import CertificateCheck
from relay.primary.transaction import Transaction
from relay.world.protection import Protection

Key = tuple[SmtpSettings, Protection]


class _Entry:
    def __init__(self, pool: SmtpPool) -> None:
        self.pool = pool
        self.users = 0


class Pools:
    """One per process."""

    def __init__(self, limits: PoolSettings, clock: Clock, *, connections: int, pools: int) -> None:
        self._limits = limits
        self._clock = clock
        self._most = pools
        self._turns = asyncio.Semaphore(connections)
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @asynccontextmanager
    async def transaction(
        self, settings: SmtpSettings, protection: Protection, ident: str
    ) -> AsyncIterator[Transaction]:
        """A transaction with one server. NoContact."""
        key = (settings, protection)
        entry = self._entries.get(key)
        if entry is None:
            entry = _Entry(self._make(settings, protection.check(self._clock)))
            self._entries[key] = entry
        self._entries.move_to_end(key)
        entry.users += 1
        try:
            async with self._turn(), entry.pool.transaction(None, ident=ident) as tx:
                yield tx
        finally:
            entry.users -= 1
            await self._trim()

    async def close(self) -> None:
        """Say goodbye on the idle connections."""
        entries = list(self._entries.values())
        self._entries.clear()
        for entry in entries:
            await entry.pool.close()

    def _make(self, settings: SmtpSettings, check: CertificateCheck | None) -> SmtpPool:
        return SmtpPool(settings, self._limits, self._clock, check)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limits.wait):
                await self._turns.acquire()
        except TimeoutError:
            raise NoContact("all connections are busy", evidence=False) from None
        try:
            yield
        finally:
            self._turns.release()

    async def _trim(self) -> None:
        unused = [key for key, entry in self._entries.items() if entry.users == 0]
        for key in unused[: max(0, len(self._entries) - self._most)]:
            await self._entries.pop(key).pool.close()
