"""A relay with nothing to do does nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.scene import ALICE, message, scene
from tests.peers.certs import Pair

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_an_empty_queue_costs_no_processor(server_pair: Pair) -> None:
    """A bound from above: a busy machine can only make the relay use less of it."""
    with scene(server_pair) as here:
        await here.accept(message("before the silence"), ALICE)
        await here.drained()
        before = _cpu_seconds(here.relay.process.pid)
        # Long enough for every idle interval to have passed several times: 180 pauses of 20 ms.
        for _ in range(180):
            here.relay.process.pause()
        used = _cpu_seconds(here.relay.process.pid) - before
    assert used < 1.0
