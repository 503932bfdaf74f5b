"""A lock file around write transactions, so that worker processes take turns.

SQLite's own busy handler sleeps in growing steps (up to 100 ms) while the lock is free again after one; here a waiter
looks every 200 us. Writers that do not know this file (an operator's shell) are still safe: SQLite's lock is the
truth, this one only the queue before it. The kernel frees it when its holder dies.

Whoever wants it holds the turn first, and keeps that until it has the lock: a writer that comes back at once finds the
turn taken by one that waits, so it cannot have the lock again before that one. Who gets the turn is chance, and the
same chance for all: looking every 200 us alone would leave a third process to luck, because two busy writers free the
lock for some microseconds only.

The file holds one number, mapped into every process: it grows around each commit, so that looking for other processes'
writes costs a memory access and no query. It says that something may have changed, never what.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from pathlib import Path

from relay.store.api import StoreUnavailable
from relay.store.sqlite.database import create_private

_LOOK_EVERY = 0.0002
_NUMBER = struct.Struct("=Q")


class LockFile:
    """One per process and writer."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._fd = _opened(path)
        self._turn = _opened(path.with_name(path.name + "-turn"))
        if os.fstat(self._fd).st_size < _NUMBER.size:
            os.ftruncate(self._fd, _NUMBER.size)
        self._map = mmap.mmap(self._fd, _NUMBER.size)
        self._timeout = timeout

    @property
    def commits(self) -> int:
        """Differs from what it was whenever any process may have committed since."""
        number: int = _NUMBER.unpack_from(self._map)[0]
        return number

    def announce(self) -> None:
        """Said by the holder before and after a commit: a process that dies in between has been heard of."""
        _NUMBER.pack_into(self._map, 0, (self.commits + 1) & 0xFFFF_FFFF_FFFF_FFFF)

    def acquire(self) -> None:
        """StoreUnavailable when others hold it for longer than the timeout."""
        deadline = time.monotonic() + self._timeout
        _take(self._turn, deadline)
        try:
            _take(self._fd, deadline)
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def release(self) -> None:
        """Let the next one in."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release for good. `commits` stays readable: a look that is late harms nobody."""
        self.release()  # closing alone would not: the mapping has a descriptor of its own
        os.close(self._turn)
        os.close(self._fd)


def _opened(path: Path) -> int:
    create_private(path)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _take(fd: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreUnavailable("another process has held the store's write lock for too long") from None
            time.sleep(_LOOK_EVERY)
        else:
            return
