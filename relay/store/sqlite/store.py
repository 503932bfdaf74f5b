"""The engine as one object, and how it is opened and closed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw

from relay.core.errors import ConfigFault
from relay.obs.metrics import SpoolMetrics
from relay.store.sqlite.bodies import Bodies
from relay.store.sqlite.checkpoint import Checkpointer
from relay.store.sqlite.database import check_library, create_private, unavailable
from relay.store.sqlite.derived import Derived
from relay.store.sqlite.directory import Directory
from relay.store.sqlite.feed import Feed, News
from relay.store.sqlite.figures import Figures
from relay.store.sqlite.folders import Folders
from relay.store.sqlite.journal import Journal
from relay.store.sqlite.keywords import Keywords
from relay.store.sqlite.mailboxes import Mailboxes
from relay.store.sqlite.queueing import Queue
from relay.store.sqlite.readers import Readers
from relay.store.sqlite.settings import SqliteSettings
from relay.store.sqlite.writer import Writer


class SqliteStore(Bodies, Queue, Figures, Folders, Mailboxes, Keywords, Journal, Derived, Feed, Directory):
    """`store.api.Store` in one file. Belongs to the event loop it was opened in."""

    def __init__(
        self, writer: Writer, readers: Readers, checkpointer: Checkpointer, settings: SqliteSettings, news: News
    ) -> None:
        super().__init__(writer, readers, settings)
        self._checkpointer = checkpointer
        self._news = news

    async def close(self) -> None:
        """Finish what was handed over, then let go. Idempotent."""
        poller = self._poller
        if poller is not None:
            poller.cancel()
            await asyncio.gather(poller, return_exceptions=True)
        await asyncio.shield(asyncio.to_thread(self._close))

    def _close(self) -> None:
        self._readers.close()
        self._checkpointer.close()
        self._writer.close()


async def open_store(
    path: Path, settings: SqliteSettings, *, metrics: SpoolMetrics | None = None, vfs: str | None = None
) -> SqliteStore:
    """Open or create the database. ConfigFault when it cannot be ours, StoreUnavailable when the disk fails."""
    check_library(apsw.sqlite_lib_version())
    loop = asyncio.get_running_loop()
    news = News()

    def build() -> SqliteStore:
        try:
            create_private(path)
        except OSError as error:
            raise ConfigFault(
                f"store.url: {path} cannot be opened ({error.strerror}). Let the relay's user own its directory"
            ) from None
        checkpointer: list[Checkpointer] = []

        def log_grew(frames: int) -> None:
            for one in checkpointer:
                one.log_grew(frames)

        try:
            writer = Writer(path, settings, loop, committed=news.heard, log_grew=log_grew, metrics=metrics, vfs=vfs)
            checkpointer.append(Checkpointer(path, settings, vfs))
            return SqliteStore(writer, Readers(path, settings, vfs), checkpointer[0], settings, news)
        except apsw.NotADBError:
            raise ConfigFault(f"store.url: {path} is not a database. Name a file of the relay's own") from None
        except apsw.Error as error:
            raise unavailable(error) from error

    return await asyncio.to_thread(build)
