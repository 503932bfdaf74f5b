"""Keeping the lease of an item in force while the primary takes its time with it.

Nothing happens, and nothing costs anything, before a third of the lease has passed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType

from relay.core.errors import NotNow
from relay.inbound.ports import Queue
from relay.store.records import Lease


class Keeping:
    """`async with Keeping(queue, lease, seconds):`; `lease` is asked when it is time, None = there is none yet."""

    def __init__(self, queue: Queue, lease: Callable[[], Lease | None], seconds: float) -> None:
        self._queue = queue
        self._lease = lease
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds / 3, self._begin)

    def _begin(self) -> None:
        self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        lease = self._lease()
        if lease is not None:
            with contextlib.suppress(NotNow):  # the next renewal is early enough
                await self._queue.renew([lease], seconds=self._seconds)
        self._wait()
