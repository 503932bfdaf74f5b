"""A worker in a process of its own: a listener and what it shares, until end of file on its standard input.

`python -m tests.listen.neighbour DIRECTORY WORKER WORKERS`; says its port when it is ready.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from relay.listen.settings import Company
from relay.listen.sharing import Sharing
from tests.listen.echo import World, handed_over


async def main(directory: Path, worker: int, workers: int) -> None:
    """Serve."""
    sharing = Sharing(Company(worker, workers, directory), handed_over())
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)
    async with World(connections=1000, per_address=1000, goodbye=0.1, neighbours=sharing) as world:
        sharing.start()
        print(world.listener.port, flush=True)
        await over.wait()
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        sharing.stop()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
