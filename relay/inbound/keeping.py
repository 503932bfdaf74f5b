"""Keeping the lease of an item in force while the primary takes its time with it.

1. Nothing happens, and nothing costs anything, before a third of the lease has passed. A renewal that fails is tried
   again several times while that can help.
2. It is taken for lost at two thirds without a renewal, because the clock that ends it is somebody else's: from then on
   another may settle the item, so its final dot must not be sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType

from relay.core.clock import Clock
from relay.core.errors import NotNow
from relay.inbound.ports import Queue
from relay.store.records import Lease


class Keeping:
    """`async with Keeping(queue, clock, lease, seconds):`, begun before the lease is asked for.

    `lease` is asked when it is time; None = there is none yet.
    """

    def __init__(self, queue: Queue, clock: Clock, lease: Callable[[], Lease | None], seconds: float) -> None:
        self._queue = queue
        self._clock = clock
        self._lease = lease
        self._seconds = seconds
        self._in_force_until = clock.monotonic() + seconds * 2 / 3
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None

    @property
    def in_force(self) -> bool:
        """Whether nobody else can have the item."""
        return self._clock.monotonic() < self._in_force_until

    async def __aenter__(self) -> Keeping:
        self._wait(self._seconds / 3)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        lease, wait = self._lease(), self._seconds / 12
        if lease is not None:
            asked = self._clock.monotonic()
            with contextlib.suppress(NotNow):  # the next one may be early enough
                kept = await self._queue.renew([lease], seconds=self._seconds)
                self._in_force_until = asked + self._seconds * 2 / 3 if kept else asked
                wait = self._seconds / 3
        self._wait(wait)
