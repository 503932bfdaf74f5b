"""Where log lines end: on a stream, written by whoever says them or by a thread of its own.

Enters: finished lines. Leaves: bytes on a descriptor.

1. `put` never raises. Of an outlet `behind` the caller it never waits either: a pipe that nobody reads fills the memory
   of `most` lines, and what comes then is counted and told as soon as the reader is back.
2. Lines leave whole and in order, several in one write.
3. `finish` gives what is left a moment to be written; after a SIGKILL up to `_GATHER` seconds of lines are missing.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol, TextIO

_GATHER = 0.02
"""Seconds for which lines gather before they are written: a wake-up for each would cost more than the line."""
_MOST = 20_000
_PIECE = 64 * 1024
_BUSY = 0.01


class Outlet(Protocol):
    """Takes lines."""

    def put(self, line: str) -> None:
        """A line, without its end. Never raises."""
        ...


class Direct:
    """Written at once: commands, and tests with a stream in memory."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def put(self, line: str) -> None:
        """See `Outlet`."""
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return


class Behind:
    """Written by a thread: the event loop does not wait for a slow reader."""

    def __init__(self, descriptor: int, lost: Callable[[int], str], *, most: int = _MOST) -> None:
        """`lost` words the line that says how many were not written."""
        self.descriptor = descriptor
        self._say_lost = lost
        self._most = most
        self._lines: deque[str] = deque()
        self._lost = 0
        self._told = 0
        self._awake = False
        self._writing = False
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, line: str) -> None:
        """See `Outlet`."""
        if len(self._lines) >= self._most:
            self._lost += 1
            return
        self._lines.append(line)
        if not self._awake:
            self._awake = True
            if self._thread is None:
                self._begin()
            self._news.set()

    def finish(self, seconds: float = 1.0) -> None:
        """Wait until everything is written, but not longer."""
        end = time.monotonic() + seconds
        while (self._lines or self._writing) and self._thread is not None and time.monotonic() < end:
            time.sleep(_BUSY)

    def _begin(self) -> None:
        # A daemon: a reader that is gone must not keep the process from ending.
        self._thread = threading.Thread(target=self._write_on, name="log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads, or the interpreter ends
            self._thread, self._awake = None, False

    def _write_on(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            time.sleep(_GATHER)
            self._writing = True
            self._awake = False  # before the look: what comes after it wakes us again
            while self._lines:
                self._write(self._piece())
            if self._lost != self._told:
                lost, self._told = self._lost - self._told, self._lost
                self._write((self._say_lost(lost) + "\n").encode("utf-8", "backslashreplace"))
            self._writing = False

    def _piece(self) -> bytes:
        gathered: list[str] = []
        size = 0
        while self._lines and size < _PIECE:
            gathered.append(self._lines.popleft())
            size += len(gathered[-1])
        gathered.append("")
        return "\n".join(gathered).encode("utf-8", "backslashreplace")

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.descriptor, data) :]
            except BlockingIOError:  # somebody who shares the descriptor made it so
                time.sleep(_BUSY)
            except OSError:
                return


def outlet(stream: TextIO, lost: Callable[[int], str], *, behind: bool) -> Direct | Behind:
    """The end of a stream; one that is only in memory is always direct."""
    if behind:
        with contextlib.suppress(OSError, ValueError):
            return Behind(stream.fileno(), lost)
    return Direct(stream)
