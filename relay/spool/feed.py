"""The change feed for one worker: a single reader of the store's feed that wakes whoever asked.

IDLE sessions, the mode board and replay all hang here, so thousands of waiters cost one query. Handlers are plain
calls on the event loop and must not block; an entry may be seen twice and none is skipped (store contract 7).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

from relay.core.clock import Clock
from relay.store.api import Store, StoreUnavailable
from relay.store.records import Change, ChangeKind

Handler = Callable[[Change], None]
_BATCH = 1000
_WAIT_SECONDS = 30.0
_RETRY_SECONDS = 0.5
_BREATH_SECONDS = 0.02
"""Under load a look for each commit would cost more than the commits; a user sees no difference."""


class Feed:
    """Dispatches changes by kind and by mailbox."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._by_kind: dict[ChangeKind, set[Handler]] = defaultdict(set)
        self._by_mailbox: dict[int, set[Handler]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self.seen = 0

    async def start(self) -> None:
        """Begin after what is already there."""
        self.seen = await self.latest()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="change-feed")

    async def stop(self) -> None:
        """End the reader."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def latest(self) -> int:
        """The last change that was committed, by any process; `seen` may be behind it. NotNow."""
        return await self._store.last_change()

    def on_kind(self, kind: ChangeKind, handler: Handler) -> Callable[[], None]:
        """Call `handler` for every change of a kind; the answer ends it."""
        self._by_kind[kind].add(handler)
        return lambda: self._by_kind[kind].discard(handler)

    def on_mailbox(self, mailbox: int, handler: Handler) -> Callable[[], None]:
        """Call `handler` for every change in one mailbox; the answer ends it."""
        self._by_mailbox[mailbox].add(handler)

        def end() -> None:
            handlers = self._by_mailbox.get(mailbox)
            if handlers is not None:
                handlers.discard(handler)
                if not handlers:
                    del self._by_mailbox[mailbox]

        return end

    async def _run(self) -> None:
        while True:
            try:
                await self._store.wait_change(after=self.seen, timeout=_WAIT_SECONDS)
                await self._catch_up()
                await asyncio.sleep(_BREATH_SECONDS)
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _catch_up(self) -> None:
        while True:
            changes = await self._store.changes(after=self.seen, limit=_BATCH)
            for change in changes:
                self._dispatch(change)
                self.seen = change.seq
            if len(changes) < _BATCH:
                return

    def _dispatch(self, change: Change) -> None:
        for handler in tuple(self._by_kind.get(change.kind, ())):
            handler(change)
        if change.mailbox is not None:
            for handler in tuple(self._by_mailbox.get(change.mailbox, ())):
                handler(change)
