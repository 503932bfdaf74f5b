"""A deadline that is put off all the time: seconds enter, a call leaves once one of them is over.

A timer for every command costs more than reading the command. Here one timer runs on when its deadline was called off,
and looks for the one that counts when it fires; only a nearer one needs another timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Of one connection; `ring` is called at most once for each `set`."""

    __slots__ = ("_due", "_fires", "_loop", "_ring", "_timer")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring: Callable[[], None] | None = ring
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fires = 0.0

    def set(self, seconds: float) -> None:
        """From now on; instead of the one before."""
        self._due = self._loop.time() + seconds
        if self._timer is None or self._due < self._fires:
            self._start(self._due)

    def begin(self, seconds: float) -> None:
        """The same, unless there is one that counts."""
        if self._due is None:
            self.set(seconds)

    def off(self) -> None:
        """There is nothing to wait for."""
        self._due = None

    @property
    def on(self) -> bool:
        """Whether there is something to wait for."""
        return self._due is not None

    @property
    def over(self) -> bool:
        """Whether the deadline has come."""
        return self._due is not None and self._loop.time() >= self._due

    def close(self) -> None:
        """Never again. Idempotent."""
        self._due = self._ring = None  # who owns this is often who rings: without a cycle it is gone at once
        self._stop()

    def _start(self, when: float) -> None:
        self._stop()
        self._fires = when
        self._timer = self._loop.call_at(when, self._fired)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fired(self) -> None:
        self._timer = None
        if self.over and self._ring is not None:
            self._ring()
        elif self._due is not None:
            self._start(self._due)
