"""One message as several items: durable together, repeated together, dropped together."""

from __future__ import annotations

import msgspec
import pytest

from relay.core.envelope import Envelope, Recipient
from relay.core.errors import NotNow
from relay.core.item import ItemState
from relay.store.records import Accepted, Route
from relay.vault.sealing import CHUNK_SIZE
from tests.spool.conftest import ORIGIN, Spool

ROUTES = (Route.PRIMARY, Route.WORLD)
HERE = Envelope("bob@example.org", (Recipient("eve@example.org"),))
THERE = Envelope("bob@example.org", (Recipient("x@far.example"), Recipient("y@far.example")))
BODY = b"Message-ID: <1@example.org>\r\n\r\n" + b"x" * (9 * CHUNK_SIZE)


async def accept(spool: Spool, *envelopes: Envelope, body: bytes = BODY, intent: bool = False) -> list[Accepted]:
    bundle = spool.intake.begin_bundle(ROUTES[: len(envelopes)])
    for at in range(0, len(body), 100_001):
        await bundle.write(body[at : at + 100_001])
    return await bundle.commit(envelopes, ORIGIN, intent=intent)


async def test_each_item_has_its_route_its_recipients_and_all_of_the_message(spool: Spool) -> None:
    accepted = await accept(spool, HERE, THERE, intent=True)
    assert spool.pressure.in_flight == 0
    for one, route, envelope in zip(accepted, ROUTES, (HERE, THERE), strict=True):
        message = await spool.reader.open_item(one.item)
        assert message is not None
        assert (message.row.route, message.row.state, message.envelope) == (route, ItemState.INTENT, envelope)
        assert await message.read() == BODY
        assert one.lease is not None
        await spool.queue.settle(one.lease, ItemState.PENDING)


async def test_the_same_again_is_the_first_one_as_a_whole(spool: Spool) -> None:
    first = await accept(spool, HERE, THERE)
    again = await accept(spool, HERE, THERE)
    assert [(one.item, one.duplicate, one.lease) for one in again] == [(first[0].item, True, None)] * 2
    other = await accept(spool, HERE, msgspec.structs.replace(THERE, recipients=THERE.recipients[:1]))
    assert not any(one.duplicate for one in other)
    spool.intake.confirm(first[0].item)
    await spool.intake.drain()
    assert not any(one.duplicate for one in await accept(spool, HERE, THERE))
    assert await spool.store.sweep_staged(before=spool.clock.now() + 1, limit=10) == 0


async def test_one_route_is_an_ordinary_message(spool: Spool) -> None:
    (one,) = await accept(spool, HERE)
    row = await spool.store.item(one.item)
    assert row is not None
    assert (row.route, row.state) == (Route.PRIMARY, ItemState.PENDING)


async def test_what_is_given_up_leaves_nothing(spool: Spool) -> None:
    bundle = spool.intake.begin_bundle(ROUTES)
    await bundle.write(BODY)
    await bundle.discard()
    await bundle.discard()
    assert spool.pressure.in_flight == 0
    assert await spool.store.sweep_staged(before=spool.clock.now() + 1, limit=10) == 0


async def test_all_or_none(spool: Spool) -> None:
    """The chunks of the second item are gone: then the first one is not there either."""
    bundle = spool.intake.begin_bundle(ROUTES)
    await bundle.write(BODY)
    await spool.store.discard(bundle.items[1])
    with pytest.raises(NotNow):
        await bundle.commit((HERE, THERE), ORIGIN, intent=False)
    assert await spool.store.item(bundle.items[0]) is None
    assert spool.pressure.in_flight == 0
