"""Write jobs on their way to the writer thread, and how they become groups."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import apsw

from relay.store.sqlite.moments import Moment
from relay.store.sqlite.settings import SqliteSettings

T = TypeVar("T")


class Tx:
    """What a job may use: the connection inside its transaction, and what outlives it as a cache."""

    __slots__ = ("connection", "execute", "freed", "inboxes", "next_n")

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.inboxes: dict[bytes, int] = {}
        """Account mac -> id of its INBOX; INBOX is never deleted. Dropped at every rollback."""
        self.freed = True
        """Pages may have become free; True at the start, for what a crash left to do."""
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

    __slots__ = ("durable", "future", "gathers", "moment", "patience", "run", "size")

    def __init__(
        self,
        run: Callable[[Tx], T],
        future: asyncio.Future[T] | None,
        *,
        durable: bool,
        size: int = 0,
        moment: Moment | None = None,
        patience: float = 0.0,
        gathers: bool = True,
    ) -> None:
        """`patience` is how long it may wait for a job in a hurry, seconds; `gathers`: it waits for company."""
        self.run = run
        self.future = future
        self.durable = durable
        self.size = size
        self.moment = moment
        self.patience = patience
        self.gathers = gathers and durable and not patience


class Jobs:
    """The queue: filled from the loop, emptied by the writer thread."""

    def __init__(self, settings: SqliteSettings) -> None:
        self._settings = settings
        self._waiting: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._awaited = 0
        """So many wake the writer; 0 while it does not wait for company."""
        self._enough = threading.Event()
        self.closing = False
        """The end was read; what is in hand then is the last group."""

    def put(self, job: Job[Any] | None) -> None:
        """Add one; None says that no more will come."""
        self._waiting.put(job)
        if 0 < self._awaited <= self._waiting.qsize():
            self._enough.set()

    def await_company(self, count: int, seconds: float) -> None:
        """In the writer's thread: until so many wait, `seconds` at most.

        It is woken once: each look at the queue would cost the event loop a turn of the interpreter.
        """
        self._enough.clear()
        self._awaited = count
        if len(self) < count:
            self._enough.wait(seconds)
        self._awaited = 0

    def __len__(self) -> int:
        return self._waiting.qsize()

    def first(self) -> list[Job[Any]]:
        """Wait for work. Patient jobs alone wait a while for one that is in a hurry."""
        group: list[Job[Any]] = []
        until: float | None = None
        while len(group) < self._settings.group_jobs:
            try:
                job = self._waiting.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
            except queue.Empty:
                return group
            if job is None:
                self.closing = True
                return group
            group.append(job)
            if not job.patience:
                return group
            latest = time.monotonic() + job.patience
            until = latest if until is None else min(until, latest)
        return group

    def more(self, group: list[Job[Any]]) -> None:
        """Add what waits by now, up to the limits of a group."""
        size = sum(job.size for job in group)
        while not self.closing and len(group) < self._settings.group_jobs and size < self._settings.group_bytes:
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self.closing = True
            else:
                group.append(job)
                size += job.size
