"""What is shown: facts written by the story and the watcher, read by the screen. Thread-safe; draws nothing itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """How an event is coloured."""

    STEP = "step"
    GOOD = "good"
    BAD = "bad"
    NOTE = "note"


class Event(msgspec.Struct, frozen=True):
    """One line of the timeline; `at` in seconds from the start."""

    at: float
    kind: Kind
    text: str


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The state at one time."""

    at: float
    mode: str
    """SMTP mode of the relay; empty while it is not known."""
    waiting: int
    """Messages in the relay's queue."""
    accepted: int
    """Answered 250 so far."""
    present: int
    """In the primary, as far as it could be asked."""
    primary_up: bool


class Board:
    """The facts of one run."""

    def __init__(self, acts: tuple[str, ...], *, on_event: Callable[[Event], None] | None = None) -> None:
        self.acts = acts
        self._act = -1
        self._events: list[Event] = []
        self._samples: list[Sample] = []
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._on_event = on_event

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def act(self) -> int:
        """Index of the current act; -1 before the first, len(acts) after the last."""
        return self._act

    def begin(self, act: int) -> None:
        """The story has come to this act."""
        self._act = act

    def say(self, text: str, kind: Kind = Kind.NOTE) -> None:
        """A line of the timeline."""
        event = Event(self.elapsed, kind, text)
        with self._lock:
            self._events.append(event)
        if self._on_event is not None:
            self._on_event(event)

    def put(self, sample: Sample) -> None:
        """What the watcher saw."""
        with self._lock:
            self._samples.append(sample)

    def events(self) -> list[Event]:
        """All so far."""
        with self._lock:
            return list(self._events)

    def samples(self) -> list[Sample]:
        """All so far."""
        with self._lock:
            return list(self._samples)

    @property
    def now(self) -> Sample:
        """The last sample."""
        with self._lock:
            if self._samples:
                return self._samples[-1]
        return Sample(at=0.0, mode="", waiting=0, accepted=0, present=0, primary_up=False)

    @property
    def most_waiting(self) -> int:
        """The deepest queue seen."""
        return max((sample.waiting for sample in self.samples()), default=0)
