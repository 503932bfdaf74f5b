"""How long a commit waits for company.

A group of many costs one flush, one handful of pages and one turn of the interpreter, so waiting pays as soon as others
are on their way; alone it costs its time and gives nothing. Which of the two it is, the last waits have shown.
"""

from __future__ import annotations

import math
from typing import Protocol

_WORTH = 0.5
"""Jobs per wait that make waiting worth its time."""
_MEMORY = 0.25
"""Weight of the newest wait in what is remembered; a trial speaks for itself."""
_TRY_AGAIN = 32
"""Each so many groups all who come are waited for, whatever was believed."""
_TRIAL = 0.25
"""Part of the longest wait that tells whether anybody comes at all."""
_FADES = 0.95
"""How fast a large group is forgotten."""
_MORE_THAN_COME = 1 << 30


class Queue(Protocol):
    """Where the company comes in."""

    def __len__(self) -> int:
        """How many are there."""
        ...

    def await_company(self, count: int, seconds: float) -> None:
        """Until so many are there, and no longer than that."""
        ...


class Gathering:
    """Belongs to one writer thread."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._gain = 0.0
        self._company = 1.0
        self._groups = 0

    def pause(self, queue: Queue) -> None:
        """Wait, if it has paid, until as many are queued behind the one in hand as came together lately."""
        self._groups += 1
        pays, trial = self._gain >= _WORTH, self._groups % _TRY_AGAIN == 0
        if not pays and not trial:
            return
        before = len(queue)
        wanted = _MORE_THAN_COME if trial else math.ceil(self._company) - 1
        queue.await_company(wanted, self._longest if pays else self._longest * _TRIAL)
        came = len(queue) - before
        self._gain += (1.0 if trial else _MEMORY) * (came - self._gain)

    def flushed(self, jobs: int) -> None:
        """A group of so many was committed."""
        self._company = max(float(jobs), self._company * _FADES)
