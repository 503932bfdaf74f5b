"""The queue before SQLite's own lock: turns are fair, waits end, and nobody who dies keeps others out."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path

import pytest

from relay.store.api import StoreUnavailable
from relay.store.sqlite.lockfile import LockFile

TURNS = 600


async def test_three_that_never_pause_all_get_their_turns(tmp_path: Path) -> None:
    record = tmp_path / "record"
    arguments = [sys.executable, "-m", "tests.store.turns", str(tmp_path / "lock"), str(record)]
    peers = [
        await asyncio.create_subprocess_exec(*arguments, name, str(TURNS), stdin=PIPE, stdout=PIPE) for name in "abc"
    ]
    async with asyncio.timeout(100):
        for peer in peers:
            assert peer.stdout is not None
            assert await peer.stdout.readline() == b"ready\n"
        await asyncio.gather(*[peer.communicate(b"go\n") for peer in peers])
    assert [peer.returncode for peer in peers] == [0, 0, 0]
    turns = Counter(record.read_text())
    assert turns.total() == TURNS
    # A third each where the processors are free; a luck of some microseconds would leave them far less.
    assert min(turns[name] for name in "abc") >= TURNS / 6, turns


def test_a_wait_ends_and_leaves_nothing_behind(tmp_path: Path) -> None:
    holder, hasty, patient = (LockFile(tmp_path / "lock", seconds) for seconds in (10.0, 0.01, 10.0))
    holder.acquire()
    with pytest.raises(StoreUnavailable, match="too long"):
        hasty.acquire()
    holder.release()
    patient.acquire()  # neither the lock nor the turn was kept
    patient.release()
    for lock in (holder, hasty, patient):
        lock.close()


def test_closing_frees_the_lock(tmp_path: Path) -> None:
    gone, next_one = LockFile(tmp_path / "lock", 10.0), LockFile(tmp_path / "lock", 10.0)
    gone.acquire()
    gone.announce()
    gone.close()
    next_one.acquire()
    assert next_one.commits == gone.commits == 1
    next_one.release()
    next_one.close()
