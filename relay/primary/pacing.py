"""How fast the primary is fed: a rate that falls by half when it asks for patience and creeps up when it is well.

Results enter (was it answered 4xx, how long did it take); `turn` lets a message go when its time has come. Without a
configured rate there is none until the primary shows strain, and none again when it has long been gone.

asyncio-throttle does the waiting. It polls and is not fair, which does not matter for a queue that is its only user;
it is never used where a peer waits (docs/decisions: own token bucket there).
"""

from __future__ import annotations

import msgspec
from asyncio_throttle.throttler import Throttler

from relay.core.clock import Clock

_SLICE = 0.1
"""Seconds over which the rate is kept, so that it comes as a flow and not as a burst per second."""


class PacingSettings(msgspec.Struct, frozen=True):
    """When the primary counts as strained."""

    most: float = 0.0
    """Messages per second that are never exceeded; 0 = no such limit."""
    least: float = 1.0
    window: int = 20
    """Results that are judged together."""
    soft_share: float = 0.1
    """More than this share answered 4xx is strain..."""
    slow_factor: float = 4.0
    """...and so is taking this many times as long as it did at its best..."""
    slow_seconds: float = 0.5
    """...if that is longer than this."""


class Pacer:
    """One per destination."""

    def __init__(self, settings: PacingSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.rate = settings.most
        """Messages per second; 0 = as fast as they are taken."""
        self._throttler = Throttler(rate_limit=1, period=1.0)
        self._best = float("inf")
        self._count = self._soft = 0
        self._seconds = 0.0
        self._since = clock.monotonic()
        self._apply()

    async def turn(self) -> None:
        """Wait for this message's turn."""
        if self.rate > 0:
            await self._throttler.acquire()  # type: ignore[no-untyped-call]  # untyped library

    def note(self, *, soft: bool, seconds: float) -> None:
        """What one message came to: whether the primary asked for patience, and how long it took."""
        if self._count == 0:
            self._since = self._clock.monotonic() - seconds
        self._count += 1
        self._soft += soft
        self._seconds += seconds
        if self._count >= self._settings.window:
            self._judge()

    def _judge(self) -> None:
        s = self._settings
        mean = self._seconds / self._count
        taken = self._count / max(self._clock.monotonic() - self._since, 1e-3)
        slow = mean > s.slow_seconds and mean > s.slow_factor * self._best
        if slow or self._soft > s.soft_share * self._count:
            base = min(self.rate, taken) if self.rate > 0 else taken
            self.rate = max(s.least, base / 2)
        elif self.rate > 0 and (s.most == 0 or self.rate < s.most):
            # Additive in what it takes now: from half back to whole in about ten good windows.
            self.rate += max(s.least, taken / 10)
            if s.most > 0:
                self.rate = min(self.rate, s.most)
            elif self.rate > 4 * taken:
                self.rate = 0.0  # it has long not been what holds us back
        self._best = min(mean, self._best * 1.05)
        self._count = self._soft = 0
        self._seconds = 0.0
        self._apply()

    def _apply(self) -> None:
        if self.rate > 0:
            self._throttler.rate_limit = max(1, round(self.rate * _SLICE))
            self._throttler.period = self._throttler.rate_limit / self.rate
