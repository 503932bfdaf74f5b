"""Mail for the world that will not arrive goes back to the user who sent it, by itself.

For the primary's mail a refusal is held for the operator (promise 6). The world's servers have no such credit: what
they refuse for good is refused, and the sender wants to know.

1. An item of the route WORLD that is HELD because somebody was refused, and has nobody left to try, is RETURNED, with
   the report that `notice` makes. What an operator put on hold has recipients left, and stays.
2. One that waits for longer than `patience` is given up and returned the same way (RFC 5321 4.5.4.1).
3. A step that fails (store away, item leased) is taken again at the next look; a report is never queued twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from relay.core.clock import Clock
from relay.core.errors import LeaseLost
from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.core.reply import reply
from relay.obs.logs import logger
from relay.replay.notice import Notices
from relay.replay.outcome import OPEN
from relay.spool.queue import Queue
from relay.store.api import IllegalTransition, StoreUnavailable
from relay.store.records import Change, ItemRow, Route

LEASE = "returning"
"""Name of the singleton lease (`control.singleton` holds it)."""

_log = logger("replay.returning")
_PAGE = 500
_MOST_NEWS = 10_000
_GIVEN_UP = reply(550, "5.4.7 Could not be delivered in time")


class ReturningSettings(msgspec.Struct, frozen=True):
    """Seconds."""

    patience: float = 5 * 86_400.0
    every: float = 300.0
    """Between two looks at everything."""


class Returning:
    """`run` is for the holder of the lease."""

    def __init__(self, *, queue: Queue, notices: Notices, clock: Clock, settings: ReturningSettings) -> None:
        self._queue = queue
        self._notices = notices
        self._clock = clock
        self._settings = settings
        self._held: set[ItemId] = set()
        self._news = asyncio.Event()

    def heed(self, change: Change) -> None:
        """A handler for the change feed (ITEM): what became HELD is looked at at once."""
        if change.new == ItemState.HELD and change.item is not None and len(self._held) < _MOST_NEWS:
            self._held.add(change.item)
            self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look_around()
                due = self._clock.monotonic() + self._settings.every
                while (left := due - self._clock.monotonic()) > 0:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(left):
                            await self._news.wait()
                    await self._look_at_news()
            except StoreUnavailable as error:
                _log.warning("returning_put_off", error=type(error).__name__)
                await asyncio.sleep(min(5.0, self._settings.every))

    async def look_around(self) -> int:
        """At everything; how many went back. StoreUnavailable."""
        returned = 0
        async for row in self._rows(ItemState.HELD):
            returned += await self._return(row)
        oldest = self._clock.now() - self._settings.patience
        async for row in self._rows(ItemState.PENDING):
            if row.received_at >= oldest:
                break  # rows come in the order of arrival
            returned += await self._give_up(row)
        return returned

    async def _look_at_news(self) -> None:
        self._news.clear()
        items, self._held = self._held, set()
        for item in items:
            row = await self._queue.store.item(item)
            if row is not None:
                await self._return(row)

    async def _rows(self, state: ItemState) -> AsyncIterator[ItemRow]:
        after: ItemId | None = None
        while rows := await self._queue.store.items(states=[state], after=after, limit=_PAGE):
            for row in rows:
                yield row
            after = rows[-1].id

    async def _give_up(self, row: ItemRow) -> bool:
        if row.route is not Route.WORLD:
            return False
        try:
            await self._queue.move(row.id, ItemState.HELD, note=_GIVEN_UP)
        except (LeaseLost, IllegalTransition, KeyError):
            return False  # it is on its way right now
        return await self._give_back(row.id)

    async def _return(self, row: ItemRow) -> bool:
        states = {recipient.state for recipient in row.recipients}
        refused = row.state is ItemState.HELD and RecipientState.REFUSED in states and not states & OPEN
        return row.route is Route.WORLD and refused and await self._give_back(row.id)

    async def _give_back(self, item: ItemId) -> bool:
        try:
            returned = await self._notices.give_back(item)
        except (LeaseLost, IllegalTransition, KeyError):
            return False
        _log.info("returned_to_sender", item=item, notice=returned.notice)
        return True
