"""Long work on the event loop, in slices: others are served in between, and its own client hears that it goes on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from relay.proto.imap import codes

if TYPE_CHECKING:
    from relay.serve.session import Session

SLICE = 0.01
"""Seconds of work between two looks at what else there is to do."""


class Pace:
    """One command under way; `goal` is how many messages it has before it, None where nobody knows."""

    def __init__(self, session: Session, goal: int | None = None) -> None:
        self._session = session
        self._goal = goal
        self._every = session.services.settings.deadlines.progress
        self._paused = self._told = time.monotonic()

    async def step(self, done: int | None = None) -> None:
        """Between two messages; `done` of `goal` are dealt with. Gone."""
        now = time.monotonic()
        if now - self._paused < SLICE:
            return
        if now - self._told >= self._every:
            self._told = now
            # RFC 9585 3: so that nobody between us and the client takes it for dead.
            self._session.talk.ok(None, "Still at work", codes.inprogress(self._session.tag, done, self._goal))
            await self._session.talk.settle()
        await asyncio.sleep(0)
        self._paused = time.monotonic()
