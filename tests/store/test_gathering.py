"""When a commit waits for company."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from relay.store.sqlite.gathering import Gathering
from relay.store.sqlite.jobs import Job, Jobs
from relay.store.sqlite.settings import SqliteSettings


class Desk:
    """Jobs that arrive while one waits, so many per millisecond."""

    def __init__(self, per_ms: int = 0, most: int = 1000) -> None:
        self.per_ms = per_ms
        self.most = most
        self.queued = 0
        self.slept = 0.0
        self.gathering = Gathering(0.004)

    def __len__(self) -> int:
        return self.queued

    def await_company(self, count: int, seconds: float) -> None:
        """Time passes."""
        waited = 0
        while self.queued < count and waited < 1000 * seconds:
            waited += 1
            self.queued = min(self.most, self.queued + self.per_ms)
        self.slept += waited / 1000

    def groups(self, count: int) -> int:
        """Commit so many groups; how many jobs they held."""
        done = 0
        for _ in range(count):
            self.gathering.pause(self)
            done += 1 + self.queued
            self.gathering.flushed(1 + self.queued)
            self.queued = 0
        return done


def test_one_alone_waits_a_few_times_in_a_hundred() -> None:
    desk = Desk()
    assert desk.groups(320) == 320
    assert desk.slept < 0.004 * 10.5


def test_many_share_as_soon_as_it_was_seen_to_pay() -> None:
    desk = Desk(per_ms=2)
    desk.groups(32)
    assert desk.groups(100) >= 500


def test_two_that_take_turns_wait_no_longer_than_for_each_other() -> None:
    desk = Desk(per_ms=1, most=1)
    desk.groups(64)
    desk.slept = 0.0
    assert desk.groups(100) == 200
    assert desk.slept < 100 * 0.001 + 0.004 * 4


def test_a_crowd_that_is_gone_is_forgotten() -> None:
    desk = Desk(per_ms=10)
    desk.groups(64)
    desk.per_ms = 0
    desk.groups(64)
    desk.slept = 0.0
    desk.groups(100)
    assert desk.slept <= 0.004 * 4


def test_the_writer_is_woken_by_the_last_that_it_waits_for() -> None:
    jobs = Jobs(SqliteSettings())
    loop = asyncio.new_event_loop()
    try:
        job = Job(lambda _tx: None, loop.create_future(), durable=True)
        started = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(jobs.await_company, 3, 30.0)
            for _ in range(3):
                jobs.put(job)
            waiting.result(timeout=30.0)
        jobs.await_company(3, 30.0)  # they are there
        assert time.monotonic() - started < 20.0
        jobs.await_company(4, 0.001)
        assert len(jobs) == 3
    finally:
        loop.close()
