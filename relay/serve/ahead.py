"""Summaries of new mail before anybody asks for them, so that the first FETCH of a morning's mail costs no parsing.

1. Patient: nothing is done while mail keeps arriving or the queue is given to the primary, and no more than a few
   messages between two rests.
2. Only while the standby serves: mail that goes through to the primary is seldom read here.
3. Nothing depends on it. What is left out, by an error or because too many wait, is computed at first touch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from typing import Protocol

import msgspec

from relay.core.errors import NotNow
from relay.core.mode import USES_PRIMARY, Mode, ModeBoard, Service
from relay.obs.logs import logger
from relay.serve.summary import Summaries
from relay.spool.feed import Feed
from relay.store.records import Change, ChangeKind, MessageRow

_log = logger("serve.ahead")


class AheadSettings(msgspec.Struct, frozen=True):
    """Seconds, and how much at once."""

    quiet: float = 5.0
    """Since the last arrival."""
    rest: float = 0.1
    """Between two groups."""
    later: float = 5.0
    """After the store could not."""
    group: int = 16
    waiting: int = 20_000
    """Messages remembered; the oldest are forgotten first."""


class Rows(Protocol):
    """`store.api`."""

    async def message_rows(self, mailbox: int, uids: Sequence[int]) -> list[MessageRow]:
        """NotNow."""
        ...


class Ahead:
    """Runs in one worker of all."""

    def __init__(
        self,
        rows: Rows,
        feed: Feed,
        summaries: Summaries,
        board: ModeBoard,
        settings: AheadSettings = AheadSettings(),  # noqa: B008  # frozen
    ) -> None:
        self._rows = rows
        self._feed = feed
        self._summaries = summaries
        self._board = board
        self._settings = settings
        self._waiting: deque[tuple[int, int]] = deque(maxlen=settings.waiting)
        """(mailbox, UID)"""
        self._news = asyncio.Event()
        self._arrivals = 0

    def _heard(self, change: Change) -> None:
        if change.mailbox is not None and change.uid is not None:
            self._waiting.append((change.mailbox, change.uid))
            self._arrivals += 1
            self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        leave = self._feed.on_kind(ChangeKind.ARRIVED, self._heard)
        try:
            while True:
                await self._news.wait()
                await self._when_quiet()
        finally:
            leave()

    async def _when_quiet(self) -> None:
        seen, settings = self._arrivals, self._settings
        await asyncio.sleep(settings.quiet)
        if seen == self._arrivals and USES_PRIMARY[self._board.mode(Service.IMAP)]:
            self._waiting.clear()
        while self._waiting and seen == self._arrivals and self._board.mode(Service.SMTP) is not Mode.RECOVERY:
            await self._group()
            await asyncio.sleep(settings.rest)
        if not self._waiting:
            self._news.clear()

    async def _group(self) -> None:
        mailbox = self._waiting[0][0]
        some = [uid for _, uid in takewhile(lambda one: one[0] == mailbox, self._waiting)][: self._settings.group]
        for _ in some:
            self._waiting.popleft()
        try:
            await self._summaries.get(await self._rows.message_rows(mailbox, some))
        except NotNow as later:
            _log.warning("summaries_put_off", exc_info=later)
            await asyncio.sleep(self._settings.later)
