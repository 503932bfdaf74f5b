"""Argon2id where it cannot hurt: in a bounded pool, and not again for who has just been checked.

1. The event loop never hashes; more than `waiting` callers get NotNow.
2. The cache holds a keyed digest of the account, its stored verifier and the secret, under a key of this process: it
   cannot mix users, and a verifier that is replaced or revoked by any process ends it at once.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from relay.accounts.credentials import StoredLogin
from relay.core.clock import Clock
from relay.core.errors import NotNow
from relay.obs.login_metrics import LoginMetrics
from relay.vault.passwords import DUMMY, hash_password, verify_password

_T = TypeVar("_T")


class HashingSettings(msgspec.Struct, frozen=True):
    """How much at a time, and for how long a check is believed (seconds)."""

    concurrency: int = 2
    waiting: int = 200
    cache_entries: int = 10_000
    cache_seconds: float = 300.0


class Hashing:
    """One per worker; `close` it."""

    def __init__(self, clock: Clock, settings: HashingSettings, metrics: LoginMetrics | None = None) -> None:
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="argon2")
        self._waiting = 0
        self._key = os.urandom(32)
        self._cache: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def close(self) -> None:
        """End the pool; checks under way finish first."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def fits(self, mac: bytes, stored: StoredLogin | None, password: bytes) -> bool:
        """Whether it is the password. Nobody stored costs the same as somebody: one Argon2id. NotNow."""
        if stored is not None and self._cached(mac, stored, password):
            return True
        verifier = DUMMY if stored is None else stored.verifier
        fits = await self._work(lambda: verify_password(password, verifier))
        if stored is None or not fits:
            return False
        self._cache[mac] = (
            self.digest(mac, stored.stamp, password),
            self._clock.monotonic() + self._settings.cache_seconds,
        )
        self._cache.move_to_end(mac)
        while len(self._cache) > self._settings.cache_entries:
            self._cache.popitem(last=False)
        return True

    async def make(self, password: bytes) -> str:
        """A new verifier. NotNow."""
        return await self._work(lambda: hash_password(password))

    def digest(self, *parts: bytes) -> bytes:
        """Stands for its parts in the memory of this process, and nowhere else."""
        return hmac.digest(self._key, b"".join(len(p).to_bytes(4, "big") + p for p in parts), "sha256")

    def _cached(self, mac: bytes, stored: StoredLogin, password: bytes) -> bool:
        digest, until = self._cache.get(mac, (b"", 0.0))
        good = hmac.compare_digest(digest, self.digest(mac, stored.stamp, password))
        return good and self._clock.monotonic() < until

    async def _work(self, work: Callable[[], _T]) -> _T:
        if self._waiting >= self._settings.waiting + self._settings.concurrency:
            raise NotNow("too many password checks at once")
        self._waiting += 1
        began = self._clock.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1
            if self._metrics is not None:
                self._metrics.verify_seconds.observe(self._clock.monotonic() - began)
