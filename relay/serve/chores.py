"""Work that goes on beside the connection that caused it, and is waited for when the node stops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from relay.obs.logs import logger

_log = logger("serve.chores")


class Chores:
    """Owns its tasks; one per worker."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin; what goes wrong is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way, then cut it. Idempotent."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("chore_failed", exc_info=error)
