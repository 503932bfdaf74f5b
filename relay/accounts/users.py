"""Users that the operator configures (`relay user add|list|remove`). Slow (Argon2id): for the command line."""

from __future__ import annotations

import msgspec

from relay.accounts.credentials import Credentials
from relay.accounts.names import Naming
from relay.core.clock import Clock
from relay.core.errors import Refused
from relay.vault.passwords import hash_password


class User(msgspec.Struct, frozen=True):
    """One configured user."""

    address: str
    updated_at: float
    """Unix seconds of the last change of its password."""


class Users:
    """Add, list, remove."""

    def __init__(self, credentials: Credentials, naming: Naming, clock: Clock) -> None:
        self._credentials = credentials
        self._naming = naming
        self._clock = clock

    async def add(self, login: str, password: bytes) -> User:
        """Add a user, or give an existing one a new password. Refused: no name, no password; NotNow."""
        address = self._naming.account_of_login(login)
        local, _, domain = address.rpartition("@")
        if not local or not domain or any(ord(char) <= 32 or ord(char) == 127 for char in address):
            raise Refused("a user is named by an address, or by its local part where there is a default domain")
        if not password:
            raise Refused("a password is not empty")
        now = self._clock.now()
        await self._credentials.put(address, "configured", hash_password(password), now=now)
        return User(address, now)

    async def remove(self, login: str) -> bool:
        """Remove a user, its remembered password too; whether there was anything. NotNow."""
        return await self._credentials.delete(self._naming.account_of_login(login)) > 0

    async def list(self) -> list[User]:
        """All configured users by address. NotNow."""
        return [User(one.address, one.updated_at) for one in await self._credentials.all("configured")]
