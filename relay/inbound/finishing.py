"""Work that outlives the connection that began it: a commit, and what follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from relay.obs.logs import logger

T = TypeVar("T")
_log = logger("inbound.finishing")


class Finishing:
    """One per worker; `drain` it before the store is closed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do it while nobody waits for it."""
        self._task(work).add_done_callback(_orphaned)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result. When the caller is cancelled, the work goes on."""
        task = self._task(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_orphaned)
            raise

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self) -> None:
        """Wait until nothing is left."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))


def _orphaned(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("failed_without_listener", exc_info=error)
