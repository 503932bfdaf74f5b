"""The leases on the items in a runner's hands.

1. Renewed at a third of their time; taken for lost at two thirds without a renewal, because the clock that ends them is
   somebody else's.
2. An item whose lease is lost is reported once; what is done about it (stop before the dot, or let the fencing of the
   store refuse a late settlement) is the runner's business.
"""

from __future__ import annotations

from collections.abc import Iterable

from relay.core.clock import Clock
from relay.core.ids import ItemId
from relay.spool.queue import Queue
from relay.store.api import StoreUnavailable
from relay.store.records import Lease


class Holding:
    """Leases on items."""

    def __init__(self, queue: Queue, clock: Clock, seconds: float) -> None:
        self._queue = queue
        self._clock = clock
        self._seconds = seconds
        self._leases: dict[ItemId, tuple[Lease, float]] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def add(self, leases: Iterable[Lease], since: float) -> None:
        """Granted by a call that was made at `since` (monotonic)."""
        for lease in leases:
            self._leases[lease.item] = (lease, since)

    def drop(self, item: ItemId) -> None:
        """Settled, released or lost."""
        self._leases.pop(item, None)

    def lease(self, item: ItemId) -> Lease | None:
        """The lease in force; None when it must be taken for lost."""
        lease, since = self._leases.get(item, (None, 0.0))
        return lease if self._clock.monotonic() - since < self._seconds * 2 / 3 else None

    async def renew(self) -> None:
        """Extend what is a third through its time."""
        now = self._clock.monotonic()
        aged = [lease for lease, since in self._leases.values() if now - since >= self._seconds / 3]
        if not aged:
            return
        try:
            kept = {lease.item: lease for lease in await self._queue.renew(aged, seconds=self._seconds)}
        except StoreUnavailable:
            return
        for old in aged:
            lease = kept.get(old.item)
            if lease is None:
                self._leases.pop(old.item, None)
            elif old.item in self._leases:
                self._leases[old.item] = (lease, now)

    async def release_all(self) -> None:
        """Hand back everything that is left; what is INTENT stays so until its lease ends."""
        await self.release(list(self._leases))

    async def release(self, items: Iterable[ItemId]) -> None:
        """Hand items back as they are."""
        leases = [lease for lease, _ in (self._leases.pop(item, (None, 0.0)) for item in items) if lease is not None]
        if leases:
            try:
                await self._queue.release(leases)
            except StoreUnavailable:
                return  # they run out
