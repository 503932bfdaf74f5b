"""Sealed chunks: staged while a message is received, owned by its item from the accept on."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from relay.core.ids import ItemId
from relay.store.api import StoreUnavailable
from relay.store.mailbox_records import Body
from relay.store.records import NewItem, Sealed
from relay.store.sqlite.jobs import Tx
from relay.store.sqlite.part import Part, listed, short_name

CHUNK_BITS = 20
"""key = n << CHUNK_BITS | index."""
MOST_CHUNKS = 1 << CHUNK_BITS
_BODIES = (
    "SELECT i.id, i.size, i.key_id, i.wrapped_key, i.chunk_count, c.data "
    "FROM json_each(?) wanted CROSS JOIN item i ON i.id = wanted.value LEFT JOIN chunk c ON c.key = i.n << ? "
    "WHERE i.state <> 'purged'"
)


def put(tx: Tx, n: int, first: int, chunks: Sequence[Sealed]) -> None:
    """Write chunks `first`, `first + 1`, ... of item `n`; the same index twice keeps the later one."""
    if first < 0 or first + len(chunks) > MOST_CHUNKS:
        raise ValueError("too many chunks")
    key = (n << CHUNK_BITS) + first
    for offset, data in enumerate(chunks):
        tx.execute("INSERT OR REPLACE INTO chunk (key, data) VALUES (?, ?)", (key + offset, data))


def drop(tx: Tx, n: int) -> None:
    """Delete all chunks of item `n`."""
    tx.freed = True
    tx.execute("DELETE FROM chunk WHERE key BETWEEN ? AND ?", (n << CHUNK_BITS, (n << CHUNK_BITS) + MOST_CHUNKS - 1))


def staged_n(tx: Tx, item: ItemId) -> int | None:
    """Short name of a message being received, if any chunk of it was staged."""
    n: int | None = tx.execute("SELECT n FROM staged WHERE id = ?", (item,)).get
    return n


def staged_count(tx: Tx, n: int) -> int:
    """How many chunks are there: what stands under 0, 1, 2, ... without a gap."""
    count, highest = tx.execute(
        "SELECT count(*), max(key) FROM chunk WHERE key BETWEEN ? AND ?",
        (n << CHUNK_BITS, (n << CHUNK_BITS) + MOST_CHUNKS - 1),
    ).get
    return int(count) if count and highest & (MOST_CHUNKS - 1) == count - 1 else 0


def forget_staged(tx: Tx, n: int) -> None:
    """Chunks and name of a message that will not be accepted."""
    drop(tx, n)
    tx.execute("DELETE FROM staged WHERE n = ?", (n,))


def staged_for(tx: Tx, new: NewItem) -> tuple[int, int]:
    """A short name for an item to be written and how many of its chunks stand under it. StoreUnavailable."""
    ahead = new.chunk_count - len(new.chunks)
    staged = staged_n(tx, new.id) if ahead else None
    if (0 if staged is None else staged_count(tx, staged)) != ahead:
        raise StoreUnavailable("chunks staged for this message are gone")
    return tx.take_n() if staged is None else staged, ahead


def own(tx: Tx, n: int, ahead: int, chunks: Sequence[Sealed]) -> None:
    """The item `n` is written: its last chunks, behind those that were staged, which are staged no longer."""
    put(tx, n, ahead, chunks)
    if ahead:
        tx.execute("DELETE FROM staged WHERE n = ?", (n,))


def discard(tx: Tx, item: ItemId) -> None:
    """What was staged for a message that will not be accepted, if anything."""
    n = staged_n(tx, item)
    if n is not None:
        forget_staged(tx, n)


class Bodies(Part):
    """`store.api.BodyStore`, and the reading of many bodies' beginnings."""

    async def bodies(self, items: Sequence[ItemId]) -> dict[ItemId, Body]:
        """See the contract."""

        def read(connection: apsw.Connection) -> dict[ItemId, Body]:
            found = connection.execute(_BODIES, (listed(items), CHUNK_BITS))
            return {ItemId(row[0]): Body(*row) for row in found}

        return await self._read(read)

    async def put_chunks(self, item: ItemId, first: int, chunks: Sequence[Sealed], *, now: float) -> None:
        """See the contract. Not flushed: the accept's flush covers it."""

        def run(tx: Tx) -> None:
            if short_name(tx.connection, item) is not None:  # also where something was staged that it did without
                raise ValueError("the item was accepted: its body is as it is")
            n = staged_n(tx, item)
            if n is None:
                n = tx.take_n()
                tx.execute("INSERT INTO staged (n, id, at) VALUES (?, ?, ?)", (n, item, now))
            else:
                tx.execute("UPDATE staged SET at = max(at, ?) WHERE n = ?", (now, n))
            put(tx, n, first, chunks)

        await self._write(run, durable=False, size=sum(map(len, chunks)))

    async def discard(self, item: ItemId) -> None:
        """See the contract."""

        await self._write(lambda tx: discard(tx, item), durable=False)

    async def chunks(self, item: ItemId, first: int, count: int) -> list[Sealed | None]:
        """See the contract."""

        def read(connection: apsw.Connection) -> list[Sealed | None]:
            found: list[Sealed | None] = [None] * count
            n = connection.execute(
                "SELECT n FROM item WHERE id = ?1 UNION ALL SELECT n FROM staged WHERE id = ?1", (item,)
            ).get
            if n is None or count <= 0:
                return found
            base = (n << CHUNK_BITS) + first
            last = min(base + count, (n + 1) << CHUNK_BITS) - 1
            for key, data in connection.execute("SELECT key, data FROM chunk WHERE key BETWEEN ? AND ?", (base, last)):
                found[key - base] = data
            return found

        return await self._read(read)

    async def sweep_staged(self, *, before: float, limit: int) -> int:
        """See the contract."""

        def run(tx: Tx) -> int:
            old = [n for (n,) in tx.execute("SELECT n FROM staged WHERE at < ? ORDER BY n LIMIT ?", (before, limit))]
            for n in old:
                forget_staged(tx, n)
            return len(old)

        return await self._write(run, durable=False)
