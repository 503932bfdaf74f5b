"""Reading: a few threads with a read-only connection each, so that no read stops the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from relay.store.api import StoreUnavailable
from relay.store.sqlite.database import connect, sqlite_errors
from relay.store.sqlite.settings import SqliteSettings

T = TypeVar("T")


class Readers:
    """`read(function)` runs `function(connection)` in one transaction, so it sees one state of the store."""

    def __init__(self, path: Path, settings: SqliteSettings, vfs: str | None = None) -> None:
        self._path = path
        self._settings = settings
        self._vfs = vfs
        self._local = threading.local()
        self._guard = threading.Lock()
        self._connections: list[apsw.Connection] = []
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(settings.readers, "store-reader")

    async def read(self, function: Callable[[apsw.Connection], T]) -> T:
        """StoreUnavailable when SQLite cannot."""
        if self._pool is None:
            raise StoreUnavailable("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, function)

    def _run(self, function: Callable[[apsw.Connection], T]) -> T:
        with sqlite_errors():
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                return function(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")

    def _connection(self) -> apsw.Connection:
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = connect(self._path, self._settings, writer=False, vfs=self._vfs)
            self._local.connection = connection
            with self._guard:
                self._connections.append(connection)
        return connection

    def close(self) -> None:
        """Wait for reads under way, then let go. Blocks."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
            for connection in self._connections:
                connection.close()
