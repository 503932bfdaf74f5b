"""When to stop accepting: before the disk is full, not when it is.

`admits(size)` answers at MAIL and before DATA; a sender gets `452 4.3.1` and tries again or elsewhere. What has been
admitted but is not on disk yet is counted as used, so that a hundred senders cannot each be promised the same last
gigabyte. The reserve leaves room for the write-ahead log, for replay's own records and for the operator.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from relay.obs.metrics import Lack

_RECENT = 0.02
"""Seconds."""


class DiskRoom(msgspec.Struct, frozen=True):
    """Free space as an unprivileged process sees it."""

    free_bytes: int
    free_inodes: int
    """-1 where the file system does not count inodes."""


def disk_room(path: Path) -> DiskRoom:
    """Ask the file system."""
    stat = os.statvfs(path)
    return DiskRoom(stat.f_bavail * stat.f_frsize, stat.f_favail if stat.f_files else -1)


class RecentRoom:
    """`disk_room`, asked again after some milliseconds: what others write meanwhile is far less than the reserve."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._room: DiskRoom | None = None
        self._until = 0.0

    def __call__(self, path: Path) -> DiskRoom:
        """OSError."""
        now = self._clock()
        if self._room is None or now >= self._until:
            self._room = None  # where it cannot be asked nothing is known
            self._room = disk_room(path)
            self._until = now + _RECENT
        return self._room


class PressureSettings(msgspec.Struct, frozen=True):
    """Thresholds; see `[disk]` in the configuration."""

    reserve_bytes: int = 256 * 1024 * 1024
    reserve_inodes: int = 1024
    overhead: float = 2.2
    """A body passes through the write-ahead log and the database: bytes on disk per byte of message at the peak."""


class Pressure:
    """The gate. Synchronous and cheap (a statvfs now and then)."""

    def __init__(
        self,
        data_dir: Path,
        settings: PressureSettings,
        *,
        room: Callable[[Path], DiskRoom] | None = None,
        refused: Callable[[Lack], None] | None = None,
    ) -> None:
        """`refused` is told of every message that may not begin."""
        self._refused = refused
        self._dir = data_dir
        self._settings = settings
        self._room = RecentRoom() if room is None else room
        self._admitted = 0

    def admits(self, size: int | None) -> bool:
        """Whether a message of `size` bytes (None = not declared) may begin."""
        lack = self.lacks(size)
        if lack is not None and self._refused is not None:
            self._refused(lack)
        return lack is None

    def lacks(self, size: int | None) -> Lack | None:
        """What a message of `size` bytes would be short of; nobody is refused by asking."""
        try:
            room = self._room(self._dir)
        except OSError:
            return "disk"  # a data directory that cannot be asked cannot be promised
        if 0 <= room.free_inodes < self._settings.reserve_inodes:
            return "inodes"
        wanted = int(((size or 0) + self._admitted) * self._settings.overhead)
        return None if room.free_bytes - wanted >= self._settings.reserve_bytes else "disk"

    def take(self, size: int) -> None:
        """Count bytes received but not committed."""
        self._admitted += size

    def give(self, size: int) -> None:
        """The same bytes are on disk, or dropped."""
        self._admitted -= size

    @property
    def in_flight(self) -> int:
        """Bytes taken and not given back."""
        return self._admitted
