"""Canaries are looked for in the primary's mailboxes: DELIVERED -> VERIFIED.

The runner says in the store (`CANARIES`) which messages went ahead; here they are looked for, in whatever worker holds
the lease, and VERIFIED goes back to the runner by the change feed.

1. Nothing waits for this but the width of the gate, and that for some seconds only.
2. Absent is "not seen": filters move mail and rules forward it. What was not seen after `proof_patience` seconds of a
   primary that could be looked into stays DELIVERED, and the operator is told once.
3. One recipient who has it is enough: the primary took the message as a whole.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from relay.core.clock import Clock
from relay.core.errors import Damaged, LeaseLost
from relay.core.item import ItemState
from relay.core.mode import ModeBoard
from relay.core.retry import Backoff
from relay.obs.logs import logger
from relay.obs.metrics import ReplayMetrics
from relay.primary.imap import Sight
from relay.replay.eyes import Eyes, look, mark_of, open_now, usable
from relay.replay.settings import ReplaySettings
from relay.spool.queue import Queue
from relay.spool.read import Reader
from relay.spool.replaying import CANARIES, Canaries, decode_canaries, encode
from relay.store.api import IllegalTransition, StoreUnavailable
from relay.store.records import Change, ChangeKind, ItemRow

_log = logger("replay.canaries")

_BETWEEN_LOOKS = Backoff(first=0.25, factor=2.0, most=60.0)
_MOST_RECIPIENTS = 5
"""Of one canary that are looked at; the rest of a long list proves no more."""


class CanaryWatch:
    """`run` is for the holder of the lease, beside the runner."""

    def __init__(
        self,
        *,
        queue: Queue,
        reader: Reader,
        eyes: Eyes | None,
        board: ModeBoard,
        clock: Clock,
        settings: ReplaySettings,
        metrics: ReplayMetrics,
    ) -> None:
        self._queue = queue
        self._reader = reader
        self._eyes = usable(eyes)
        self._board = board
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._news = asyncio.Event()
        self._known = Canaries(0.0)
        self._looks = 0
        self._waited = 0.0
        """Seconds in which the primary could be looked into..."""
        self._since: float | None = None
        """...counted from here; None while it cannot."""

    def heed(self, change: Change) -> None:
        """A handler for the change feed (SETTING)."""
        if change.kind is ChangeKind.SETTING and change.new == CANARIES:
            self._looks = 0
            self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._news.clear()
            try:
                pause = await self.look_around()
            except StoreUnavailable:
                pause = self._settings.upkeep
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    async def look_around(self) -> float:
        """One pass over the canaries; seconds until the next. StoreUnavailable."""
        before = await self._queue.store.setting(CANARIES)
        said = decode_canaries(before)
        if self._eyes is None or said is None or said.over or not open_now(self._eyes, self._board):
            self._since = None
            return self._settings.upkeep
        self._count(said)
        rows = [await self._queue.store.item(item) for item in said.items]
        left = [row for row in rows if row is not None and row.state is ItemState.DELIVERED]
        if not left:
            return self._settings.upkeep
        unseen = [row for row in left if not await self._seen(self._eyes, row)]
        if unseen and self._waited >= self._settings.proof_patience:
            over = msgspec.structs.replace(said, over=True)
            if await self._queue.store.swap_setting(CANARIES, encode(over), expected=before, now=self._clock.now()):
                self._give_up(unseen)
            return self._settings.upkeep
        self._looks += 1
        return _BETWEEN_LOOKS.delay(min(self._looks, 63), 1.0)

    def _count(self, said: Canaries) -> None:
        now = self._clock.monotonic()
        if said.at != self._known.at:
            self._waited, self._since = 0.0, None
        self._known = said
        if self._since is not None:
            self._waited += now - self._since
        self._since = now

    async def _seen(self, eyes: Eyes, row: ItemRow) -> bool:
        """Whether it need not be looked for any more."""
        try:
            message = self._reader.open(row)
            mark = await mark_of(message)
        except Damaged as damage:
            _log.error("item_quarantined", item=row.id, problem=str(damage), remedy="check the disk and the memory")
            await self._queue.quarantine(row.id, damage)
            return True
        for recipient in row.recipients[:_MOST_RECIPIENTS]:
            if await look(eyes, message, recipient.index, mark) is Sight.FOUND:
                break
        else:
            return False
        try:
            await self._queue.move(row.id, ItemState.VERIFIED)
        except (LeaseLost, IllegalTransition, KeyError) as error:
            _log.warning("verification_not_written", item=row.id, error=type(error).__name__)
            return True
        self._metrics.canaries["seen"].inc()
        _log.info("canary_seen", item=row.id)
        return True

    def _give_up(self, unseen: list[ItemRow]) -> None:
        self._metrics.canaries["not_seen"].inc(len(unseen))
        _log.warning(
            "canaries_not_seen",
            items=[row.id for row in unseen],
            reason="the primary took them, and they are in no folder of their recipients that can be seen",
            remedy="filters may have moved them; else look into the primary's own queue before you trust it",
        )
