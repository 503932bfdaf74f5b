"""The event loops that a listener must work on: the standard library's, and the one that the node uses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import uvloop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
Scenario = Callable[[], Awaitable[None]]
Run = Callable[[Scenario], None]


def run_on(loop: str, scenario: Scenario) -> None:
    """Run a coroutine function to its end, within a minute."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await scenario()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(bounded())
