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
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import apsw

from relay.core.errors import RelayError
from relay.store.api import StoreUnavailable
from relay.store.sqlite.database import connect, prepare, unavailable
from relay.store.sqlite.lockfile import LockFile
from relay.store.sqlite.moments import Moment, after_commit, before_commit
from relay.store.sqlite.settings import SqliteSettings

T = TypeVar("T")


class Tx:
    """What a job may use: the connection inside its transaction, and what outlives it as a cache."""

    __slots__ = ("connection", "execute", "inboxes", "next_n")

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.inboxes: dict[bytes, int] = {}
        """Account mac -> id of its INBOX; INBOX is never deleted. Dropped at every rollback."""
        self.next_n = 0
        """Next free short name of an item; read anew in each transaction."""

    def rows(self, sql: str, bindings: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """All rows at once: for a loop that writes."""
        return self.execute(sql, bindings).fetchall()

    def take_n(self) -> int:
        """A short name for a new item."""
        if not self.next_n:
            self.next_n = self.execute(
                "SELECT max(coalesce((SELECT max(n) FROM item), 0), coalesce((SELECT max(n) FROM staged), 0)) + 1"
            ).get
        n = self.next_n
        self.next_n += 1
        return n

    def forget(self) -> None:
        """After a rollback: what was remembered may never have happened."""
        self.inboxes.clear()
        self.next_n = 0


class Job(Generic[T]):
    """One write; `moment` names the crash points around its commit."""

    __slots__ = ("durable", "future", "moment", "run", "size")

    def __init__(
        self,
        run: Callable[[Tx], T],
        future: asyncio.Future[T] | None,
        *,
        durable: bool,
        size: int = 0,
        moment: Moment | None = None,
    ) -> None:
        self.run = run
        self.future = future
        self.durable = durable
        self.size = size
        self.moment = moment


class Writer:
    """Owns the write connection; everything but `submit` runs in its thread."""

    def __init__(
        self,
        path: Path,
        settings: SqliteSettings,
        loop: asyncio.AbstractEventLoop,
        *,
        committed: Callable[[int], None],
        log_grew: Callable[[int], None],
        vfs: str | None = None,
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._committed = committed
        self._log_grew = log_grew
        self._jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._closed = False
        self._poisoned: str | None = None
        self._frames = 0
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
        if self._jobs.qsize() >= self._settings.waiting_jobs:
            raise StoreUnavailable("too many writes are waiting")
        self._jobs.put(job)

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
        open_ = True
        while open_:
            group, open_ = self._gather()
            if group:
                self._do(group)
        self._connection.close()
        self._lock.close()

    def _gather(self) -> tuple[list[Job[Any]], bool]:
        """Take what waits; lazy jobs alone wait for company."""
        settings, group, size = self._settings, list[Job[Any]](), 0
        eager = False
        lazy_until = 0.0
        while len(group) < settings.group_jobs and size < settings.group_bytes:
            try:
                if eager:
                    job = self._jobs.get_nowait()
                elif group:
                    job = self._jobs.get(timeout=max(0.0, lazy_until - time.monotonic()))
                else:
                    job = self._jobs.get()
            except queue.Empty:
                break
            if job is None:
                return group, False
            if not group:
                lazy_until = time.monotonic() + settings.lazy_delay
            group.append(job)
            size += job.size
            eager = eager or job.future is not None
        return group, True

    def _do(self, group: list[Job[Any]]) -> None:
        answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        last = 0
        try:
            self._recover()
            outcomes, last = self._commit(group)
        except (apsw.Error, StoreUnavailable) as error:
            fault = unavailable(error) if isinstance(error, apsw.Error) else error
            answers = [(job.future, None, StoreUnavailable(str(fault))) for job in group if job.future is not None]
        else:
            answers = [
                (job.future, value, error)
                for job, (value, error) in zip(group, outcomes, strict=True)
                if job.future is not None
            ]
        try:
            self._loop.call_soon_threadsafe(self._answer, answers, last)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return
        self._house_keeping()

    def _commit(self, group: list[Job[Any]]) -> tuple[list[tuple[Any, BaseException | None]], int]:
        durable = any(job.durable for job in group)
        moments = frozenset(job.moment for job in group if job.moment is not None)
        self._lock.acquire()
        try:
            if durable is not self._synchronous:
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._synchronous = durable
            outcomes = self._transaction(group, moments)
            last: int = self._connection.execute("SELECT coalesce(max(seq), 0) FROM change").get
        except BaseException as error:
            self._tx.forget()
            if isinstance(error, apsw.IOError):
                self._poisoned = str(error)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._lock.release()
        after_commit(moments)
        return outcomes, last

    def _transaction(self, group: list[Job[Any]], moments: frozenset[Moment]) -> list[tuple[Any, BaseException | None]]:
        tx, execute = self._tx, self._connection.execute
        outcomes: list[tuple[Any, BaseException | None]] = []
        tx.next_n = 0
        execute("BEGIN IMMEDIATE")
        for job in group:
            execute("SAVEPOINT job")
            try:
                value = job.run(tx)
            except (apsw.Error, StoreUnavailable, RelayError, KeyError, ValueError, TypeError) as error:
                if isinstance(error, apsw.Error) and not isinstance(error, (apsw.ConstraintError, apsw.TooBigError)):
                    raise
                execute("ROLLBACK TO job")
                tx.forget()
                outcomes.append((None, unavailable(error) if isinstance(error, apsw.Error) else error))
            else:
                outcomes.append((value, None))
            execute("RELEASE job")
        before_commit(moments)
        execute("COMMIT")
        return outcomes

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
        """Between groups: let the checkpoint thread know, and bound the log."""
        if self._frames <= self._must_checkpoint:
            self._log_grew(self._frames)
            return
        self._frames = 0
        try:
            self._lock.acquire()
            try:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            finally:
                self._lock.release()
        except apsw.BusyError:
            pass  # a long read keeps the log; the next group tries again
        except apsw.IOError as error:
            self._poisoned = str(error)
        except (apsw.Error, StoreUnavailable):
            pass  # the log only grows; writes will say what is wrong

    # --- in the loop ---

    def _answer(self, answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]], last: int) -> None:
        for future, value, error in answers:
            if future.done():  # the caller was cancelled; the work is done all the same (contract 3)
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        if last:
            self._committed(last)
