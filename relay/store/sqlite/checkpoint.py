"""Copies the write-ahead log back into the file, off the commit path.

A passive checkpoint waits for nobody and blocks nobody; what it leaves (frames written meanwhile, frames that a reader
still needs) stays in the log. The writer itself bounds the log when this thread cannot keep up.
"""

from __future__ import annotations

import threading
from pathlib import Path

import apsw

from relay.store.sqlite.database import connect
from relay.store.sqlite.settings import SqliteSettings


class Checkpointer:
    """One thread per process; several processes share the work by whoever is first."""

    def __init__(self, path: Path, settings: SqliteSettings, vfs: str | None = None) -> None:
        self._connection = connect(path, settings, writer=True, vfs=vfs)
        self._connection.set_busy_timeout(0)
        self._at = settings.checkpoint_at // self._connection.pragma("page_size")
        self._last = 0
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="store-checkpoint", daemon=True)
        self._thread.start()

    def log_grew(self, frames: int) -> None:
        """The log has so many frames now. Called by the writer after each commit."""
        if frames < self._last:
            self._last = 0  # it started again
        if frames - self._last >= self._at:
            self._last = frames
            self._wake.set()

    def close(self) -> None:
        """Finish and let go. Blocks."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while self._wake.wait() and not self._closing:
            self._wake.clear()
            try:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            except apsw.Error:
                # Another process is at it, or the disk fails: nothing is lost, the log stays, and the writer meets
                # the same disk with somebody to tell.
                continue
