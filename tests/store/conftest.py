"""Engines to run the suite on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from relay.store.api import Store
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteSettings, SqliteStore, open_store


@pytest_asyncio.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Every engine in turn."""
    engine: Store
    if request.param == "sqlite":
        engine = await open_store(tmp_path / "relay.db", SqliteSettings())
    else:
        engine = MemoryStore()
    yield engine
    await engine.close()


@pytest_asyncio.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """The embedded engine."""
    engine = await open_store(tmp_path / "relay.db", SqliteSettings())
    yield engine
    await engine.close()
