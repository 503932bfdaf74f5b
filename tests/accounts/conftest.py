"""Accounts on the real embedded engine, with a key of their own and time that a test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from relay.accounts.credentials import Credentials
from relay.accounts.directory import Directory, DirectorySettings
from relay.accounts.login import LoginService, LoginSettings
from relay.accounts.names import Naming, NamingSettings
from relay.accounts.tokens import Tokens
from relay.core.clock import ManualClock
from relay.store.sqlite import SqliteStore
from relay.vault.sealing import Vault
from tests.spool.opening import opened


@dataclass
class World:
    """Everything a test of accounts touches."""

    path: Path
    store: SqliteStore
    vault: Vault
    clock: ManualClock
    naming: Naming
    credentials: Credentials
    slept: list[float] = field(default_factory=list)
    services: list[LoginService] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        """Note the wait instead of waiting."""
        self.slept.append(seconds)

    def logins(
        self,
        settings: LoginSettings = LoginSettings(),  # noqa: B008  # frozen
        tokens: Tokens | None = None,
    ) -> LoginService:
        """A login service, as another worker process would have it; closed with the world."""
        service = LoginService(
            self.credentials, self.vault, self.naming, self.clock, settings, tokens=tokens, sleep=self.sleep
        )
        self.services.append(service)
        return service

    def directory(self, settings: DirectorySettings) -> Directory:
        """A directory, as another worker process would have it."""
        return Directory(self.store, self.vault, self.naming, self.clock, settings)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """An open store and vault."""
    clock = ManualClock()
    naming = Naming(NamingSettings(default_domain="example.org", aliases={"sales@example.org": "bob@example.org"}))
    async with opened(tmp_path, clock) as (store, vault):
        made = World(tmp_path, store, vault, clock, naming, Credentials(store, vault))
        yield made
        for service in made.services:
            service.close()
