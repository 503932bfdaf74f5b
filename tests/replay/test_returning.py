"""Mail for the world that will not arrive comes back to the user who sent it, once, and nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from relay.core.envelope import Envelope, Origin, Recipient
from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.core.reply import reply
from relay.replay.returning import Returning, ReturningSettings
from relay.spool.feed import Feed
from relay.spool.queue import Result
from relay.store.records import ChangeKind, Route
from tests.replay.test_keeping import notices
from tests.spool.conftest import Spool, open_spool

S, R = ItemState, RecipientState
USER = Origin("192.0.2.7", 4711, "laptop", login="user@example.org", listener="submission")
DAY = 86_400.0


@pytest_asyncio.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    async with open_spool(tmp_path) as opened:
        yield opened


def returning(spool: Spool) -> Returning:
    return Returning(
        queue=spool.queue, notices=notices(spool), clock=spool.clock, settings=ReturningSettings(patience=5 * DAY)
    )


async def tried(spool: Spool, *states: RecipientState, route: Route = Route.WORLD) -> ItemId:
    """A message of one recipient for each state, after an attempt with that outcome."""
    people = tuple(Recipient(f"u{n}@example.com") for n in range(len(states)))
    async with spool.intake.begin() as draft:
        await draft.write(b"From: user@example.org\r\nSubject: x\r\n\r\nx\r\n")
        item = (await draft.commit(Envelope("user@example.org", people), USER, intent=False, route=route)).item
    (row,) = await spool.queue.claim(limit=1, seconds=60.0, states=[S.PENDING], route=route)
    assert row.lease is not None
    await spool.queue.intend([row.lease])
    said = {R.REFUSED: reply(550, "5.1.1 unknown"), R.WAITING: reply(450, "4.2.0 later"), R.DELIVERED: reply(250, "ok")}
    waits = R.WAITING in states
    state = S.PENDING if waits else S.HELD if R.REFUSED in states else S.DELIVERED
    results = [Result(n, one, said[one]) for n, one in enumerate(states)]
    later = spool.clock.now() + 100 * DAY if waits else 0.0
    await spool.queue.settle(row.lease, state, results, next_attempt_at=later)
    return item


async def state_of(spool: Spool, item: ItemId) -> ItemState:
    row = await spool.store.item(item)
    assert row is not None
    return row.state


async def reports(spool: Spool) -> list[bytes]:
    found = []
    for row in await spool.store.items(states=[S.PENDING]):
        message = spool.reader.open(row)
        if not message.envelope.reverse_path:
            found.append(await message.read())
    return found


async def test_what_the_world_refused_goes_back_with_a_report_about_those_refused(spool: Spool) -> None:
    item = await tried(spool, R.DELIVERED, R.REFUSED)
    assert await returning(spool).look_around() == 1
    assert await state_of(spool, item) is S.RETURNED
    (report,) = await reports(spool)
    assert b"u1@example.com" in report
    assert b"550 5.1.1 unknown" in report
    assert b"u0@example.com" not in report
    assert await returning(spool).look_around() == 0
    assert len(await reports(spool)) == 1


@pytest.mark.parametrize("route", [Route.PRIMARY, Route.WORLD])
async def test_what_an_operator_holds_and_what_the_primary_refused_stays(spool: Spool, route: Route) -> None:
    refused = await tried(spool, R.REFUSED, route=Route.PRIMARY)
    waiting = await tried(spool, R.REFUSED, R.WAITING, route=route)
    await spool.queue.move(waiting, S.HELD)
    assert await returning(spool).look_around() == 0
    assert await state_of(spool, refused) is await state_of(spool, waiting) is S.HELD
    assert await reports(spool) == []


async def test_what_waits_too_long_is_given_up(spool: Spool) -> None:
    inbound = await tried(spool, R.WAITING, route=Route.PRIMARY)
    old = await tried(spool, R.WAITING, R.REFUSED, R.DELIVERED)
    spool.clock.advance(4 * DAY)
    young = await tried(spool, R.WAITING)
    assert await returning(spool).look_around() == 0
    spool.clock.advance(1 * DAY + 1)
    assert await returning(spool).look_around() == 1
    assert [await state_of(spool, one) for one in (inbound, old, young)] == [S.PENDING, S.RETURNED, S.PENDING]
    (report,) = await reports(spool)
    assert b"u0@example.com" in report
    assert b"u1@example.com" in report
    assert b"u2@example.com" not in report


async def test_it_hears_of_it_at_once(spool: Spool) -> None:
    feed = Feed(spool.store, spool.clock)
    back = returning(spool)
    feed.on_kind(ChangeKind.ITEM, back.heed)
    await feed.start()
    task = asyncio.create_task(back.run())
    try:
        item = await tried(spool, R.REFUSED)
        async with asyncio.timeout(10.0):
            while await state_of(spool, item) is not S.RETURNED:
                last = await spool.store.last_change()
                await spool.store.wait_change(after=last, timeout=0.2)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await feed.stop()
