"""The file system under the data directory, for metrics and status; the gate itself is `spool.pressure`."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Disk(msgspec.Struct, frozen=True):
    """As an unprivileged process sees it."""

    free_bytes: int
    size_bytes: int
    free_inodes: int
    """-1 where the file system does not count inodes."""
    size_inodes: int = -1
    """All that there can be; -1 the same."""


def disk(path: Path) -> Disk:
    """Ask the file system; OSError."""
    stat = os.statvfs(path)
    free, inodes = (stat.f_favail, stat.f_files) if stat.f_files else (-1, -1)
    return Disk(stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize, free, inodes)
