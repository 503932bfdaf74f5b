"""A deadline that is put off all the time rings once, in time, and without a timer each time."""

from __future__ import annotations

import asyncio

from relay.primary.alarm import Alarm


async def test_it_rings_when_the_last_deadline_is_over() -> None:
    loop, rung = asyncio.get_running_loop(), asyncio.Event()
    alarm = Alarm(rung.set)
    began = loop.time()
    alarm.set(0.02)
    for _ in range(3):
        alarm.set(0.1)
        assert not alarm.over
    async with asyncio.timeout(10):
        await rung.wait()
    assert alarm.over
    assert loop.time() - began >= 0.099  # uvloop's clock counts milliseconds
    alarm.close()


async def test_a_nearer_deadline_does_not_wait_for_a_farther_one() -> None:
    rung = asyncio.Event()
    alarm = Alarm(rung.set)
    alarm.set(3600)
    alarm.off()
    alarm.set(0.01)
    async with asyncio.timeout(10):
        await rung.wait()
    alarm.close()


async def test_what_was_called_off_stays_silent() -> None:
    calls: list[None] = []
    rung = asyncio.Event()
    alarm, closed, later = Alarm(lambda: calls.append(None)), Alarm(lambda: calls.append(None)), Alarm(rung.set)
    alarm.set(0.01)
    closed.set(0.01)
    alarm.off()
    closed.close()
    closed.close()
    later.set(0.03)
    async with asyncio.timeout(10):
        await rung.wait()
    assert calls == []
    assert not alarm.over
    assert not closed.over
