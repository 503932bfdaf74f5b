"""Several processes on one file, some of them killed: nothing promised is lost, nothing is half there."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from itertools import pairwise
from pathlib import Path

import pytest

from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.obs.crash import VARIABLE
from relay.store.records import ChangeKind
from relay.store.sqlite import SqliteSettings, SqliteStore, open_store
from tests.store.samples import NOW, folders_of, item_id, new_item

_S = ItemState
DEADLINE = 100.0
"""Seconds that a peer is waited for. It only bounds a wait that ends early: a machine may be busy."""


async def start(path: Path, work: str, first: int = 0, count: int = 0, crash: str = "") -> Process:
    """A peer."""
    environment = {**os.environ, **({VARIABLE: crash} if crash else {})}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.peer", str(path), work, str(first), str(count), stdout=PIPE, env=environment
    )


async def promised(peer: Process) -> list[str]:
    """Everything it was promised until its end."""
    async with asyncio.timeout(DEADLINE):
        out, _ = await peer.communicate()
    return out.decode().split()


async def check_whole(store: SqliteStore) -> list[ItemId]:
    """Each item has its body, its ledger and its message; UIDs are without gap or repetition. All ids."""
    rows = await store.items(states=list(_S), limit=100_000)
    for row in rows:
        assert None not in await store.chunks(row.id, 0, row.chunk_count)
        ledger = await store.ledger(row.id)
        assert (ledger[0].new, ledger[-1].new) == ("pending", row.state)
        assert all(one.new == two.old for one, two in pairwise(ledger))
    for box in await folders_of(store):
        messages = await store.messages(box.id, limit=100_000)
        assert [one.uid for one in messages] == list(range(1, len(rows) + 1))
        assert {one.item for one in messages} == {row.id for row in rows}
        assert (box.messages, box.uidnext) == (len(rows), len(rows) + 1)
    return [row.id for row in rows]


@pytest.mark.parametrize("point", ["store.accept.before_commit", "store.accept.after_commit"])
async def test_killed_around_an_accept(tmp_path: Path, point: str) -> None:
    """Several share a commit: what was promised is there, and the promise of the last commit was never heard."""
    path = tmp_path / "relay.db"
    acked, there = await accept_until_killed(path, "accept", f"{point}:5")
    # How many of the promises made by earlier commits it could still print is the scheduler's business.
    assert set(acked) <= set(there)
    assert 0 < len(there) < 1000
    if point.endswith("after_commit"):
        assert len(there) > len(acked)


@pytest.mark.parametrize(("point", "kept"), [("store.accept.before_commit", 4), ("store.accept.after_commit", 5)])
async def test_killed_around_the_fifth_of_many_accepts(tmp_path: Path, point: str, kept: int) -> None:
    """One after the other, so that four promises were heard: the fifth message is there or not, as its commit is."""
    acked, there = await accept_until_killed(tmp_path / "relay.db", "accept_in_turn", f"{point}:5")
    assert sorted(acked) == [item_id(number) for number in range(4)]
    assert sorted(there) == [item_id(number) for number in range(kept)]


async def accept_until_killed(path: Path, work: str, crash: str) -> tuple[list[ItemId], list[ItemId]]:
    """What was promised, and what is there, swept."""
    peer = await start(path, work, 0, 1000, crash=crash)
    acked = await promised(peer)
    assert peer.returncode == -signal.SIGKILL
    store = await open_store(path, SqliteSettings())
    there = await check_whole(store)
    # What was staged for accepts that never came is swept; what was accepted is not.
    await store.sweep_staged(before=NOW + 1, limit=10_000)
    assert await store.sweep_staged(before=NOW + 1, limit=10_000) == 0
    assert await check_whole(store) == there
    await store.close()
    return [item_id(int(number)) for number in acked], there


@pytest.mark.parametrize(
    ("point", "unknown"),
    [
        ("store.intend.before_commit", False),
        ("store.intend.after_commit", True),
        ("store.settle.before_commit", True),
        ("store.settle.after_commit", True),
    ],
)
async def test_killed_around_a_delivery(tmp_path: Path, point: str, unknown: bool) -> None:
    path = tmp_path / "relay.db"
    store = await open_store(path, SqliteSettings())
    await asyncio.gather(*[store.accept(new_item(number), now=NOW) for number in range(20)])
    peer = await start(path, "deliver", crash=f"{point}:2")
    settled = await promised(peer)
    assert peer.returncode == -signal.SIGKILL
    rescued = await store.rescue(now=NOW, dead_owners=["peer"])
    assert bool(rescued) is unknown
    counts = await store.counts()
    assert counts[_S.INTENT].items == 0
    assert counts[_S.UNKNOWN].items == len(rescued)
    assert sum(one.items for one in counts.values()) == 20
    for item in settled:
        row = await store.item(ItemId(item))
        assert row is not None
        assert row.state is _S.DELIVERED
    await check_whole(store)
    peer = await start(path, "deliver")
    await promised(peer)
    assert peer.returncode == 0
    assert (await store.counts())[_S.DELIVERED].items == 20 - len(rescued)
    await store.close()


async def test_two_processes_write_and_a_third_misses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    store = await open_store(path, SqliteSettings())
    seen: list[int] = []
    arrived: list[ItemId] = []

    async def follow() -> None:
        while not arrived or len(arrived) < 450:
            await store.wait_change(after=seen[-1] if seen else 0, timeout=DEADLINE)
            for change in await store.changes(after=seen[-1] if seen else 0, limit=50):
                seen.append(change.seq)
                if change.kind is ChangeKind.ARRIVED and change.item is not None:
                    arrived.append(change.item)

    async with asyncio.timeout(DEADLINE):
        follower = asyncio.create_task(follow())
        peers = [await start(path, "accept", first, 200) for first in (0, 1000)]
        await asyncio.gather(*[store.accept(new_item(number), now=NOW) for number in range(2000, 2050)])
        acked = await asyncio.gather(*map(promised, peers))
        await follower
    assert [len(one) for one in acked] == [200, 200]
    assert seen == list(range(1, len(seen) + 1))
    assert len(set(arrived)) == len(arrived) == 450
    assert sorted(arrived) == await check_whole(store)
    await store.close()


async def test_a_killed_writer_does_not_stop_the_others(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    store = await open_store(path, SqliteSettings())
    victim = await start(path, "accept", 0, 100_000)
    survivor = await start(path, "accept", 1_000_000, 300)
    assert victim.stdout is not None
    async with asyncio.timeout(DEADLINE):
        lines = [await victim.stdout.readline() for _ in range(50)]
        victim.kill()
        rest = await promised(victim)
    acked = [int(line) for line in lines] + [int(line) for line in rest if line.isdigit()]
    assert len(await promised(survivor)) == 300
    there = set(await check_whole(store))
    assert {item_id(number) for number in acked} <= there
    assert (await store.accept(new_item(5_000_000), now=NOW)).duplicate is False
    await store.close()


async def test_workers_may_start_together_on_nothing(tmp_path: Path) -> None:
    peers = await asyncio.gather(*[start(tmp_path / "relay.db", "accept", 100 * n, 1) for n in range(3)])
    await asyncio.gather(*map(promised, peers))
    assert [peer.returncode for peer in peers] == [0, 0, 0]
    store = await open_store(tmp_path / "relay.db", SqliteSettings())
    assert len(await check_whole(store)) == 3
    await store.close()
