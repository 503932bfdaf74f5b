"""How long a commit waits for company.

A group of many costs one flush, one handful of pages and one turn of the interpreter, so waiting pays as soon as others
are on their way; alone it costs its time and gives nothing. Which of the two it is, the last waits have shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_SLICES = 4
"""A wait is looked at this often: it ends as soon as all who came together lately are there."""
_WORTH = 0.5
"""Jobs per wait that make waiting worth its time."""
_MEMORY = 0.25
"""Weight of the newest wait in what is remembered; a trial speaks for itself."""
_TRY_AGAIN = 32
"""Each so many groups a whole wait is tried, whatever was believed."""
_FADES = 0.95
"""How fast a large group is forgotten."""


class Gathering:
    """Belongs to one writer thread."""

    def __init__(self, longest: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._longest = longest
        self._sleep = sleep
        self._gain = 0.0
        self._company = 1.0
        self._groups = 0

    def pause(self, waiting: Callable[[], int]) -> None:
        """Wait, if it has paid; `waiting` tells how many jobs are queued behind the one in hand."""
        self._groups += 1
        trial = self._groups % _TRY_AGAIN == 0
        if self._gain < _WORTH and not trial:
            return
        before = waiting()
        for _ in range(_SLICES):
            if 1 + waiting() >= self._company and not trial:
                break
            self._sleep(self._longest / _SLICES)
        came = waiting() - before
        self._gain += (1.0 if trial else _MEMORY) * (came - self._gain)

    def flushed(self, jobs: int) -> None:
        """A group of so many was committed."""
        self._company = max(float(jobs), self._company * _FADES)
