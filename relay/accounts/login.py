"""Logins on the standby: configured users, and passwords that worked on the primary and are remembered.

A name, a password and a client address enter, a `LoginResult` leaves; `reason` is for logs and metrics, `verdict` for
the client.

1. Every answer that is not from the cache costs exactly one Argon2id, whether the name exists or not, and a failure
   looks the same for every reason: time and text tell nothing about who exists.
2. A mismatch is no proof: the password may have changed on the primary since it was remembered. So a failure is
   UNAVAILABLE (the client tries again later and asks nobody), unless we alone decide (`authoritative`).
3. Argon2id runs in a bounded pool; more than `waiting` callers get NotNow. The event loop never hashes.
4. The cache holds a keyed digest of the account, its stored verifier and the password, under a key of this process: it
   cannot mix users, and a verifier that is replaced or revoked by any process ends it at once.
5. Wrong passwords are throttled by account and by client network, and answered late.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

import msgspec

from relay.accounts.credentials import Credentials, StoredLogin
from relay.accounts.names import Naming
from relay.accounts.throttle import Throttle, ThrottleSettings
from relay.core.clock import Clock
from relay.core.errors import NotNow
from relay.obs.login_metrics import LoginMetrics, LoginSource
from relay.obs.login_metrics import LoginResult as Counted
from relay.vault.passwords import DUMMY, hash_password, needs_rehash, verify_password

_T = TypeVar("_T")
Sleep = Callable[[float], Awaitable[None]]


class Verdict(StrEnum):
    """What the client is told."""

    OK = "ok"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


class Reason(StrEnum):
    """What it was."""

    PRIMARY = "primary"
    CONFIGURED = "configured"
    REMEMBERED = "remembered"
    MISMATCH = "mismatch"
    NOTHING_KNOWN = "nothing_known"
    EXPIRED = "expired"
    THROTTLED = "throttled"


_SOURCES: Mapping[Reason, LoginSource] = MappingProxyType(
    {Reason.CONFIGURED: "configured", Reason.REMEMBERED: "remembered"}
)
"""What decided, for the metric; `none` where nothing did."""


class LoginResult(msgspec.Struct, frozen=True):
    """`address` names the account; set when the verdict is OK."""

    verdict: Verdict
    reason: Reason
    address: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the login is good."""
        return self.verdict is Verdict.OK


class LoginSettings(msgspec.Struct, frozen=True):
    """Times in seconds."""

    remember: bool = True
    max_age: float = 30 * 86_400.0
    """How long after the last login on the primary a remembered password is good for."""
    touch_after: float = 86_400.0
    """How old a remembered password gets before another login on the primary renews it in the store."""
    authoritative: bool = False
    """There is no primary to log in to: we alone know who exists."""
    concurrency: int = 2
    waiting: int = 200
    cache_entries: int = 10_000
    cache_seconds: float = 300.0
    throttle: ThrottleSettings = ThrottleSettings()


class LoginService:
    """One per worker; `close` it."""

    def __init__(
        self,
        credentials: Credentials,
        naming: Naming,
        clock: Clock,
        settings: LoginSettings,
        *,
        sleep: Sleep = asyncio.sleep,
        seen: Callable[[str], Awaitable[None]] | None = None,
        metrics: LoginMetrics | None = None,
    ) -> None:
        """`seen` is told of every account that logged in (`Directory.saw`)."""
        self._metrics = metrics
        self._credentials = credentials
        self._naming = naming
        self._clock = clock
        self._settings = settings
        self._sleep = sleep
        self._seen = seen
        self._throttle = Throttle(settings.throttle)
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="argon2")
        self._waiting = 0
        self._cache_key = os.urandom(32)
        self._cache: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def close(self) -> None:
        """End the pool; checks under way finish first."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def check(self, login: str, password: bytes, *, client: str) -> LoginResult:
        """Judge a login. NotNow: the store or the pool cannot at the moment."""
        result = await self._check(login, password, client=client)
        throttled = result.reason is Reason.THROTTLED
        self._count(_SOURCES.get(result.reason, "none"), "throttled" if throttled else result.verdict.value)
        return result

    async def _check(self, login: str, password: bytes, *, client: str) -> LoginResult:
        address = self._naming.account_of_login(login)
        mac = self._credentials.mac(address)
        if not self._throttle.admits(mac, client, self._clock.monotonic()):
            return self._failure(Reason.THROTTLED)
        stored, reason = await self._stored(address)
        if stored is None or not self._cached(mac, stored, password):
            verifier = DUMMY if stored is None else stored.verifier
            fits = await self._argon2(lambda: verify_password(password, verifier))
            if stored is None or not fits:
                await self._sleep(self._throttle.failed(mac, client, self._clock.monotonic()))
                return self._failure(reason if stored is None else Reason.MISMATCH)
            self._cache_it(mac, stored, password)
        self._throttle.succeeded(mac, client)
        if self._seen is not None:
            await self._seen(address)
        return LoginResult(Verdict.OK, reason, address)

    async def admits(self, login: str, *, client: str) -> bool:
        """Whether an attempt may be made at all, on the primary too."""
        mac = self._credentials.mac(self._naming.account_of_login(login))
        return self._throttle.admits(mac, client, self._clock.monotonic())

    async def refused(self, login: str, *, client: str) -> None:
        """The primary has just refused it: it counts, and the answer is late."""
        self._count("primary", "refused")
        mac = self._credentials.mac(self._naming.account_of_login(login))
        await self._sleep(self._throttle.failed(mac, client, self._clock.monotonic()))

    async def remember(self, login: str, password: bytes, *, client: str | None = None) -> None:
        """It has just worked on the primary: keep a verifier for the outage. NotNow."""
        self._count("primary", "ok")
        address = self._naming.account_of_login(login)
        mac = self._credentials.mac(address)
        if client is not None:
            self._throttle.succeeded(mac, client)
        if self._seen is not None:
            await self._seen(address)
        if not self._settings.remember:
            return
        now = self._clock.now()
        stored = await self._credentials.get(address, "remembered")
        verifier = None
        if stored is not None and not needs_rehash(stored.verifier):
            known = stored.verifier
            if self._cached(mac, stored, password) or await self._argon2(lambda: verify_password(password, known)):
                self._cache_it(mac, stored, password)
                if now - stored.updated_at < self._settings.touch_after:
                    return
                verifier = known
        if verifier is None:
            verifier = await self._argon2(lambda: hash_password(password))
        await self._credentials.put(address, "remembered", verifier, now=now)

    async def revoke(self, login: str) -> bool:
        """Forget a remembered password; whether there was one. NotNow."""
        return await self._credentials.delete(self._naming.account_of_login(login), "remembered") > 0

    async def remembered(self) -> list[StoredLogin]:
        """All remembered logins that are still good. NotNow."""
        oldest = self._clock.now() - self._settings.max_age
        return [one for one in await self._credentials.all("remembered") if one.updated_at > oldest]

    async def _stored(self, address: str) -> tuple[StoredLogin | None, Reason]:
        """The verifier that decides, and what a success by it (or the lack of it) is called."""
        configured = await self._credentials.get(address, "configured")
        if configured is not None:
            return configured, Reason.CONFIGURED
        remembered = await self._credentials.get(address, "remembered")
        if remembered is None:
            return None, Reason.NOTHING_KNOWN
        if self._clock.now() - remembered.updated_at >= self._settings.max_age:
            return None, Reason.EXPIRED
        return remembered, Reason.REMEMBERED

    def _failure(self, reason: Reason) -> LoginResult:
        return LoginResult(Verdict.REFUSED if self._settings.authoritative else Verdict.UNAVAILABLE, reason)

    async def _argon2(self, work: Callable[[], _T]) -> _T:
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

    def _count(self, source: LoginSource, result: Counted) -> None:
        if self._metrics is not None:
            self._metrics.attempts[(source, result)].inc()

    def _digest(self, mac: bytes, stored: StoredLogin, password: bytes) -> bytes:
        parts = (mac, stored.stamp, password)
        return hmac.digest(self._cache_key, b"".join(len(p).to_bytes(4, "big") + p for p in parts), "sha256")

    def _cached(self, mac: bytes, stored: StoredLogin, password: bytes) -> bool:
        digest, until = self._cache.get(mac, (b"", 0.0))
        return self._clock.monotonic() < until and hmac.compare_digest(digest, self._digest(mac, stored, password))

    def _cache_it(self, mac: bytes, stored: StoredLogin, password: bytes) -> None:
        until = self._clock.monotonic() + self._settings.cache_seconds
        self._cache[mac] = (self._digest(mac, stored, password), until)
        self._cache.move_to_end(mac)
        while len(self._cache) > self._settings.cache_entries:
            self._cache.popitem(last=False)
