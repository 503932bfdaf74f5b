"""What a connection does that is already on its way out."""

from __future__ import annotations

import asyncio

from relay.primary.wire import Wire


class Closing(asyncio.Transport):
    """Lost, while the loop has not said so yet; uvloop's transports refuse to write then."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def is_closing(self) -> bool:
        return True

    def write(self, data: object) -> None:
        raise RuntimeError("unable to perform operation; the handler is closed")

    def close(self) -> None:
        self.closed = True


async def test_goodbye_to_a_connection_that_is_closing_raises_nothing() -> None:
    """It is said after the primary's final 250: an exception there would make a doubt of a delivery."""
    wire, transport = Wire(asyncio.get_running_loop()), Closing()
    wire.connection_made(transport)
    wire.leave()
    assert wire.broken == "closed by us"
    assert transport.closed
