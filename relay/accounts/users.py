"""Users as the operator sees them (`relay user add|list|remove|revoke`): those that were added here, and what is
remembered of the primary's. Slow (Argon2id): for the command line."""

from __future__ import annotations

import msgspec

from relay.accounts.credentials import Credentials, Kind
from relay.accounts.names import Naming
from relay.core.clock import Clock
from relay.core.errors import Refused
from relay.vault.passwords import hash_password

_SHOWN: tuple[Kind, ...] = ("configured", "remembered", "token")


class User(msgspec.Struct, frozen=True):
    """One user, and one way to log in."""

    address: str
    updated_at: float
    """Unix seconds: of the last change of a configured password, of the last login on the primary else (to a day)."""
    kind: Kind = "configured"


class Users:
    """Add, list, remove, revoke."""

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

    async def revoke(self, login: str) -> bool:
        """Forget what is remembered of a login, and believe no token that was issued before now. A configured password
        stays. Whether anything was remembered. NotNow."""
        address = self._naming.account_of_login(login)
        await self._credentials.put(address, "revoked", "", now=self._clock.now())
        return sum([await self._credentials.delete(address, kind) for kind in ("remembered", "token")]) > 0

    async def list(self) -> list[User]:
        """All ways to log in, by address. NotNow."""
        stored = [one for kind in _SHOWN for one in await self._credentials.all(kind)]
        found = [User(one.address, one.updated_at, one.kind) for one in stored]
        return sorted(found, key=lambda user: user.address)
