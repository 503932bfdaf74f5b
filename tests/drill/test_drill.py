"""Every scenario of the drill, small: enough to meet each kind of failure; the proof is `make drill`."""

from __future__ import annotations

import pytest

from tests.drill import outages, storage
from tests.drill.__main__ import Scenario, table
from tests.drill.site import Plan

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("scenario", "messages"),
    [
        (outages.storm, 400),
        (outages.crash_points, 0),
        (outages.final_dot, 120),
        (outages.worker_death, 400),
        pytest.param(storage.power_cut, 400, marks=pytest.mark.power),
        (storage.fsync_fails, 300),
        pytest.param(storage.disk_full, 900, marks=pytest.mark.power),
    ],
)
async def test_nothing_is_lost_twice_or_altered(scenario: Scenario, messages: int) -> None:
    result = await scenario(Plan(messages=messages, senders=10, seed=20_261_122, minutes=6))
    print(f"{table([result])}\n{result.events}")
    assert result.problems == ()
    account = result.account
    assert (account.lost, account.twice, account.altered, account.strange) == ((), (), (), ())
    assert account.present == account.promised > 0
