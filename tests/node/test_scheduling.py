"""How the node's processes ask the kernel to be run."""

from __future__ import annotations

import os
from pathlib import Path

from tests.peers.relay import Relay, RelaySettings


def test_whoever_of_the_node_is_woken_interrupts_nobody() -> None:
    with Relay(RelaySettings(workers=2)) as relay:
        relay.until(lambda: relay.log.read_text().count('"worker_ready"') == 2, why="a worker did not start")
        processes = [relay.process.pid, *relay.workers()]
        threads = [int(entry.name) for pid in processes for entry in Path(f"/proc/{pid}/task").iterdir()]
        assert len(threads) > len(processes) == 3  # loops, and what was started by them
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}
