"""Connections that are turned away are told once per client and minute, with how many there were."""

from __future__ import annotations

import asyncio

from relay.listen.turned_away import TurnedAway
from tests.listen.echo import World
from tests.obs.written import written

KEYS = ("client", "listener", "reason", "count")


async def test_a_client_is_said_at_once_and_its_others_at_the_end_of_the_minute() -> None:
    with written() as log:
        away = TurnedAway("mx", seconds=3600)
        for _ in range(3):
            away.note("192.0.2.1", "too_many_from_address")
        away.note("192.0.2.1", "too_many")
        away.note("2001:db8::1", "too_many")
        away.note("2001:db8::2", "too_many")  # the same /64
        at_once = [
            ("192.0.2.1", "mx", "too_many_from_address", 1),
            ("192.0.2.1", "mx", "too_many", 1),
            ("2001:db8::1", "mx", "too_many", 1),
        ]
        assert log.short("turned_away", *KEYS) == at_once
        away.finish()
        assert log.short("turned_away", *KEYS)[3:] == [
            ("192.0.2.1", "mx", "too_many_from_address", 2),
            ("2001:db8::1", "mx", "too_many", 1),
        ]
        away.note("192.0.2.1", "too_many_from_address")
        assert log.short("turned_away", *KEYS)[5:] == [("192.0.2.1", "mx", "too_many_from_address", 1)]
        away.finish()
        assert len(log.lines()) == 6


async def test_the_minute_ends_by_itself() -> None:
    with written() as log:
        away = TurnedAway("mx", seconds=0.0)
        over = asyncio.Event()
        away.note("192.0.2.1", "too_many")
        away.note("192.0.2.1", "too_many")
        asyncio.get_running_loop().call_later(0.01, over.set)  # timers go off in order
        await over.wait()
        assert [line["count"] for line in log.lines("turned_away")] == [1, 1]


async def test_a_flood_from_everywhere_is_a_few_lines() -> None:
    with written() as log:
        away = TurnedAway("mx", most=10)
        for number in range(1000):
            away.note(f"10.0.{number // 250}.{number % 250}", "too_many")
        assert len(log.lines()) == 10
        away.finish()
        assert log.short("turned_away", *KEYS)[10:] == [(None, "mx", "too_many", 990)]


async def test_a_port_says_it_of_whom_it_turns_away() -> None:
    with written() as log:
        async with World(per_address=1) as world:
            first = await world.client()
            await first.line()
            for _ in range(3):
                again = await world.client()
                assert await again.line() == "busy\n"
        assert log.short("turned_away", *KEYS) == [
            ("127.0.0.1", "mx", "too_many_from_address", 1),
            ("127.0.0.1", "mx", "too_many_from_address", 2),
        ]
