"""Long work on the event loop, in slices: others are served in between, and its own client hears that it goes on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from relay.proto.imap import codes

if TYPE_CHECKING:
    from relay.serve.session import Session

SLICE = 0.005
"""Seconds of work between two looks at what else there is to do."""


class Slices:
    """Work without a client to tell."""

    def __init__(self) -> None:
        self._paused = time.monotonic()

    async def step(self) -> None:
        """Between two pieces of the work."""
        if time.monotonic() - self._paused >= SLICE:
            await asyncio.sleep(0)
            self._paused = time.monotonic()


class Pace:
    """One command under way; `goal` is how many messages it has before it, None where nobody knows."""

    def __init__(self, session: Session, goal: int | None = None) -> None:
        self._session = session
        self._goal = goal
        self._every = session.services.settings.deadlines.progress
        self._paused = self._told = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether `step` has something to do."""
        return time.monotonic() - self._paused >= SLICE

    async def step(self, done: int | None = None) -> None:
        """Between two messages; `done` of `goal` are dealt with. Gone."""
        if not self.due:
            return
        if time.monotonic() - self._told >= self._every:
            # RFC 9585 3: so that nobody between us and the client takes it for dead.
            self._session.talk.ok(None, "Still at work", codes.inprogress(self._session.tag, done, self._goal))
            await self._session.talk.settle()
            self._told = time.monotonic()
        await asyncio.sleep(0)
        self._paused = time.monotonic()
