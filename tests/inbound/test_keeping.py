"""The lease of an item that the primary takes its time with: renewed, in doubt, lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from relay.core.clock import ManualClock
from relay.core.errors import NotNow
from relay.inbound.keeping import Keeping
from relay.store.records import Lease
from tests.inbound.world import FakeSpool
from tests.store.samples import item_id

LEASE = Lease(item_id(1), "test", 1, 0.0)
SECONDS = 0.03
"""The timers are real, what counts as in force is by the clock of the test."""


class Renewals(FakeSpool):
    """Answers renewals as told, then never again; each takes a while by the clock."""

    def __init__(self, clock: ManualClock, *answers: list[Lease] | None) -> None:
        super().__init__()
        self.clock = clock
        self.answers = list(answers)
        self.over = asyncio.Event()

    async def renew(self, leases: Sequence[Lease], *, seconds: float) -> list[Lease]:
        """None = NotNow."""
        assert (list(leases), seconds) == ([LEASE], SECONDS)
        if not self.answers:
            self.over.set()
            raise NotNow("told to fail")
        self.clock.advance(0.015)
        answer = self.answers.pop(0)
        if answer is None:
            raise NotNow("told to fail")
        return answer


@pytest.mark.parametrize(
    ("answers", "left"),
    [
        ((), 0.02),
        (([LEASE],), 0.005),  # since it was asked for
        (([LEASE], [LEASE], [LEASE]), 0.005),
        ((None,), 0.005),
        (([LEASE], None), 0.0),
        ((None, [LEASE]), 0.005),
        (([],), 0.0),
        (([LEASE], []), 0.0),
    ],
)
async def test_in_force_for_two_thirds_of_the_last_renewal(
    answers: tuple[list[Lease] | None, ...], left: float
) -> None:
    clock = ManualClock(0.0)
    queue = Renewals(clock, *answers)
    async with Keeping(queue, clock, lambda: LEASE, SECONDS) as keeping, asyncio.timeout(10):
        assert keeping.in_force
        await queue.over.wait()
        assert keeping.in_force is (left > 0)
        clock.advance(left - 0.001 if left else 0.0)
        assert keeping.in_force is (left > 0)
        clock.advance(0.002)
        assert not keeping.in_force


async def test_without_a_lease_nothing_is_renewed() -> None:
    clock = ManualClock(0.0)
    queue = Renewals(clock, [LEASE])
    asked = asyncio.Event()

    def none_yet() -> None:
        asked.set()

    async with Keeping(queue, clock, none_yet, SECONDS) as keeping, asyncio.timeout(10):
        await asked.wait()
        assert (keeping.in_force, queue.answers) == (True, [[LEASE]])
