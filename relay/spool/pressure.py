"""When to stop accepting: before the disk is full, not when it is.

`admits(size)` answers at MAIL and before DATA; a sender gets `452 4.3.1` and tries again or elsewhere. What has been
admitted but is not on disk yet is counted as used, so that a hundred senders cannot each be promised the same last
gigabyte. The reserve leaves room for the write-ahead log, for replay's own records and for the operator.

The file system is asked every few hundred milliseconds, not twice for every message: beside a busy thread each question
costs as much as parsing the whole dialogue. What reached the disk since then is still counted as admitted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from relay.obs.metrics import Lack


class DiskRoom(msgspec.Struct, frozen=True):
    """Free space as an unprivileged process sees it."""

    free_bytes: int
    free_inodes: int
    """-1 where the file system does not count inodes."""


def disk_room(path: Path) -> DiskRoom:
    """Ask the file system."""
    stat = os.statvfs(path)
    return DiskRoom(stat.f_bavail * stat.f_frsize, stat.f_favail if stat.f_files else -1)


class PressureSettings(msgspec.Struct, frozen=True):
    """Thresholds; see `[disk]` in the configuration."""

    reserve_bytes: int = 256 * 1024 * 1024
    reserve_inodes: int = 1024
    overhead: float = 2.2
    """A body passes through the write-ahead log and the database: bytes on disk per byte of message at the peak."""
    remembered: float = 0.2
    """Seconds for which the file system's last answer holds."""


class Pressure:
    """The gate. Synchronous and cheap."""

    def __init__(
        self,
        data_dir: Path,
        settings: PressureSettings,
        *,
        room: Callable[[Path], DiskRoom] = disk_room,
        refused: Callable[[Lack], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`refused` is told of every message that may not begin."""
        self._refused = refused
        self._dir = data_dir
        self._settings = settings
        self._room = room
        self._monotonic = monotonic
        self._admitted = 0
        self._known: DiskRoom | None = None
        self._known_until = float("-inf")
        self._written = 0
        """Bytes given back since the file system was asked; perhaps on disk, and not in its answer."""

    def admits(self, size: int | None) -> bool:
        """Whether a message of `size` bytes (None = not declared) may begin."""
        lack = self.lacks(size)
        if lack is not None and self._refused is not None:
            self._refused(lack)
        return lack is None

    def lacks(self, size: int | None) -> Lack | None:
        """What a message of `size` bytes would be short of; nobody is refused by asking."""
        room = self._ask()
        if room is None:
            return "disk"  # a data directory that cannot be asked cannot be promised
        if 0 <= room.free_inodes < self._settings.reserve_inodes:
            return "inodes"
        wanted = int(((size or 0) + self._admitted + self._written) * self._settings.overhead)
        return None if room.free_bytes - wanted >= self._settings.reserve_bytes else "disk"

    def take(self, size: int) -> None:
        """Count bytes received but not committed."""
        self._admitted += size

    def give(self, size: int) -> None:
        """The same bytes are on disk, or dropped."""
        self._admitted -= size
        self._written += size

    @property
    def in_flight(self) -> int:
        """Bytes taken and not given back."""
        return self._admitted

    def _ask(self) -> DiskRoom | None:
        now = self._monotonic()
        if now >= self._known_until:
            try:
                self._known = self._room(self._dir)
            except OSError:
                self._known = None
            self._known_until, self._written = now + self._settings.remembered, 0
        return self._known
