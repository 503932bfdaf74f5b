"""Another process on the same database: `python -m tests.store.peer FILE WORK FIRST COUNT`.

Prints a line for every promise it was given, at once, so that whoever kills it knows what it had been promised.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from relay.core.item import ItemState
from relay.store.records import Outcome, Route
from relay.store.sqlite import SqliteSettings, SqliteStore, open_store
from tests.store.samples import NOW, item_id, new_item

AT_ONCE = 8


async def accept(store: SqliteStore, first: int, count: int, at_once: int = AT_ONCE) -> None:
    """Accept `count` items, some of them staged ahead, so many at a time."""

    async def one(number: int) -> None:
        staged = number % 3
        if staged:
            await store.put_chunks(item_id(number), 0, [b"staged"] * staged, now=NOW)
        await store.accept(new_item(number, chunks=(b"last",), chunk_count=staged + 1), now=NOW)
        print(number, flush=True)

    async def line(start: int) -> None:
        for number in range(start, first + count, at_once):
            await one(number)

    await asyncio.gather(*[line(first + offset) for offset in range(at_once)])


async def accept_in_turn(store: SqliteStore, first: int, count: int) -> None:
    """The same, each after the promise for the one before it."""
    await accept(store, first, count, at_once=1)


async def deliver(store: SqliteStore, first: int, count: int) -> None:
    """Take what is there to DELIVERED; `first` and `count` are not used."""
    del first, count
    while rows := await store.claim(
        "peer", states=[ItemState.PENDING], route=Route.PRIMARY, now=NOW, until=NOW + 60, limit=5
    ):
        leases = [row.lease for row in rows if row.lease is not None]
        await store.intend(leases, now=NOW)
        for lease in leases:
            await store.settle(lease, Outcome(ItemState.DELIVERED), now=NOW)
            print(lease.item, flush=True)


WORK = {"accept": accept, "accept_in_turn": accept_in_turn, "deliver": deliver}


async def main(path: str, work: str, first: str, count: str) -> None:
    """Open, work, close."""
    store = await open_store(Path(path), SqliteSettings())
    await WORK[work](store, int(first), int(count))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
