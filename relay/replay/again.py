"""Before a message that was once in doubt goes out again: is it in the mailbox by now?

A primary that kept it deferred for longer than `unknown_wait` may deliver its own copy between the verifier's last look
and our next attempt, which may be hours later. Looking right before each attempt makes that gap seconds.

1. Who is seen to have it is not sent to again; everybody else is, as before.
2. The look is bounded, and trouble with it never stops the attempt.
3. What is no doubt costs no look: only a message whose ledger says UNKNOWN is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.core.clock import Clock
from relay.core.item import ItemState
from relay.core.mode import ModeBoard
from relay.obs.logs import logger
from relay.obs.metrics import ReplayMetrics
from relay.primary.imap import Sight
from relay.replay.eyes import SECONDS, Eyes, look, mark_of, open_now, usable
from relay.replay.settings import ReplaySettings
from relay.spool.queue import Queue
from relay.spool.read import StoredMessage
from relay.store.records import ItemRow

_log = logger("replay.again")

_UNTOUCHED = 60.0
"""Seconds between arrival and last change of state within which nothing but the accept can have happened."""


class SecondLook:
    """Shared by all attempts of a runner."""

    def __init__(
        self,
        *,
        queue: Queue,
        eyes: Eyes | None,
        board: ModeBoard,
        clock: Clock,
        settings: ReplaySettings,
        metrics: ReplayMetrics,
    ) -> None:
        self._queue = queue
        self._eyes = usable(eyes)
        self._board = board
        self._clock = clock
        self._settings = settings
        self._metrics = metrics

    async def there(self, row: ItemRow, message: StoredMessage, wanted: Sequence[int]) -> frozenset[int]:
        """Those of the wanted recipients who have it already. Damaged, StoreUnavailable."""
        eyes = self._eyes
        if eyes is None or not open_now(eyes, self._board) or not await self._doubted(row):
            return frozenset()
        began = self._clock.monotonic()
        mark = await mark_of(message)
        found = set()
        for index in wanted:
            if self._clock.monotonic() - began > SECONDS:
                break
            if await look(eyes, message, index, mark) is Sight.FOUND:
                found.add(index)
        if found:
            self._metrics.verifications["found"].inc()
            _log.info("found_before_it_was_sent_again", item=row.id, count=len(found))
        return frozenset(found)

    async def _doubted(self, row: ItemRow) -> bool:
        touched = row.attempts or row.note is not None or row.changed_at - row.received_at > _UNTOUCHED
        if not touched or self._clock.now() - row.changed_at < self._settings.fresh_look:
            return False  # it was looked for a moment ago, if at all
        return any(step.old == ItemState.UNKNOWN for step in await self._queue.store.ledger(row.id))
