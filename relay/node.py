"""The composition root: one worker of a node, built from the configuration; and the only user of uvloop.

Start order: disk first, then what decides (mode), then what works by itself (replay, retention), then the doors, and at
last the health page that says "ready". Stop order is the reverse: the doors close, transactions under way are finished,
replay waits for the replies to its final dots, and the store goes last.

1. A worker owns its slot of the data directory by a file lock: two of the same number never run at once, so whatever the
   last one held may be rescued at once.
2. A part that fails by a bug is logged and started again; it does not take the others down.
3. What the operator must change (configuration, key, port in use) ends the process with exit code 78.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from relay import __version__, wiring
from relay.config.model import Config
from relay.core.clock import Clock, SystemClock
from relay.core.errors import ConfigFault
from relay.obs import logs
from relay.obs.logs import logger
from relay.store.api import Store
from relay.store.sqlite import SqliteSettings, open_store
from relay.vault.bootstrap import open_vault
from relay.vault.keys import KeyRing
from relay.vault.sealing import Vault
from relay.workers import EXIT_CONFIG, Supervisor, WorkerSettings, watch_supervisor

_log = logger("node")
_RESTART_SECONDS = 1.0


class Sealed(msgspec.Struct, frozen=True):
    """The data directory, opened: what commands and workers both begin with."""

    store: Store
    vault: Vault
    ring: KeyRing
    clock: Clock


@asynccontextmanager
async def open_data(config: Config) -> AsyncIterator[Sealed]:
    """Open key, store and vault; close the store at the end. ConfigFault, StoreUnavailable."""
    clock = SystemClock()
    ring = KeyRing.load(config.vault.key_file)
    store = await open_store(config.database, SqliteSettings())

    async def put_if_absent(name: str, value: bytes) -> bytes:
        return await store.put_setting_if_absent(name, value, now=clock.now())

    try:
        yield Sealed(store, await open_vault(ring, store.setting, put_if_absent), ring, clock)
    finally:
        await store.close()
