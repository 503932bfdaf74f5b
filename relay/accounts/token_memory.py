"""Bearer tokens that worked on the primary and that we cannot read: good here for as long as they would be there.

1. A token is remembered as a keyed digest, sealed with its account; it has at least 128 bits that nobody can guess
   (RFC 6749 10.10), so that Argon2id would only cost time.
2. It ends `max_age` after it last worked, or when it says so itself, whichever comes first.
3. Two workers that write at once may lose one of the tokens: its client is told to come back, and fetches another.
"""

from __future__ import annotations

import hmac

import msgspec

from relay.accounts.credentials import Credentials
from relay.accounts.jwks import expiry
from relay.core.clock import Clock
from relay.vault.sealing import Vault

_MOST = 16
"""Tokens per account, one per client."""


class _Known(msgspec.Struct, frozen=True, array_like=True):
    digest: str
    until: float


_LIST = msgspec.json.Decoder(list[_Known])


class TokenMemory:
    """Tokens by account."""

    def __init__(self, credentials: Credentials, vault: Vault, clock: Clock, max_age: float) -> None:
        self._credentials = credentials
        self._vault = vault
        self._clock = clock
        self._max_age = max_age

    async def keep(self, address: str, token: bytes) -> None:
        """It has just worked on the primary. NotNow."""
        now = self._clock.now()
        until = min(now + self._max_age, expiry(token) or now + self._max_age)
        digest, known = self._digest(address, token), await self._known(address)
        if any(one.digest == digest and one.until - now > (until - now) / 2 for one in known) or until <= now:
            return
        known = [one for one in known if one.digest != digest][1 - _MOST :]
        await self._put(address, [*known, _Known(digest, until)])

    async def knows(self, address: str, token: bytes) -> bool:
        """Whether it is known to be good now. NotNow."""
        digest = self._digest(address, token)
        return any(hmac.compare_digest(one.digest, digest) for one in await self._known(address))

    async def forget(self, address: str, token: bytes) -> None:
        """The primary has refused it. NotNow."""
        digest, known = self._digest(address, token), await self._known(address)
        left = [one for one in known if one.digest != digest]
        if len(left) < len(known):
            await self._put(address, left)

    async def _known(self, address: str) -> list[_Known]:
        stored = await self._credentials.get(address, "token")
        if stored is None:
            return []
        try:
            known = _LIST.decode(stored.verifier)
        except msgspec.MsgspecError:
            return []
        now = self._clock.now()
        return [one for one in known if now < one.until]

    async def _put(self, address: str, known: list[_Known]) -> None:
        text = msgspec.json.encode(known).decode()
        await self._credentials.put(address, "token", text, now=self._clock.now())

    def _digest(self, address: str, token: bytes) -> str:
        return self._vault.mac("token", address.encode() + b"\0" + token).hex()
