"""Opening the file: library check, modes, pragmas, migrations, and the one place where SQLite's errors become ours.

1. An SQLite with the WAL-reset bug (3.7.0 to 3.51.2: two connections may lose committed writes) is refused.
2. The files are created with mode 0600; the log and its index inherit it.
3. Migrations are numbered, run in one transaction each, under the write lock: workers may start together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import apsw

from relay.core.errors import ConfigFault
from relay.core.item import BIRTH, LEGAL
from relay.obs.metrics import StoreError
from relay.store.api import StoreUnavailable
from relay.store.sqlite.settings import SqliteSettings

APPLICATION_ID = 0x73626D72  # "sbmr": tells our file from another program's
FIRST_SAFE_LIBRARY = (3, 51, 3)
_PAGE_SIZE = 4096


def check_library(version: str) -> None:
    """ConfigFault for a library that can lose committed writes."""
    numbers = tuple(int(part) for part in version.split(".")[:3])
    if numbers < FIRST_SAFE_LIBRARY:
        raise ConfigFault(
            f"store.url: SQLite {version} can lose committed writes (WAL-reset bug). "
            "Install an apsw that bundles SQLite 3.51.3 or later"
        )


@contextmanager
def sqlite_errors() -> Iterator[None]:
    """Contract 11: whatever SQLite raises leaves as StoreUnavailable."""
    try:
        yield
    except apsw.Error as error:
        raise unavailable(error) from error


def unavailable(error: apsw.Error) -> StoreUnavailable:
    """The error for callers; SQLite's text names no content."""
    if isinstance(error, apsw.FullError):
        return StoreUnavailable("the disk of the data directory is full")
    if isinstance(error, apsw.BusyError):
        return StoreUnavailable("another process has held the store's write lock for too long")
    return StoreUnavailable(f"SQLite: {type(error).__name__} {error}")


def kind_of(error: apsw.Error) -> StoreError:
    """The error's name in the metrics."""
    match error:
        case apsw.FullError():
            return "full"
        case apsw.BusyError() | apsw.LockedError():
            return "busy"
        case apsw.IOError() | apsw.CantOpenError() | apsw.ReadOnlyError():
            return "io"
        case apsw.CorruptError() | apsw.NotADBError():
            return "damaged"
        case _:
            return "other"


def create_private(path: Path) -> None:
    """Make the file, readable by its owner only, where it is missing."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def connect(path: Path, settings: SqliteSettings, *, writer: bool, vfs: str | None = None) -> apsw.Connection:
    """A connection with our pragmas; readers cannot write."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
    connection.set_busy_timeout(int(settings.busy_timeout * 1000))
    # Else a bound value that could change the plan compiles the statement again, which costs more than running it.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    kib = settings.cache // 1024 if writer else settings.cache // 4096
    for pragma in (
        f"cache_size = -{kib}",
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "temp_store = MEMORY",
        "synchronous = FULL",
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {settings.checkpoint_at}",
        f"query_only = {'OFF' if writer else 'ON'}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def prepare(connection: apsw.Connection) -> None:
    """Bring the file to the newest version. The caller holds the write lock. ConfigFault for a file not ours."""
    version, application = connection.pragma("user_version"), connection.pragma("application_id")
    newest = len(_migrations())
    if application not in (0, APPLICATION_ID) or (application == 0 and connection.pragma("page_count") > 0):
        raise ConfigFault("store.url: the file is another program's database. Name a file of the relay's own")
    if version > newest:
        raise ConfigFault(
            f"store.url: the database has version {version}, this relay knows {newest}. "
            "Install the newer relay again; a database is not taken back"
        )
    if version == 0:
        connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only possible before the first table
    connection.execute("PRAGMA journal_mode = WAL")
    for number, text in enumerate(_migrations()[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(text)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    _write_legal_steps(connection)


def _migrations() -> list[str]:
    folder = resources.files(__package__) / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [entry.read_text("utf-8") for entry in files]


def _write_legal_steps(connection: apsw.Connection) -> None:
    """Contract 5: the table of core.item, so that the file enforces what this version believes."""
    steps = {("", str(state)) for state in BIRTH} | {(str(was), str(new)) for was, to in LEGAL.items() for new in to}
    if set(connection.execute("SELECT was, becomes FROM legal_step")) == steps:
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM legal_step")
    connection.executemany("INSERT INTO legal_step (was, becomes) VALUES (?, ?)", sorted(steps))
    connection.execute("COMMIT")
