"""A listener with a real spool in a process of its own: prints its port, ends at the end of its input."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from relay.inbound.settings import Limits
from tests.inbound.world import World
from tests.spool.conftest import open_spool


async def main(directory: Path) -> None:
    """Serve until standard input ends."""
    limits = Limits(connections_per_address=1000)
    async with open_spool(directory) as spool, World(real=spool, limits=limits) as world:
        print(world.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
