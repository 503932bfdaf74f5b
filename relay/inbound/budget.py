"""Octets in flight over all connections: when there are too many, connections are not read from, in turns.

1. `take` never fails and never waits: what has arrived is in memory already. `full` tells to stop reading.
2. Who was stopped is started again in the order of stopping, as many at a time as there is room for; nobody stays
   stopped when nothing is in flight.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

_SHOWN = 4096
"""Octets that are worth moving the gauge for; command lines are not."""
_READ = 256 * 1024
"""What a transport brings at once, at most (asyncio and uvloop)."""


class Gauge(Protocol):
    """Where the use is shown."""

    def set(self, value: float) -> None:
        """Now."""
        ...


class ByteBudget:
    """One per worker."""

    def __init__(self, limit: int, gauge: Gauge | None = None) -> None:
        self.used = 0
        self.full = limit <= 0
        """Whether nobody should read more at the moment."""
        self._gauge = gauge
        self._limit = limit
        self._stopped: OrderedDict[object, Callable[[], bool]] = OrderedDict()

    def take(self, octets: int) -> None:
        """These have arrived."""
        self.used += octets
        self.full = self.used >= self._limit
        if self._gauge is not None and octets >= _SHOWN:
            self._gauge.set(self.used)

    def give(self, octets: int) -> None:
        """These are gone; starts those that have waited longest where there is room."""
        self.used -= octets
        self.full = self.used >= self._limit
        if self._gauge is not None and (octets >= _SHOWN or not self.used):
            self._gauge.set(self.used)
        expected = self.used
        # With nothing in flight nobody will give any more: then all of them go on, not only as many as are expected.
        while self._stopped and (expected < self._limit or not self.used):
            _, resume = self._stopped.popitem(last=False)
            if resume():
                expected += _READ

    def stop(self, who: object, resume: Callable[[], bool]) -> None:
        """`who` does not read until `resume` is called, which tells whether it reads now."""
        self._stopped.setdefault(who, resume)

    def forget(self, who: object) -> None:
        """`who` is gone; the next in turn takes its place."""
        if self._stopped.pop(who, None) is None:
            self.give(0)
