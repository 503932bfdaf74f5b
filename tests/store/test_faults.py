"""Contract 3, 8, 10, 11 on the embedded engine: bad disks, bad rows, bad files, impatient callers."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
import pytest_asyncio

from relay.core.errors import ConfigFault
from relay.core.item import LEGAL, ItemState
from relay.store.api import StoreUnavailable
from relay.store.sqlite import SqliteSettings, SqliteStore, open_store
from relay.store.sqlite.database import APPLICATION_ID, check_library
from relay.store.sqlite.gathering import Gathering
from relay.store.sqlite.jobs import Jobs
from relay.store.sqlite.lockfile import LockFile
from tests.store.flaky import FlakyDisk
from tests.store.samples import JOURNAL, NOW, account, folders_of, item_id, new_item

_S = ItemState


@pytest_asyncio.fixture
async def disk(tmp_path: Path) -> AsyncIterator[FlakyDisk]:
    """A disk of its own name, since SQLite knows them by name."""
    disk = FlakyDisk(f"flaky {tmp_path}")
    yield disk
    disk.unregister()


@pytest_asyncio.fixture
async def shaky(tmp_path: Path, disk: FlakyDisk) -> AsyncIterator[SqliteStore]:
    """A store on it, with one item."""
    store = await open_store(tmp_path / "relay.db", SqliteSettings(), vfs=disk.name)
    await store.accept(new_item(1), now=NOW)
    yield store
    disk.fail_sync = disk.full = False
    await store.close()


async def test_after_a_failed_flush_nothing_is_believed_until_proved(shaky: SqliteStore, disk: FlakyDisk) -> None:
    disk.fail_sync = True
    with pytest.raises(StoreUnavailable):
        await shaky.accept(new_item(2), now=NOW)
    # The proof needs a flush that works: until then neither writes nor reads are answered.
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await shaky.put_chunks(item_id(9), 0, [b"x"], now=NOW)
        with pytest.raises(StoreUnavailable):
            await shaky.item(item_id(1))
    disk.fail_sync = False
    assert await shaky.item(item_id(1)) is not None
    assert await shaky.item(item_id(2)) is None
    before = disk.syncs
    await shaky.accept(new_item(3), now=NOW)
    assert disk.syncs > before
    assert [row.id for row in await shaky.items(states=list(_S))] == [item_id(1), item_id(3)]


async def test_the_proof_is_a_complete_flush_of_the_file(shaky: SqliteStore, disk: FlakyDisk, tmp_path: Path) -> None:
    disk.fail_sync = True
    with pytest.raises(StoreUnavailable):
        await shaky.accept(new_item(2), now=NOW)
    disk.fail_sync = False
    await shaky.put_setting("a", b"b", now=NOW)
    # What was promised before the failure is in the file itself: the log does not matter to it any more.
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "relay.db").read_bytes())
    connection = apsw.Connection(str(copy))
    assert connection.execute("SELECT id FROM item").fetchall() == [(item_id(1),)]
    connection.close()


async def test_everyone_in_a_failed_group_is_told(shaky: SqliteStore, disk: FlakyDisk) -> None:
    disk.fail_sync = True
    answers = await asyncio.gather(
        *[shaky.accept(new_item(number), now=NOW) for number in range(2, 12)], return_exceptions=True
    )
    assert all(isinstance(one, StoreUnavailable) for one in answers)


async def test_a_full_disk_refuses_and_recovers_by_itself(shaky: SqliteStore, disk: FlakyDisk) -> None:
    disk.full = True
    with pytest.raises(StoreUnavailable, match="full"):
        await shaky.accept(new_item(2), now=NOW)
    assert await shaky.item(item_id(1)) is not None
    disk.full = False
    await shaky.accept(new_item(3), now=NOW)
    assert [row.id for row in await shaky.items(states=list(_S))] == [item_id(1), item_id(3)]


async def test_an_accept_is_flushed_and_a_group_shares_the_flush(shaky: SqliteStore, disk: FlakyDisk) -> None:
    before = disk.syncs
    await shaky.put_chunks(item_id(2), 0, [b"x"], now=NOW)
    assert disk.syncs == before
    await shaky.accept(new_item(2, chunk_count=2), now=NOW)
    assert disk.syncs > before
    before = disk.syncs
    await asyncio.gather(*[shaky.accept(new_item(number), now=NOW) for number in range(3, 103)])
    assert disk.syncs - before < 50


async def test_a_cancelled_accept_is_whole_and_its_neighbours_unharmed(sqlite: SqliteStore) -> None:
    tasks = [asyncio.create_task(sqlite.accept(new_item(number), now=NOW)) for number in range(10)]
    await asyncio.sleep(0)  # handed over
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in answers] == [True, False] * 5
    await sqlite.put_setting("in order with later writes", b"", now=NOW)
    rows = await sqlite.items(states=list(_S))
    assert len(rows) == 10
    for row in rows:
        assert await sqlite.chunks(row.id, 0, 1) == [b"chunk 0"]
        assert len(await sqlite.ledger(row.id)) == 1


async def test_a_job_that_fails_undoes_itself_alone(sqlite: SqliteStore) -> None:
    box = (await sqlite.ensure_account(account("ann"), now=NOW)).id
    answers = await asyncio.gather(
        sqlite.accept(new_item(1), now=NOW),
        sqlite.expunge(999, [1], JOURNAL, now=NOW),
        sqlite.accept(new_item(2, "new", chunks=(b"x",), chunk_count=2), now=NOW),
        sqlite.accept(new_item(3, "new"), now=NOW),
        return_exceptions=True,
    )
    assert [type(one).__name__ for one in answers] == ["Accepted", "KeyError", "StoreUnavailable", "Accepted"]
    assert [one.uid for one in await sqlite.messages(box)] == [1]
    (made,) = await folders_of(sqlite, "new")
    assert made.messages == 1


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ((LockFile, "acquire"), OSError(5, "Input/output error")),
        ((Gathering, "flushed"), RuntimeError("a bug")),
        ((Jobs, "more"), MemoryError()),
    ],
)
async def test_the_writer_outlives_what_nobody_thought_of(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch, place: tuple[type, str], problem: Exception
) -> None:
    def broken(*_: object) -> None:
        raise problem

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(*place, broken)
        async with asyncio.timeout(20):
            with pytest.raises(StoreUnavailable):
                await sqlite.accept(new_item(1), now=NOW)
    async with asyncio.timeout(20):
        await sqlite.accept(new_item(2), now=NOW)
    assert await sqlite.item(item_id(2)) is not None


async def test_close_finishes_what_was_handed_over(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "relay.db", SqliteSettings())
    tasks = [asyncio.create_task(store.accept(new_item(number), now=NOW)) for number in range(20)]
    await asyncio.sleep(0)
    await store.put_derived("kind", {item_id(1): b"lazy"})
    await store.close()
    await store.close()
    assert not any(answer.duplicate for answer in await asyncio.gather(*tasks))
    with pytest.raises(StoreUnavailable):
        await store.accept(new_item(99), now=NOW)
    with pytest.raises(StoreUnavailable):
        await store.item(item_id(1))
    store = await open_store(tmp_path / "relay.db", SqliteSettings())
    assert (await store.counts())[_S.PENDING].items == 20
    assert await store.derived([item_id(1)], "kind") == {item_id(1): b"lazy"}
    await store.close()


async def test_too_many_waiting_writes_are_refused(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "relay.db", SqliteSettings(waiting_jobs=0))
    with pytest.raises(StoreUnavailable, match="waiting"):
        await store.accept(new_item(1), now=NOW)
    await store.close()


async def test_a_missing_chunk_is_none_and_a_changed_one_is_handed_out(sqlite: SqliteStore, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        await sqlite.accept(new_item(number, chunks=(b"a", b"b", b"c")), now=NOW)
    other = apsw.Connection(str(tmp_path / "relay.db"))
    n = other.execute("SELECT n FROM item WHERE id = ?", (item_id(2),)).get
    other.execute("DELETE FROM chunk WHERE key = ?", ((n << 20) + 1,))
    other.execute("UPDATE chunk SET data = x'00' WHERE key = ?", (n << 20,))
    other.close()
    assert await sqlite.chunks(item_id(2), 0, 3) == [b"\0", None, b"c"]
    assert await sqlite.chunks(item_id(3), 0, 3) == [b"a", b"b", b"c"]
    assert len(await sqlite.items(states=list(_S))) == 3


async def test_the_file_itself_enforces_the_table_and_writes_the_ledger(sqlite: SqliteStore, tmp_path: Path) -> None:
    await sqlite.accept(new_item(1), now=NOW)
    other = apsw.Connection(str(tmp_path / "relay.db"))
    for state in set(_S) - LEGAL[_S.PENDING]:
        with pytest.raises(apsw.ConstraintError, match="illegal transition"):
            other.execute("UPDATE item SET state = ?", (str(state),))
    with pytest.raises(apsw.ConstraintError, match="illegal transition"):
        other.execute(
            "INSERT INTO item (id, state, route, received_at, size, key_id, wrapped_key, envelope, chunk_count, "
            "changed_at) VALUES ('x', 'delivered', 'primary', 0, 0, '', x'', x'', 1, 0)"
        )
    other.execute("UPDATE item SET state = 'held', changed_at = ?", (NOW + 1,))
    other.close()
    assert [(one.old, one.new) for one in await sqlite.ledger(item_id(1))] == [(None, "pending"), ("pending", "held")]


async def test_purging_gives_space_back(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    store = await open_store(path, SqliteSettings())
    for number in range(40):
        await store.accept(new_item(number, chunks=(os.urandom(200_000),)), now=NOW)
        await store.move(item_id(number), to=_S.HELD, now=NOW)
        await store.move(item_id(number), to=_S.RETURNED, now=NOW)
    await store.close()
    full = path.stat().st_size
    assert full > 8_000_000
    store = await open_store(path, SqliteSettings())
    assert await store.purge(states=[_S.RETURNED], changed_before=NOW + 1, now=NOW, limit=100) == 40
    for _ in range(10):  # a step at least after each write
        await store.put_setting("a", b"", now=NOW)
    await store.close()
    assert path.stat().st_size < full / 2


async def test_files_are_private_and_reopening_keeps_everything(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    before = os.umask(0)
    try:
        store = await open_store(path, SqliteSettings())
        await store.accept(new_item(1), now=NOW)
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(tmp_path)}
    finally:
        os.umask(before)
    assert set(modes) == {"relay.db", "relay.db-wal", "relay.db-shm", "relay.db-writer", "relay.db-writer-turn"}
    assert set(modes.values()) == {0o600}
    await store.close()
    store = await open_store(path, SqliteSettings())
    assert await store.item(item_id(1)) is not None
    assert await store.last_change() == 3
    await store.close()


async def test_a_new_file_is_what_the_engine_needs(sqlite: SqliteStore, tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / "relay.db"))
    assert other.pragma("journal_mode") == "wal"
    assert other.pragma("auto_vacuum") == 2
    assert other.pragma("application_id") == APPLICATION_ID
    assert other.pragma("user_version") == 2
    assert other.pragma("integrity_check") == "ok"
    other.close()


@pytest.mark.parametrize("statement", ["PRAGMA user_version = 999", "PRAGMA application_id = 1"])
async def test_a_newer_or_foreign_database_is_refused(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "relay.db"
    await (await open_store(path, SqliteSettings())).close()
    other = apsw.Connection(str(path))
    other.execute(statement)
    other.close()
    with pytest.raises(ConfigFault, match=r"store\.url"):
        await open_store(path, SqliteSettings())


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    other = apsw.Connection(str(tmp_path / "other.db"))
    other.execute("CREATE TABLE t (x)")
    other.close()
    for name in ("text.db", "other.db", "missing/relay.db"):
        with pytest.raises(ConfigFault, match=r"store\.url"):
            await open_store(tmp_path / name, SqliteSettings())


@pytest.mark.parametrize("version", ["3.7.0", "3.40.1", "3.51.2"])
def test_a_library_that_can_lose_writes_is_refused(version: str) -> None:
    with pytest.raises(ConfigFault, match="WAL-reset"):
        check_library(version)


def test_a_repaired_library_is_taken() -> None:
    for version in ("3.51.3", "3.54.1", "3.100.0"):
        check_library(version)
    check_library(apsw.sqlite_lib_version())
