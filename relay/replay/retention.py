"""What is kept for how long. Nothing that is owed is ever deleted.

1. Mail that could not be delivered is reported to the operator from `warn` on, again at half and at four fifths of
   `spool`; at `spool` it becomes HELD, and then only the operator decides (docs/decisions: held at retention).
2. Shadow copies of what was delivered go after `shadow`; what the sender was told was refused goes after a day.
3. Chunks of messages that were never committed go after `staged`; the ledger of purged items after `ledger`.
4. What is remembered of logins goes when it is good for nothing any more, `remembered` and `tokens` after it was
   written; that a user was revoked is kept.
5. A sweep that is interrupted goes on at the next one; each step is small.
"""

from __future__ import annotations

import asyncio

import msgspec

from relay.core.clock import Clock
from relay.core.errors import LeaseLost
from relay.core.item import ItemState
from relay.core.reply import reply
from relay.obs.logs import logger
from relay.obs.metrics import SpoolMetrics
from relay.spool.queue import Queue
from relay.store.api import IllegalTransition, StoreUnavailable
from relay.store.records import ItemRow

LEASE = "sweep"
"""Name of the singleton lease (`control.singleton` holds it)."""

_log = logger("replay.retention")
_DAY = 86_400.0
_BATCH = 500
_PAGE = 1000
_WAITING = (ItemState.PENDING, ItemState.UNKNOWN)
_SHADOWS = (ItemState.DELIVERED, ItemState.VERIFIED, ItemState.RETURNED, ItemState.STORED)
_EXPIRED = reply(451, "4.4.7 Could not be delivered for as long as it may be kept waiting")


class RetentionSettings(msgspec.Struct, frozen=True):
    """Ages in seconds."""

    spool: float = 30 * _DAY
    warn: float = 3 * _DAY
    shadow: float = 14 * _DAY
    refused: float = _DAY
    ledger: float = 90 * _DAY
    staged: float = _DAY
    remembered: float = 30 * _DAY
    tokens: float = 3600.0
    every: float = 3600.0


class Swept(msgspec.Struct):
    """What one sweep did."""

    overdue: int = 0
    """Became HELD."""
    purged: int = 0
    staged: int = 0
    changes: int = 0
    logins: int = 0
    aged: tuple[int, int, int] = (0, 0, 0)
    """Waiting longer than `warn`, half and four fifths of `spool`."""


class Retention:
    """`run` is for the holder of the lease."""

    def __init__(self, *, queue: Queue, clock: Clock, settings: RetentionSettings, metrics: SpoolMetrics) -> None:
        self._queue = queue
        self._store = queue.store
        self._clock = clock
        self._settings = settings
        self._metrics = metrics

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.sweep()
            except StoreUnavailable as error:
                _log.warning("sweep_put_off", error=type(error).__name__)
            await asyncio.sleep(self._settings.every)

    async def sweep(self) -> Swept:
        """Once through everything. StoreUnavailable."""
        done = Swept()
        await self._waiting(done)
        now, s = self._clock.now(), self._settings
        done.purged = await self._purge(_SHADOWS, now - s.shadow) + await self._purge(
            (ItemState.REFUSED,), now - s.refused
        )
        while count := await self._store.sweep_staged(before=now - s.staged, limit=_BATCH):
            done.staged += count
        while count := await self._store.trim_changes(before=now - s.ledger, limit=10 * _BATCH):
            done.changes += count
        for kind, age in (("remembered", s.remembered), ("token", s.tokens)):
            while count := await self._store.sweep_credentials(kind, before=now - age, limit=_BATCH):
                done.logins += count
        for what in ("overdue", "purged", "staged", "changes", "logins"):
            self._metrics.swept[what].inc(getattr(done, what))
        return done

    async def _purge(self, states: tuple[ItemState, ...], before: float) -> int:
        total = 0
        while count := await self._store.purge(
            states=states, changed_before=before, now=self._clock.now(), limit=_BATCH
        ):
            total += count
        return total

    async def _waiting(self, done: Swept) -> None:
        """Old mail, oldest first; ids are in the order of arrival."""
        s, now = self._settings, self._clock.now()
        marks = (s.warn, s.spool / 2, s.spool * 4 / 5)
        aged = [0, 0, 0]
        after = None
        while True:
            rows = await self._store.items(states=_WAITING, after=after, limit=_PAGE)
            for row in rows:
                age = now - row.received_at
                if age < min(marks):
                    rows = []  # everything behind it is younger
                    break
                if age >= s.spool:
                    done.overdue += await self._hold(row)
                    continue
                for i, mark in enumerate(marks):
                    aged[i] += age >= mark
            if len(rows) < _PAGE:
                break
            after = rows[-1].id
        done.aged = (aged[0], aged[1], aged[2])
        if done.overdue:
            _log.error("mail_held_at_retention", count=done.overdue, remedy="see `relay queue list --state held`")
        if any(aged):
            say = _log.error if aged[2] else _log.warning
            say("mail_waits_long", count=aged[0], half=aged[1], nearly=aged[2], days=int(s.spool / _DAY))

    async def _hold(self, row: ItemRow) -> bool:
        try:
            await self._queue.move(row.id, ItemState.HELD, note=_EXPIRED)
        except (LeaseLost, IllegalTransition, KeyError):
            return False  # it is on its way right now; the next sweep sees what came of it
        return True
