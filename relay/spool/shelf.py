"""The rows of mailboxes that are in use, kept beside the store: ten sessions in one mailbox read it once.

A mailbox's id enters, a `Shelf` leaves: its messages as of the last commit that any process had announced when it was
asked for.

1. Freshness costs a memory access while nobody commits (`Store.last_change`), else the changes since; a shelf whose
   changes are too many or may have been trimmed is read anew. So who has seen a write done sees it here.
2. `Shelf.uids` is never changed in place: sessions share it (`proto.imap.seqview`) until their own view differs.
3. No more than `MOST_ROWS` rows are kept, least recently used mailboxes leave first; a larger mailbox is not kept.
4. Nothing here is readable content: rows hold numbers, flags and ids.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from relay.core.clock import Clock
from relay.store.api import Store
from relay.store.records import Change, MessageRow

MOST_ROWS = 100_000
"""About 30 MB per worker."""
_PAGE = 10_000
_MOST_CHANGES = 1_000
"""With more of them since, reading all is cheaper."""
_GOOD_FOR = 3600.0
"""Seconds after which all is read anew: far less than changes are kept."""


class Shelf:
    """One mailbox."""

    __slots__ = ("_flags", "_keywords", "_rows", "good_until", "seen", "uids")

    def __init__(self, rows: list[MessageRow], seen: int, good_until: float) -> None:
        self.seen = seen
        """The last change that is in it for certain."""
        self.good_until = good_until
        self._flags: bytes | None = None
        self._keywords: frozenset[int] | None = None
        self._rows = rows
        self.uids = array("I", (row.uid for row in rows))
        """Ascending; not to be changed."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def flags(self) -> bytes:
        """System flags of each message, an octet each, parallel to `uids`."""
        if self._flags is None:
            self._flags = bytes(row.flags for row in self._rows)
        return self._flags

    @property
    def keywords(self) -> frozenset[int]:
        """Numbers of all keywords in use."""
        if self._keywords is None:
            self._keywords = frozenset(number for row in self._rows if row.keywords for number in row.keywords)
        return self._keywords

    def rows(self, uids: Sequence[int]) -> list[MessageRow]:
        """Those that are there, in the order that they are named in."""
        if not len(uids):
            return []
        start, count = bisect_left(self.uids, uids[0]), len(uids)
        if self.uids[start : start + count] == array("I", uids):  # neighbours, as nearly always
            return self._rows[start : start + count]
        return [self._rows[at] for at in map(self._place, uids) if at >= 0]

    def after(self, uid: int, up_to: int | None, limit: int) -> list[MessageRow]:
        """`uid < UID <= up_to`, ascending."""
        start = bisect_left(self.uids, uid + 1)
        end = len(self.uids) if up_to is None else bisect_left(self.uids, up_to + 1)
        return self._rows[start : min(end, start + limit)]

    def change(self, touched: Iterable[int], now: Iterable[MessageRow]) -> None:
        """`now` are the rows of those `touched` that are still there."""
        self._flags = None
        fresh = {row.uid: row for row in now}
        if self._keywords or any(row.keywords for row in fresh.values()):
            self._keywords = None
        gone: set[int] = set()
        more: list[MessageRow] = []
        for uid in touched:
            at, row = self._place(uid), fresh.get(uid)
            if row is None:
                gone.add(uid)
            elif at >= 0:
                self._rows[at] = row
            else:
                more.append(row)
        if gone and gone.isdisjoint(self.uids):
            gone = set()
        if not gone and (not more or not self.uids or more[0].uid > self.uids[-1]):
            if more:  # new mail, as mostly: nothing moves
                self._rows += more
                self.uids = self.uids + array("I", map(_uid, more))
            return
        self._rows = [row for row in self._rows if row.uid not in gone] + more
        self._rows.sort(key=_uid)  # UIDs ascend, so it is in order but for its last few
        self.uids = array("I", map(_uid, self._rows))

    def _place(self, uid: int) -> int:
        at = bisect_left(self.uids, uid)
        return at if at < len(self.uids) and self.uids[at] == uid else -1


def _uid(row: MessageRow) -> int:
    return row.uid


class Shelves:
    """One per worker."""

    def __init__(self, store: Store, clock: Clock, *, most_rows: int = MOST_ROWS) -> None:
        self._store = store
        self._clock = clock
        self._most_rows = most_rows
        self._shelves: OrderedDict[int, Shelf] = OrderedDict()
        self._locks: dict[int, asyncio.Lock] = {}

    async def get(self, mailbox: int, messages: int) -> Shelf | None:
        """The mailbox as it is; `messages` is about how many it has: None where they are too many. NotNow."""
        if messages > self._most_rows:
            return None
        last = await self._store.last_change()
        shelf = self._shelves.get(mailbox)
        if shelf is None or not self._fresh(shelf, last):
            lock = self._locks.setdefault(mailbox, asyncio.Lock())
            try:
                async with lock:
                    shelf = self._shelves.get(mailbox)  # somebody else may have been here first
                    if shelf is None or not self._fresh(shelf, last):
                        shelf = await self._renew(mailbox, shelf, last)
            finally:
                if not lock.locked() and self._locks.get(mailbox) is lock:
                    del self._locks[mailbox]
        if mailbox in self._shelves:
            self._shelves.move_to_end(mailbox)
        return shelf

    def _fresh(self, shelf: Shelf, last: int) -> bool:
        return shelf.seen >= last and self._clock.monotonic() < shelf.good_until

    async def _renew(self, mailbox: int, shelf: Shelf | None, last: int) -> Shelf:
        """`last` had happened before anything is read here."""
        now = self._clock.monotonic()
        if shelf is not None and now < shelf.good_until:
            changes = await self._store.changes(after=shelf.seen, limit=_MOST_CHANGES)
            if len(changes) < _MOST_CHANGES and await self._follow(mailbox, shelf, changes, last):
                return shelf
        self._shelves.pop(mailbox, None)
        fresh = self._shelves[mailbox] = await self._read(mailbox, last, now + _GOOD_FOR)
        while len(self._shelves) > 1 and sum(map(len, self._shelves.values())) > self._most_rows:
            self._shelves.popitem(last=False)
        return fresh

    async def read(self, mailbox: int) -> Shelf:
        """One that is not kept. NotNow."""
        return await self._read(mailbox, await self._store.last_change(), 0.0)

    async def _read(self, mailbox: int, last: int, good_until: float) -> Shelf:
        rows: list[MessageRow] = []
        while page := await self._store.messages(mailbox, after_uid=rows[-1].uid if rows else 0, limit=_PAGE):
            rows += page
        return Shelf(rows, last, good_until)

    async def _follow(self, mailbox: int, shelf: Shelf, changes: Sequence[Change], last: int) -> bool:
        """Bring a shelf up to date; False where something has happened to the mailbox as a whole."""
        ours = [change for change in changes if change.mailbox == mailbox]
        if any(change.uid is None for change in ours):
            return False
        touched = sorted({change.uid for change in ours if change.uid is not None})
        if touched:
            shelf.change(touched, await self._store.message_rows(mailbox, touched))
        shelf.seen = max(last, changes[-1].seq if changes else 0)
        return True
