"""Summaries before anybody asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from relay.core.errors import NotNow
from relay.core.mode import Mode, Service
from relay.serve.ahead import Ahead, AheadSettings
from relay.store.records import Change, ChangeKind, MessageRow
from tests.serve.conftest import MESSAGE, Front

_AT_ONCE = AheadSettings(quiet=0.0, rest=0.0, later=0.0, group=2)


class Counted:
    """The store's rows, with a look at how often they were asked for; `broken` times they are not there."""

    def __init__(self, front: Front, broken: int = 0) -> None:
        self._store = front.spool.store
        self._broken = broken
        self.asked: list[list[int]] = []
        self.done = asyncio.Event()
        self.most = 0

    async def message_rows(self, mailbox: int, uids: Sequence[int]) -> list[MessageRow]:
        self.asked.append(list(uids))
        if sum(map(len, self.asked)) >= self.most:
            self.done.set()
        if self._broken:
            self._broken -= 1
            raise NotNow("the store is not there")
        return await self._store.message_rows(mailbox, uids)


@asynccontextmanager
async def working(front: Front, rows: Counted, settings: AheadSettings = _AT_ONCE) -> AsyncIterator[Ahead]:
    """While it runs."""
    ahead = Ahead(rows, front.services.feed, front.services.summaries, front.board, settings)
    task = asyncio.get_running_loop().create_task(ahead.run())
    await asyncio.sleep(0)  # it listens
    try:
        yield ahead
    finally:
        task.cancel()


async def left_alone(front: Front, rows: Counted) -> None:
    """A message arrives, and nobody looks at it."""
    heard = front.heard("arrived")
    await front.deliver()
    await heard
    for _ in range(20):
        await asyncio.sleep(0)
    assert not rows.asked


async def until(rows: Counted, messages: int) -> None:
    """Until so many were asked for."""
    rows.most = messages
    async with asyncio.timeout(20):
        if sum(map(len, rows.asked)) < messages:
            rows.done.clear()
            await rows.done.wait()


async def test_new_mail_has_its_summary(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Counted(front)
    async with working(front, rows):
        await front.deliver(*(MESSAGE + b"%d" % n for n in range(5)))
        await until(rows, 5)
        assert all(len(uids) <= 2 for uids in rows.asked)
        await front.deliver(MESSAGE + b"another")
        await until(rows, 6)  # one group after the other: those before are done
    client = await front.user()
    monkeypatch.setattr("relay.serve.summary.parse", None)  # nothing is parsed any more
    assert len(await client.fetch("FETCH 1:5 (ENVELOPE)")) == 5


async def test_mail_for_the_primary_is_left_alone(front: Front) -> None:
    rows = Counted(front)
    front.board.all(Mode.NORMAL)
    async with working(front, rows):
        await left_alone(front, rows)
        front.board.all(Mode.STANDBY)
        await front.deliver(MESSAGE + b"2")
        await until(rows, 1)
    assert rows.asked == [[2]]


async def test_while_the_queue_is_replayed_nobody_works_ahead(front: Front) -> None:
    rows = Counted(front)
    front.board.modes[Service.SMTP] = Mode.RECOVERY
    async with working(front, rows):
        await left_alone(front, rows)
        front.board.modes[Service.SMTP] = Mode.NORMAL
        await until(rows, 1)
    assert rows.asked == [[1]]


async def test_a_store_that_cannot_is_asked_again_with_the_next(front: Front) -> None:
    rows = Counted(front, broken=1)
    async with working(front, rows):
        await front.deliver()
        await until(rows, 1)
        await front.deliver(MESSAGE + b"2")
        await until(rows, 2)
    assert rows.asked == [[1], [2]]


async def test_what_is_too_much_is_forgotten(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Counted(front)
    handlers: list[Callable[[Change], None]] = []

    def listening(kind: ChangeKind, handler: Callable[[Change], None]) -> Callable[[], None]:
        handlers.append(handler)
        return handlers.clear

    monkeypatch.setattr(front.services.feed, "on_kind", listening)
    async with working(front, rows, AheadSettings(quiet=0.0, rest=0.0, group=10, waiting=3)):
        for uid in range(1, 7):
            handlers[0](Change(uid, 0.0, ChangeKind.ARRIVED, mailbox=7, uid=uid))
        await until(rows, 3)
    assert rows.asked == [[4, 5, 6]]
