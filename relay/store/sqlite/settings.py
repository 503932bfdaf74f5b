"""What the engine can be told."""

from __future__ import annotations

import msgspec


class SqliteSettings(msgspec.Struct, frozen=True):
    """Sizes in bytes, times in seconds; the defaults are measured ones."""

    dedup_window: float = 600.0
    """How long an unconfirmed accept answers a second one with the same key."""
    readers: int = 3
    """Threads (each with a connection) that read."""
    group_jobs: int = 256
    """Most write jobs that share a commit..."""
    group_bytes: int = 16 * 1024 * 1024
    """...and most body bytes."""
    gather: float = 0.008
    """Longest wait for jobs that will share the commit of one that is there; only while that has brought some."""
    lazy_delay: float = 0.2
    """How long writes that nobody waits for may look for a group to join."""
    waiting_jobs: int = 20_000
    """More than this in the queue is answered StoreUnavailable."""
    busy_timeout: float = 10.0
    """Longest wait for another process's write."""
    poll: float = 0.03
    """How often other processes' writes are looked for while somebody waits for changes."""
    cache: int = 16 * 1024 * 1024
    """Page cache of the writer; a reader gets a quarter."""
    checkpoint_at: int = 8 * 1024 * 1024
    """Size of the write-ahead log at which the checkpoint thread starts copying it back..."""
    checkpoint_must: int = 64 * 1024 * 1024
    """...and at which the writer waits for that, so that it starts again at its beginning."""
