"""One story told to two engines: what a state machine over the store contract begins with."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from relay.core.errors import RelayError
from relay.store.api import Store
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteSettings, SqliteStore, open_store
from tests.store.samples import NOW


class TwoEngines(RuleBasedStateMachine):
    """The engine in memory is the model; SQLite must answer the same."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.model = MemoryStore()
        self.sqlite: SqliteStore = self.loop.run_until_complete(
            open_store(self.folder / "relay.db", SqliteSettings(lazy_delay=0.0))
        )
        self.now = NOW
        self.count = 0

    def teardown(self) -> None:
        self.loop.run_until_complete(self.sqlite.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)

    async def _outcome(self, store: Store, call: Callable[[Store], Awaitable[Any]]) -> Any:
        try:
            return await call(store)
        except (RelayError, KeyError, ValueError) as error:
            return type(error)

    def both(self, call: Callable[[Store], Awaitable[Any]]) -> Any:
        """The answer, which must be the same."""
        expected = self.loop.run_until_complete(self._outcome(self.model, call))
        actual = self.loop.run_until_complete(self._outcome(self.sqlite, call))
        assert actual == expected
        return expected
