"""Half on strain, a little more on each good window."""

from __future__ import annotations

import asyncio

from relay.core.clock import ManualClock
from relay.primary.pacing import Pacer, PacingSettings


def window(pacer: Pacer, clock: ManualClock, *, soft: int = 0, seconds: float = 0.1, rate: float = 100.0) -> None:
    for i in range(20):
        clock.advance(1.0 / rate)
        pacer.note(soft=i < soft, seconds=seconds)


def test_without_strain_there_is_no_rate() -> None:
    clock = ManualClock()
    pacer = Pacer(PacingSettings(), clock)
    for _ in range(5):
        window(pacer, clock, soft=1)
    assert pacer.rate == 0


def test_patience_asked_for_halves_the_rate_and_health_gives_it_back() -> None:
    clock = ManualClock()
    pacer = Pacer(PacingSettings(), clock)
    window(pacer, clock)
    window(pacer, clock, soft=10)
    halved = pacer.rate
    assert 20 < halved < 60
    window(pacer, clock, soft=10, rate=halved)
    assert pacer.rate < halved
    rates = []
    for _ in range(200):
        window(pacer, clock, rate=min(100.0, pacer.rate) or 100.0)
        rates.append(pacer.rate)
        if pacer.rate == 0:
            break
    assert rates[-1] == 0
    assert rates[:-1] == sorted(rates[:-1])


def test_growing_latency_is_strain_too_but_a_quick_primary_may_vary() -> None:
    clock = ManualClock()
    pacer = Pacer(PacingSettings(), clock)
    window(pacer, clock, seconds=0.01)
    window(pacer, clock, seconds=0.2)
    assert pacer.rate == 0
    window(pacer, clock, seconds=2.0)
    assert pacer.rate > 0


def test_the_configured_rate_is_never_exceeded_and_never_falls_to_nothing() -> None:
    clock = ManualClock()
    pacer = Pacer(PacingSettings(most=50.0), clock)
    for _ in range(20):
        window(pacer, clock)
        assert pacer.rate == 50.0
    for _ in range(20):
        window(pacer, clock, soft=20)
    assert pacer.rate == 1.0


async def test_a_turn_waits_for_its_time() -> None:
    clock = ManualClock()
    loop = asyncio.get_running_loop()
    free, bound = Pacer(PacingSettings(), clock), Pacer(PacingSettings(most=50.0), clock)
    began = loop.time()
    for _ in range(100):
        await free.turn()
    assert loop.time() - began < 0.5
    began = loop.time()
    for _ in range(15):
        await bound.turn()
    # 15 messages at 50 a second, in slices of a tenth: the first slice is free.
    assert loop.time() - began >= 0.15
