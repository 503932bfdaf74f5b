"""The change feed (`store.api.FeedStore`) and who waits for it.

Writes of this process wake waiters at once. Writes of other processes are noticed by one poller, which runs only while
somebody waits and asks the database only when the lock file's number has moved.
"""

# ruff: noqa: S608 -- statements are joined from our own words; values are always bound
from __future__ import annotations

import asyncio
from collections.abc import Sequence

import apsw

from relay.core.ids import ItemId
from relay.store.api import StoreUnavailable
from relay.store.records import Change, ChangeKind
from relay.store.sqlite import rows
from relay.store.sqlite.jobs import Tx
from relay.store.sqlite.part import Part, marks


class News:
    """The highest `seq` that this process knows of; lives in the loop's thread."""

    def __init__(self) -> None:
        self.last = 0
        self.commits = -1
        """The lock file's number before `last` was read."""
        self.waiting = 0
        self._changed = asyncio.Event()

    def heard(self, last: int, commits: int) -> None:
        """`last` is what a look found that began when the number was `commits`."""
        self.commits = commits
        if last > self.last:
            self.last = last
            self._changed.set()
            self._changed = asyncio.Event()

    async def change(self) -> None:
        """Wait until `last` grows."""
        await self._changed.wait()


class Feed(Part):
    """Changes in commit order."""

    _news: News
    _poller: asyncio.Task[None] | None = None

    async def last_change(self) -> int:
        """See the contract. Costs no query while nobody commits."""
        commits = self._writer.commits
        if commits == self._news.commits and not self._writer.poisoned:
            return self._news.last
        last = await self._read(_last)
        self._news.heard(last, commits)
        return last

    async def changes(self, *, after: int, limit: int, kinds: Sequence[ChangeKind] = ()) -> list[Change]:
        """See the contract."""
        chosen = f"AND c.kind IN ({marks(kinds)}) " if kinds else ""
        return await self._read(
            lambda connection: rows.changes(
                connection.execute(
                    rows.CHANGE + f"WHERE c.seq > ? {chosen}ORDER BY c.seq LIMIT ?", (after, *map(str, kinds), limit)
                )
            )
        )

    async def ledger(self, item: ItemId) -> list[Change]:
        """See the contract."""
        return await self._read(
            lambda connection: rows.changes(
                connection.execute(
                    rows.CHANGE + "WHERE c.item = (SELECT n FROM item WHERE id = ?) AND c.kind = 'item' ORDER BY c.seq",
                    (item,),
                )
            )
        )

    async def wait_change(self, *, after: int, timeout: float) -> int:
        """See the contract."""
        if self._news.last > after:
            return self._news.last
        if self._news.commits != self._writer.commits:
            last = await self.last_change()
            if last > after:
                return last
        self._news.waiting += 1
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll(), name="store-feed-poll")
        try:
            async with asyncio.timeout(timeout):
                while self._news.last <= after:
                    await self._news.change()
        except TimeoutError:
            return await self.last_change()
        finally:
            self._news.waiting -= 1
        return self._news.last

    async def _poll(self) -> None:
        """Look for other processes' commits while somebody waits."""
        try:
            while self._news.waiting:
                await asyncio.sleep(self._settings.poll)
                commits = self._writer.commits
                if commits == self._news.commits:
                    continue
                try:
                    self._news.heard(await self._readers.read(_last), commits)
                except StoreUnavailable:
                    continue  # waiters end by their own timeout, and their next call says what is wrong
        finally:
            self._poller = None

    async def trim_changes(self, *, before: float, limit: int) -> int:
        """See the contract. An item whose whole ledger went is forgotten with it. The highest entry always stays."""

        def candidates(connection: apsw.Connection) -> list[int]:
            found = connection.execute(
                "SELECT c.seq FROM change c LEFT JOIN item i ON i.n = c.item WHERE c.at < ? "
                "AND (c.item IS NULL OR c.kind <> 'item' OR i.state = 'purged') "
                "AND c.seq < (SELECT max(seq) FROM change) ORDER BY c.seq LIMIT ?",
                (before, limit),
            )
            return [seq for (seq,) in found]

        def run(tx: Tx) -> int:
            touched: dict[int, None] = {}
            done = 0
            for seq in chosen:
                gone = tx.execute("DELETE FROM change WHERE seq = ? RETURNING coalesce(item, 0)", (seq,)).get
                if gone is not None:
                    done += 1
                    touched[gone] = None
            for n in touched:
                tx.execute(
                    "DELETE FROM item WHERE n = ?1 AND state = 'purged' "
                    "AND NOT EXISTS (SELECT 1 FROM change WHERE item = ?1)",
                    (n,),
                )
            return done

        # Old entries stay old and PURGED is the last state, so the search needs no lock.
        chosen = await self._read(candidates)
        return await self._write(run, durable=False) if chosen else 0


def _last(connection: apsw.Connection) -> int:
    last: int = connection.execute("SELECT coalesce(max(seq), 0) FROM change").get
    return last
