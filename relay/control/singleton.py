"""Work that one worker of all does: whoever holds the named lease runs it; the others stand by to take over.

1. `body` runs only while the lease is held: it is renewed after a third of its time, and given up for lost after two
   thirds without a renewal, before another worker can be granted it.
2. A worker that dies is replaced when its lease runs out (`ttl` seconds).
3. A `body` that fails is logged and started again after a pause; it never takes the worker down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from relay.core.clock import Clock
from relay.obs.logs import Log, logger
from relay.store.api import StoreUnavailable


class LeaseStore(Protocol):
    """The part of `store.api.DirectoryStore` that is needed here."""

    async def acquire(self, name: str, owner: str, *, now: float, until: float) -> int | None:
        """Take or renew; None while another has it."""
        ...

    async def give_up(self, name: str, owner: str) -> None:
        """End one's own lease."""
        ...


class Singleton:
    """Runs `body` in one worker of all."""

    def __init__(
        self,
        store: LeaseStore,
        name: str,
        body: Callable[[], Awaitable[None]],
        *,
        owner: str,
        clock: Clock,
        ttl: float = 6.0,
        log: Log | None = None,
    ) -> None:
        self._store = store
        self._name = name
        self._body = body
        self._owner = owner
        self._clock = clock
        self._ttl = ttl
        self._log = log or logger("relay.control")
        self.held = asyncio.Event()
        """Set while this worker is the one."""

    async def run(self) -> None:
        """Until cancelled; gives the lease up then, so that the next worker need not wait for its end."""
        try:
            while True:
                if await self._acquire():
                    await self._hold()
                else:
                    await asyncio.sleep(self._ttl / 3)
        finally:
            with contextlib.suppress(StoreUnavailable):
                await asyncio.shield(self._store.give_up(self._name, self._owner))

    async def _hold(self) -> None:
        self._log.debug("singleton_begins", lease=self._name)
        self.held.set()
        body = asyncio.ensure_future(self._guarded())
        try:
            renewed = self._clock.monotonic()
            while self._clock.monotonic() - renewed < self._ttl * 2 / 3:
                done, _ = await asyncio.wait({body}, timeout=self._ttl / 3)
                if done:
                    return
                granted = await self._renew()
                if granted:
                    renewed = self._clock.monotonic()
                elif granted is False:
                    break
            self._log.warning("singleton_lost", lease=self._name)
        finally:
            self.held.clear()
            body.cancel()
            await asyncio.gather(body, return_exceptions=True)

    async def _guarded(self) -> None:
        try:
            await self._body()
        except Exception as error:  # invariant 3
            self._log.exception("singleton_failed", lease=self._name, exc_info=error)
            await asyncio.sleep(self._ttl / 3)

    async def _acquire(self) -> bool:
        return bool(await self._renew())

    async def _renew(self) -> bool | None:
        """Whether we have it; None = the store did not say."""
        now = self._clock.now()
        try:
            async with asyncio.timeout(self._ttl / 3):
                token = await self._store.acquire(self._name, self._owner, now=now, until=now + self._ttl)
        except (StoreUnavailable, TimeoutError):
            return None
        return token is not None
