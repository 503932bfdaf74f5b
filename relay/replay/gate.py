"""How many messages may be under way. Pure: results and times in, a number out.

```
CANARY --enough good ones--> OPEN --errors rise--> CLOSED --its time is over--> CANARY
   ^  |    (and one of them seen in its mailbox, or waited for that long enough)
   |  `---two failures---> CLOSED
   `-- reset: the primary has just come back
```

1. A primary that is back only by half costs a few held messages, not a queue of them: canaries go one at a time, the
   oldest first, and after two failures nothing goes for a while, each time longer.
2. From one at a time the width doubles with success up to the configured concurrency.
3. A single bad message never closes the gate.
4. Where mailboxes can be seen, the gate goes on one at a time until a canary was seen, for `proof` seconds at most: a
   250 of a primary that is back by half may be worth nothing, and a filter may have moved every canary.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

import msgspec

from relay.core.retry import Backoff


class GateState(StrEnum):
    """See the diagram."""

    CANARY = "canary"
    OPEN = "open"
    CLOSED = "closed"


class GateSettings(msgspec.Struct, frozen=True):
    """When it opens, widens and closes."""

    canaries: int = 3
    """0 = there is nobody to spare: open from the beginning, as wide as it gets."""
    width: int = 10
    canary_failures: int = 2
    window: int = 20
    """Results that are looked back at..."""
    failures: int = 10
    """...and how many of them may fail."""
    closed: Backoff = Backoff(first=5.0, factor=2.0, most=300.0)


def always_open(width: int) -> GateSettings:
    """For a destination that is many servers: what fails with one says nothing about the next."""
    return GateSettings(canaries=0, width=width, window=1, failures=2)


class Gate:
    """Mutable counters; times are monotonic seconds handed in."""

    def __init__(self, settings: GateSettings) -> None:
        self._settings = settings
        self.state = GateState.CANARY
        self.trips = 0
        """Closings since the last long run of success."""
        self.closings = 0
        """Closings ever."""
        self.phase = 0
        """Grows with each beginning of canaries."""
        self._until = 0.0
        self._good = self._bad = 0
        self._width = 1
        self._proven = False
        self._proof_until: float | None = None
        self._recent: deque[bool] = deque(maxlen=settings.window)
        if not settings.canaries:
            self._canary()

    def reset(self) -> None:
        """The primary has just come back: begin with canaries, at once."""
        self.trips = 0
        self._canary()

    def width(self, now: float) -> int:
        """Messages that may be under way together."""
        if self.state is GateState.CLOSED:
            if now < self._until:
                return 0
            self._canary()
        if self._proof_until is not None and now >= self._proof_until:
            self._open()
        return self._width

    def prove(self) -> None:
        """A canary has been seen in its mailbox."""
        self._proven = True
        if self._proof_until is not None:
            self._open()

    def opens_in(self, now: float) -> float | None:
        """Seconds until a closed gate lets a canary out; None when it is not closed."""
        return max(0.0, self._until - now) if self.state is GateState.CLOSED else None

    def note(self, good: bool, now: float, *, proof: float = 0.0) -> None:
        """One message came to an end; `proof` is how many seconds a canary may take to be seen, 0 = nobody looks."""
        match self.state:
            case GateState.CANARY:
                self._good += good
                self._bad += not good
                if self._bad >= self._settings.canary_failures:
                    self._close(now)
                elif self._good >= self._settings.canaries and self._proof_until is None:
                    if self._proven or proof <= 0.0:
                        self._open()
                    else:
                        self._proof_until = now + proof
            case GateState.OPEN:
                self._recent.append(good)
                if self._recent.count(False) >= self._settings.failures:
                    self._close(now)
                    return
                self._good = self._good + 1 if good else 0
                if self._good >= self._width:
                    self._good = 0
                    self._widen()
                if len(self._recent) == self._settings.window and all(self._recent):
                    self.trips = 0
            case GateState.CLOSED:
                pass  # it was under way when the gate closed

    def _canary(self) -> None:
        self.state, self._width, self._good, self._bad = GateState.CANARY, 1, 0, 0
        self._proven, self._proof_until = False, None
        self.phase += 1
        if not self._settings.canaries:
            self._open()
            self._width = self._settings.width

    def _open(self) -> None:
        self.state, self._good, self._proof_until = GateState.OPEN, 0, None
        self._recent.clear()
        self._widen()

    def _widen(self) -> None:
        self._width = min(self._settings.width, self._width * 2)

    def _close(self, now: float) -> None:
        self.state, self._width, self._proof_until = GateState.CLOSED, 0, None
        self.trips += 1
        self.closings += 1
        self._until = now + self._settings.closed.delay(self.trips, 1.0)
