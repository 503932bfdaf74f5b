"""When to try again: exponential with full jitter, bounded. Pure: the randomness is handed in."""

from __future__ import annotations

import msgspec


class Backoff(msgspec.Struct, frozen=True):
    """Delays grow from `first` by `factor` up to `most` seconds."""

    first: float = 5.0
    factor: float = 2.0
    most: float = 900.0

    def delay(self, attempt: int, fraction: float) -> float:
        """Seconds to wait after the `attempt`-th failure (1, 2, ...); `fraction` in [0, 1) spreads the herd.

        Between half and the whole of the exponential value, so that a retry is never immediate.
        """
        if attempt < 1:
            raise ValueError("attempts count from 1")
        ceiling = self.most
        if attempt < 64:
            ceiling = min(self.most, self.first * self.factor ** (attempt - 1))
        return ceiling * (0.5 + 0.5 * fraction)
