"""Items that one message became: contract 1, 2 and 9 for all of them at once, and what is owed by route."""

from __future__ import annotations

import msgspec
import pytest

from relay.core.item import ItemState
from relay.store.api import Store, StoreUnavailable
from relay.store.records import Outcome, Route, RouteCount
from tests.store.samples import NOW, folders_of, item_id, new_item

_S = ItemState
DEDUP = b"d" * 16


async def test_all_are_there(store: Store) -> None:
    new = [new_item(1, "ann", dedup=DEDUP), new_item(2, "-", route=Route.WORLD)]
    accepted = await store.accept_together(new, now=NOW)
    assert [(one.item, one.duplicate, one.state) for one in accepted] == [(one.id, False, _S.PENDING) for one in new]
    for one in new:
        row = await store.item(one.id)
        assert row is not None
        assert row.route is one.route
    (box,) = await folders_of(store, "ann")
    assert [message.item for message in await store.messages(box.id)] == [new[0].id]
    assert await store.owed() == {Route.PRIMARY: 1, Route.WORLD: 1, Route.MAILBOX: 0}


async def test_intents_have_leases_of_their_own(store: Store) -> None:
    ways = ((1, Route.PRIMARY), (2, Route.WORLD))
    new = [new_item(n, route=route, state=_S.INTENT, owner="me", lease_until=NOW + 60) for n, route in ways]
    first, second = await store.accept_together(new, now=NOW)
    assert first.lease is not None
    assert second.lease is not None
    await store.settle(first.lease, Outcome(_S.DELIVERED), now=NOW)
    await store.settle(second.lease, Outcome(_S.PENDING), now=NOW)
    assert await store.owed() == {Route.PRIMARY: 0, Route.WORLD: 1, Route.MAILBOX: 0}


async def test_figures_by_route(store: Store) -> None:
    assert await store.routes() == dict.fromkeys(Route, RouteCount())
    ways = [(1, Route.WORLD), (2, Route.PRIMARY), (3, Route.PRIMARY), (4, Route.PRIMARY)]
    for n, route in ways:
        await store.accept(msgspec.structs.replace(new_item(n, route=route), received_at=NOW + n), now=NOW + n)
    await store.move(item_id(2), to=_S.HELD, now=NOW + 9)
    await store.move(item_id(3), to=_S.HELD, now=NOW + 9)
    await store.move(item_id(3), to=_S.PENDING, now=NOW + 9, next_attempt_at=NOW + 50)
    await store.accept(new_item(5, route=Route.WORLD, state=_S.INTENT, owner="me", lease_until=NOW + 60), now=NOW)
    found = await store.routes()
    assert found[Route.PRIMARY] == RouteCount(owed=3, waiting=2, oldest=NOW + 3, next_attempt=0.0)
    assert (found[Route.WORLD].owed, found[Route.WORLD].waiting) == (2, 2)
    await store.move(item_id(4), to=_S.HELD, now=NOW + 9)
    assert (await store.routes())[Route.PRIMARY] == RouteCount(3, 1, NOW + 3, NOW + 50)
    assert (await store.routes())[Route.MAILBOX] == RouteCount()
    assert {route: count.owed for route, count in (await store.routes()).items()} == await store.owed()


async def test_the_first_one_s_key_stands_for_all(store: Store) -> None:
    await store.accept_together([new_item(1, dedup=DEDUP), new_item(2)], now=NOW)
    await store.put_chunks(item_id(4), 0, [b"staged"], now=NOW)
    again = [new_item(3, dedup=DEDUP), new_item(4, chunks=(b"last",), chunk_count=2)]
    accepted = await store.accept_together(again, now=NOW)
    assert [(one.item, one.duplicate, one.lease) for one in accepted] == [(item_id(1), True, None)] * 2
    assert await store.item(item_id(3)) is None
    assert await store.item(item_id(4)) is None
    assert await store.sweep_staged(before=NOW + 1e6, limit=10) == 0


async def test_none_is_there_where_one_cannot_be(store: Store) -> None:
    with pytest.raises(StoreUnavailable):
        await store.accept_together([new_item(1), new_item(2, chunks=(b"last",), chunk_count=2)], now=NOW)
    assert await store.item(item_id(1)) is None
    assert await store.last_change() == 0
