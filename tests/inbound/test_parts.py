"""The small parts alone: budget, inlet."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.inbound.budget import ByteBudget
from relay.inbound.inlet import HIGH_WATER, Gone, Inlet, LineTooLong


class Valve:
    """The part of a transport that an inlet uses."""

    def __init__(self) -> None:
        self.open = True
        self.closing = False

    def reads(self) -> bool:
        """Whether octets may come."""
        return self.open

    def pause_reading(self) -> None:
        """Stop."""
        self.open = False

    def resume_reading(self) -> None:
        """Go on."""
        self.open = True

    def is_closing(self) -> bool:
        """As told."""
        return self.closing


def inlet_on(budget: ByteBudget) -> tuple[Inlet, Valve]:
    valve = Valve()
    inlet = Inlet(asyncio.get_running_loop(), budget)
    inlet.attach(cast("asyncio.Transport", valve))
    return inlet, valve


async def test_lines_in_pieces() -> None:
    budget = ByteBudget(1000)
    inlet, _ = inlet_on(budget)
    waiting = asyncio.ensure_future(inlet.line(100))
    for piece in (b"EH", b"LO", b" x\r", b"\nNOOP\r\nrest"):
        await asyncio.sleep(0)
        inlet.feed(piece)
    assert await waiting == b"EHLO x\r\n"
    assert inlet.pending == 10
    assert await inlet.line(100) == b"NOOP\r\n"
    assert inlet.pending == 4
    assert await inlet.block(2) == b"re"
    inlet.unread(b"e")
    assert await inlet.block(10) == b"est"
    inlet.end()
    with pytest.raises(Gone):
        await inlet.line(100)
    inlet.close()
    inlet.close()
    assert budget.used == 0


@pytest.mark.parametrize("pieces", [1, 3, 50, 1000])
async def test_an_over_long_line_is_reported_once_and_eaten(pieces: int) -> None:
    budget = ByteBudget(10_000)
    inlet, _ = inlet_on(budget)
    stream = b"x" * 500 + b"\r\nNOOP\r\n"
    waiting = asyncio.ensure_future(inlet.line(100))
    for start in range(0, len(stream), pieces):
        inlet.feed(stream[start : start + pieces])
        await asyncio.sleep(0)
    with pytest.raises(LineTooLong):
        await waiting
    assert await inlet.line(100) == b"NOOP\r\n"
    inlet.close()
    assert budget.used == 0


async def test_reading_stops_at_the_high_water_mark_and_goes_on_when_drained() -> None:
    inlet, valve = inlet_on(ByteBudget(10 * HIGH_WATER))
    inlet.feed(bytes(HIGH_WATER))
    assert valve.reads()
    inlet.feed(b"x")
    assert not valve.reads()
    while inlet.pending:
        await inlet.block(10_000)
    await_end = asyncio.ensure_future(inlet.block(1))
    await asyncio.sleep(0)
    assert valve.reads()
    inlet.close()
    with pytest.raises(Gone):
        await await_end


async def test_a_full_budget_stops_everybody_and_starts_them_in_turn() -> None:
    budget = ByteBudget(1000)
    inlets = [inlet_on(budget) for _ in range(4)]
    for inlet, _ in inlets:
        inlet.feed(bytes(400))
    assert [valve.reads() for _, valve in inlets] == [True, True, False, False]
    assert all(inlet.stopped is not valve.reads() for inlet, valve in inlets)
    first, _ = inlets[0]
    await first.block(400)
    assert not inlets[2][1].reads()  # lent is not given back yet
    first.close()
    assert not inlets[2][1].reads()  # 1,200 octets are still there
    inlets[1][0].close()
    assert [valve.reads() for _, valve in inlets[2:]] == [True, False]
    inlets[2][0].close()
    assert inlets[3][1].reads()
    inlets[3][0].close()
    assert budget.used == 0


async def test_whoever_goes_while_stopped_gives_his_turn_away() -> None:
    budget = ByteBudget(100)
    (holder, _), (gone, _), (last, valve) = (inlet_on(budget) for _ in range(3))
    for inlet in (holder, gone, last):
        inlet.feed(bytes(100))
    gone.close()
    holder.close()
    assert not valve.reads()
    assert await last.block(100)
    waiting = asyncio.ensure_future(last.block(1))
    await asyncio.sleep(0)
    assert valve.reads()
    last.feed(b"x")
    assert await waiting == b"x"
    last.close()
    assert budget.used == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400), st.booleans()), max_size=60))
def test_octets_are_conserved_and_nobody_waits_for_ever(steps: list[tuple[int, int, bool]]) -> None:
    async def scenario() -> None:
        budget = ByteBudget(1000)
        inlets = [inlet_on(budget) for _ in range(6)]
        for who, octets, arrives in steps:
            inlet, valve = inlets[who]
            if arrives and valve.reads() and octets:
                inlet.feed(bytes(octets))
            elif inlet.pending:
                await inlet.block(octets + 1)
            assert budget.used >= sum(each.pending for each, _ in inlets)
        for inlet, _ in inlets:
            while inlet.pending:
                await inlet.block(1000)
            # What the session does next: it asks for more, which settles what it was lent.
            waiting = asyncio.ensure_future(inlet.block(1))
            await asyncio.sleep(0)
            waiting.cancel()
        assert budget.used == 0
        assert all(valve.reads() for _, valve in inlets)
        for inlet, _ in inlets:
            inlet.close()

    asyncio.run(scenario())
