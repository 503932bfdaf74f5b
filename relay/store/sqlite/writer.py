"""The one writer thread of a process: jobs in, group commits out.

```
call -> queue -> [ lock file | BEGIN IMMEDIATE | SAVEPOINT job RELEASE ... | COMMIT (fsync) | unlock ] -> all answers
```

1. A job is a function of a `Tx`; it runs whole inside a savepoint, so its own fault undoes it alone. No answer leaves
   before the commit that holds it. There is no await inside a transaction.
2. A group that holds a durable job ends with an fsync of the log; that covers everything in the log before it. A
   group of jobs that need none (staged chunks, lazy writes, leases) is written without.
3. After an I/O error in a write the writer is poisoned: nothing more is promised until a complete checkpoint has
   written every frame of the log, from memory, into the file and flushed it (contract 10).
4. A full disk undoes the group; the next one tries again.
5. Lazy jobs have no waiter and look for a group to join for a short while.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import apsw

from relay.obs.logs import logger
from relay.obs.metrics import SpoolMetrics, StoreError
from relay.store.api import StoreUnavailable
from relay.store.sqlite.database import connect, kind_of, prepare, unavailable
from relay.store.sqlite.gathering import Gathering
from relay.store.sqlite.jobs import Job, Jobs, Tx
from relay.store.sqlite.lockfile import LockFile
from relay.store.sqlite.moments import after_commit, before_commit
from relay.store.sqlite.settings import SqliteSettings

_log = logger("store")
Outcome: TypeAlias = tuple[Any, Exception | None]
"""What a job returned, or what it raised."""

_READERS_MS = 100
_VACUUM_PAGES = 256

_OF_ONE_JOB = (apsw.ConstraintError, apsw.TooBigError)
"""Errors of the engine that are the job's own fault; all others are the disk's."""


class Writer:
    """Owns the write connection; everything but `submit` runs in its thread."""

    def __init__(
        self,
        path: Path,
        settings: SqliteSettings,
        loop: asyncio.AbstractEventLoop,
        *,
        committed: Callable[[int, int], None],
        log_grew: Callable[[int], None],
        metrics: SpoolMetrics | None = None,
        vfs: str | None = None,
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._committed = committed
        self._log_grew = log_grew
        self._metrics = metrics
        self._jobs = Jobs(settings)
        self._closed = False
        self._poisoned: str | None = None
        self._frames = 0
        self._gathering = Gathering(settings.gather)
        self._lock = LockFile(path.with_name(path.name + "-writer"), settings.busy_timeout)
        try:
            self._connection = connect(path, settings, writer=True, vfs=vfs)
        except BaseException:
            self._lock.close()
            raise
        try:
            self._lock.acquire()
            prepare(self._connection)
            self._lock.release()
        except BaseException:
            self._connection.close()
            self._lock.close()
            raise
        self._must_checkpoint = settings.checkpoint_must // self._connection.pragma("page_size")
        self._connection.set_wal_hook(self._on_log)
        self._synchronous = True
        self._tx = Tx(self._connection)
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    # --- the caller's side ---

    def submit(self, job: Job[Any]) -> None:
        """Hand a job over. StoreUnavailable when closed or too many wait."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if len(self._jobs) >= self._settings.waiting_jobs:
            raise StoreUnavailable("too many writes are waiting")
        self._jobs.put(job)

    @property
    def commits(self) -> int:
        """See `LockFile.commits`."""
        return self._lock.commits

    @property
    def poisoned(self) -> bool:
        """Whether a flush failed and nothing has been proved since."""
        return self._poisoned is not None

    def close(self) -> None:
        """Finish what was handed over. Blocks."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

    # --- the thread ---

    def _run(self) -> None:
        while not self._jobs.closing:
            group = self._jobs.first()
            if not group:
                continue
            try:
                if group[-1].gathers:
                    self._gathering.pause(self._jobs)
                self._do(group)
            except Exception as error:  # a bug; a thread that ends would leave every later write without an answer
                _log.exception("store_writer_failed", exc_info=error)
                self._count_fault("other")
                self._tell([(None, StoreUnavailable("the store's writer failed")) for _ in group], group)
        self._connection.close()
        self._lock.close()

    def _do(self, group: list[Job[Any]]) -> None:
        last, commits = 0, 0
        started = time.monotonic()
        try:
            self._recover()
            outcomes, last, commits = self._commit(group)
            self._gathering.flushed(len(group))
            self._count(group, time.monotonic() - started)
        except apsw.Error as error:
            outcomes = [(None, unavailable(error)) for _ in group]
            self._count_fault(kind_of(error))
        except StoreUnavailable as error:
            outcomes = [(None, StoreUnavailable(str(error))) for _ in group]
            self._count_fault("io" if self._poisoned is not None else "busy")
        except OSError as error:  # of the lock file
            outcomes = [(None, StoreUnavailable(f"the store's lock file failed: {error}")) for _ in group]
            self._count_fault("io")
        self._tell(outcomes, group, last, commits)
        self._house_keeping()

    def _tell(self, outcomes: list[Outcome], group: list[Job[Any]], last: int = 0, commits: int = 0) -> None:
        """Answer those who wait."""
        answers = [
            (job.future, value, error)
            for job, (value, error) in zip(group, outcomes, strict=True)
            if job.future is not None
        ]
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._answer, answers, last, commits)

    def _count(self, group: list[Job[Any]], seconds: float) -> None:
        if self._metrics is not None and any(job.durable for job in group):
            self._metrics.commit_seconds.observe(seconds)
            self._metrics.commit_operations.observe(len(group))

    def _count_fault(self, kind: StoreError) -> None:
        if self._metrics is not None:
            self._metrics.errors[kind].inc()

    def _commit(self, group: list[Job[Any]]) -> tuple[list[Outcome], int, int]:
        """What the jobs returned, the last change, and the number of commits at that moment."""
        self._lock.acquire()
        try:
            self._jobs.more(group)
            durable = any(job.durable for job in group)
            if durable is not self._synchronous:
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._synchronous = durable
            return self._transaction(group)
        except BaseException as error:
            self._tx.forget()
            if isinstance(error, apsw.IOError):
                self._poisoned = str(error)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._lock.release()

    def _transaction(self, group: list[Job[Any]]) -> tuple[list[Outcome], int, int]:
        execute = self._connection.execute
        moments = frozenset(job.moment for job in group if job.moment is not None)
        outcomes = self._together(group)
        if outcomes is None:
            self._tx.next_n = 0
            execute("BEGIN IMMEDIATE")
            outcomes = [self._one(job) for job in group]
        last: int = execute("SELECT coalesce(max(seq), 0) FROM change").get
        before_commit(moments)
        self._lock.announce()
        execute("COMMIT")
        self._lock.announce()
        after_commit(moments)
        return outcomes, last, self._lock.commits

    def _together(self, group: list[Job[Any]]) -> list[Outcome] | None:
        """Run the jobs without fences between them, which cost two statements each; None = one failed, all undone."""
        execute = self._connection.execute
        self._tx.next_n = 0
        execute("BEGIN IMMEDIATE")
        try:
            return [(job.run(self._tx), None) for job in group]
        except Exception as error:  # whose fault it was is found out by running them one by one
            if isinstance(error, apsw.Error) and not isinstance(error, _OF_ONE_JOB):
                raise
        execute("ROLLBACK")
        self._tx.forget()
        return None

    def _one(self, job: Job[Any]) -> Outcome:
        """Run one job; its own fault undoes it alone, the engine's undoes the group."""
        execute = self._connection.execute
        execute("SAVEPOINT job")
        outcome: Outcome
        try:
            outcome = job.run(self._tx), None
        except _OF_ONE_JOB as error:
            outcome = None, unavailable(error)
        except apsw.Error:
            raise
        except Exception as error:  # a caller's mistake or a bug: the caller gets it, the thread lives on
            outcome = None, error
        if outcome[1] is not None:
            execute("ROLLBACK TO job")
            self._tx.forget()
        execute("RELEASE job")
        return outcome

    def _recover(self) -> None:
        """Contract 10. Nothing, or StoreUnavailable while it is not proved."""
        if self._poisoned is None:
            return
        self._lock.acquire()
        try:
            # Every frame from memory into the file, both flushed, the log cut: only then is anything believed again.
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error as error:
            raise StoreUnavailable(f"a flush failed and the store is not proved yet: {error}") from error
        finally:
            self._lock.release()
        self._poisoned = None

    def _on_log(self, _connection: apsw.Connection, _name: str, frames: int) -> int:
        self._frames = frames
        return apsw.SQLITE_OK

    def _house_keeping(self) -> None:
        """Between groups: keep the log bounded, give space back."""
        try:
            if self._frames > self._must_checkpoint:
                self._frames = 0
                self._restart_log()
            else:
                self._log_grew(self._frames)
            while self._tx.freed:
                self._tx.freed = self._give_back()
                if len(self._jobs):  # one step at least for each group, else a busy relay would never shrink
                    break
        except apsw.IOError as error:
            self._poisoned = str(error)
        except (apsw.Error, StoreUnavailable, OSError):
            pass  # busy or full: it is tried again after the next group, and writes say what is wrong

    def _restart_log(self) -> None:
        """Copy all of the log back, so that it is written from its beginning again. Waits for readers a moment only."""
        self._lock.acquire()
        try:
            self._connection.set_busy_timeout(_READERS_MS)
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        finally:
            self._connection.set_busy_timeout(int(self._settings.busy_timeout * 1000))
            self._lock.release()

    def _give_back(self) -> bool:
        """Cut some free pages off the file where a good part of it is free; whether more are left to cut."""
        free, pages = self._connection.pragma("freelist_count"), self._connection.pragma("page_count")
        if free < max(2 * _VACUUM_PAGES, pages // 4):
            return False
        self._lock.acquire()
        try:
            self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        finally:
            self._lock.release()
        return True

    # --- in the loop ---

    def _answer(
        self, answers: list[tuple[asyncio.Future[Any], Any, Exception | None]], last: int, commits: int
    ) -> None:
        for future, value, error in answers:
            if future.done():  # the caller was cancelled; the work is done all the same (contract 3)
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        if last:
            self._committed(last, commits)
