"""Settings, leases and their feed in memory, shared by several "workers" of one test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from relay.store.api import StoreUnavailable
from relay.store.records import Change, ChangeKind


class FakeStore:
    """The setting and lease parts of the store contract; `down` makes every call fail."""

    def __init__(self) -> None:
        self.settings: dict[str, bytes] = {}
        self.leases: dict[str, tuple[str, float, int]] = {}
        self.down = False
        self.feeds: list[FakeFeed] = []
        self._seq = 0

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("down for the test")

    async def setting(self, name: str) -> bytes | None:
        await asyncio.sleep(0)
        self._check()
        return self.settings.get(name)

    async def put_setting(self, name: str, value: bytes, *, now: float) -> None:
        await asyncio.sleep(0)
        self._check()
        self._put(name, value, now)

    def _put(self, name: str, value: bytes, now: float) -> None:
        self.settings[name] = value
        self._seq += 1
        change = Change(self._seq, now, ChangeKind.SETTING, new=name)
        for feed in self.feeds:
            asyncio.get_running_loop().call_soon(feed.tell, change)

    async def swap_setting(self, name: str, value: bytes, *, expected: bytes | None, now: float) -> bool:
        await asyncio.sleep(0)
        self._check()
        if self.settings.get(name) != expected:
            return False
        self._put(name, value, now)
        return True

    async def acquire(self, name: str, owner: str, *, now: float, until: float) -> int | None:
        await asyncio.sleep(0)
        self._check()
        held = self.leases.get(name)
        if held is not None and held[0] != owner and held[1] > now:
            return None
        token = (held[2] if held else 0) + 1
        self.leases[name] = (owner, until, token)
        return token

    async def give_up(self, name: str, owner: str) -> None:
        self._check()
        if name in self.leases and self.leases[name][0] == owner:
            del self.leases[name]


class FakeFeed:
    """One worker's view of the changes."""

    def __init__(self, store: FakeStore) -> None:
        store.feeds.append(self)
        self._handlers: list[Callable[[Change], None]] = []

    def on_kind(self, _kind: ChangeKind, handler: Callable[[Change], None], /) -> Callable[[], None]:
        self._handlers.append(handler)
        return lambda: self._handlers.remove(handler)

    def tell(self, change: Change) -> None:
        for handler in tuple(self._handlers):
            handler(change)


PATIENCE = 60.0
"""Seconds that anything here is waited for. It only bounds a wait that ends early: a machine may be busy."""


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Give the loop turns until the condition holds; fails at the deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        async with asyncio.timeout(seconds):
            await _turn()


async def _turn() -> None:
    """One millisecond of the loop's own time."""
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, passed.set)
    await passed.wait()
