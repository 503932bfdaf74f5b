"""Logins on the standby: configured users, passwords and tokens that worked on the primary, and signed tokens.

Credentials and a client address enter, a `LoginResult` leaves; `reason` is for logs and metrics, `verdict` for the
client.

1. Every judgement of a password that is not from the cache costs exactly one Argon2id, whether the name exists or not,
   and a failure looks the same for every reason: time and text tell nothing about who exists.
2. A mismatch is no proof: the password may have changed on the primary since it was remembered. So a failure is
   UNAVAILABLE (the client tries again later and asks nobody), unless we alone decide (`authoritative`). A signed token
   that is not good is REFUSED: its client fetches a fresh one.
3. Failures are throttled by account and by client network, and answered late; no more than `most_delayed` clients wait
   at a time, the others get their answer at once.
4. What the primary refuses is not remembered any longer, as soon as it has shown that it can tell (`doubts`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from relay.accounts.credentials import Credentials as Stored
from relay.accounts.credentials import StoredLogin
from relay.accounts.doubts import Doubts
from relay.accounts.hashing import Hashing, HashingSettings
from relay.accounts.jwks import Foreign, Rejected, Signed
from relay.accounts.names import Naming
from relay.accounts.throttle import Throttle, ThrottleSettings
from relay.accounts.token_memory import TokenMemory
from relay.accounts.tokens import Tokens
from relay.core.clock import Clock
from relay.core.errors import NotNow
from relay.obs.login_metrics import LoginMetrics, LoginReason, LoginSource
from relay.obs.login_metrics import LoginResult as Counted
from relay.proto.sasl.credentials import Credentials, Proof
from relay.vault.passwords import needs_rehash
from relay.vault.sealing import Vault

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
    SIGNED = "signed"
    """A good token of our issuer."""
    MISMATCH = "mismatch"
    NOTHING_KNOWN = "nothing_known"
    EXPIRED = "expired"
    REVOKED = "revoked"
    """A token from before the operator revoked its user."""
    THROTTLED = "throttled"
    UNJUDGED = "unjudged"
    """Nobody could tell: the primary puts it off, or our store does."""
    UNUSABLE = "unusable"
    """Nobody logs in like this: for somebody else, without a secret, or with what no name or password can be."""


_SOURCES: Mapping[Reason, LoginSource] = MappingProxyType(
    {Reason.CONFIGURED: "configured", Reason.REMEMBERED: "remembered", Reason.SIGNED: "token"}
)
"""What decided, for the metric; `none` where nothing did."""
_COUNTED: Mapping[Reason, LoginReason] = MappingProxyType(
    {
        Reason.MISMATCH: "mismatch",
        Reason.NOTHING_KNOWN: "nothing_known",
        Reason.EXPIRED: "nothing_known",
        Reason.REVOKED: "revoked",
        Reason.THROTTLED: "throttled",
    }
)
"""What it was, for the metric; `none` where it was good."""


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
    token_max_age: float = 3_600.0
    """The same of a token that we cannot read."""
    touch_after: float = 86_400.0
    """How old a remembered password gets before another login on the primary renews it in the store."""
    authoritative: bool = False
    """There is no primary to log in to: we alone know who exists."""
    most_delayed: int = 500
    hashing: HashingSettings = HashingSettings()
    throttle: ThrottleSettings = ThrottleSettings()


class LoginService:
    """One per worker; `close` it."""

    def __init__(
        self,
        stored: Stored,
        vault: Vault,
        naming: Naming,
        clock: Clock,
        settings: LoginSettings,
        *,
        tokens: Tokens | None = None,
        sleep: Sleep = asyncio.sleep,
        seen: Callable[[str], Awaitable[None]] | None = None,
        metrics: LoginMetrics | None = None,
    ) -> None:
        """`seen` is told of every account that logged in (`Directory.saw`)."""
        self._metrics = metrics
        self._stored = stored
        self._naming = naming
        self._clock = clock
        self._settings = settings
        self._tokens = tokens
        self._sleep = sleep
        self._seen = seen
        self._throttle = Throttle(settings.throttle)
        self._hashing = Hashing(clock, settings.hashing, metrics)
        self._memory = TokenMemory(stored, vault, clock, settings.token_max_age)
        self._doubts = Doubts()
        self._delayed = 0

    def close(self) -> None:
        """End the pool; checks under way finish first."""
        self._hashing.close()

    # --- here ---

    async def check(self, claimed: Credentials, *, client: str) -> LoginResult:
        """Judge a login. NotNow: the store or the pool cannot at the moment."""
        result = await self._check(claimed, client)
        throttled = result.reason is Reason.THROTTLED
        counted: Counted = "throttled" if throttled else result.verdict.value
        self._count(_SOURCES.get(result.reason, "none"), counted, _COUNTED.get(result.reason, "none"))
        return result

    async def _check(self, claimed: Credentials, client: str) -> LoginResult:
        address = self._naming.account_of_login(claimed.login)
        if not self._admits(claimed.login, client):
            return self._failure(Reason.THROTTLED)
        by = self._by_token if claimed.proof is Proof.TOKEN else self._by_password
        result = await by(address, claimed)
        if result.address is None:
            # Nobody guesses tokens: one that cannot be judged at the moment is no attack.
            if claimed.proof is Proof.PASSWORD or result.verdict is Verdict.REFUSED:
                await self._failed(claimed, client)
            return result
        self._throttle.succeeded(self._stored.mac(address), client, self._clock.monotonic())
        if self._seen is not None:
            await self._seen(result.address)
        return result

    async def _by_password(self, address: str, claimed: Credentials) -> LoginResult:
        stored, reason = await self._verifier(address)
        if await self._hashing.fits(self._stored.mac(address), stored, claimed.secret):
            return LoginResult(Verdict.OK, reason, address)
        return self._failure(reason if stored is None else Reason.MISMATCH)

    async def _by_token(self, address: str, claimed: Credentials) -> LoginResult:
        known = await self._tokens.judge(claimed.secret) if self._tokens is not None else Foreign()
        if isinstance(known, Rejected):
            return LoginResult(Verdict.REFUSED, Reason.MISMATCH)
        if isinstance(known, Signed):
            owner = self._naming.account_of_login(known.name)
            if claimed.login and owner != address:
                return LoginResult(Verdict.REFUSED, Reason.MISMATCH)
            revoked = await self._stored.get(owner, "revoked")
            if revoked is not None and known.issued_at <= revoked.updated_at:
                return LoginResult(Verdict.REFUSED, Reason.REVOKED)
            return LoginResult(Verdict.OK, Reason.SIGNED, owner)
        if claimed.login and await self._memory.knows(address, claimed.secret):
            return LoginResult(Verdict.OK, Reason.REMEMBERED, address)
        return self._failure(Reason.NOTHING_KNOWN)

    async def admits(self, login: str, *, client: str) -> bool:
        """Whether an attempt may be made at all, on the primary too; one that may not is counted."""
        admitted = self._admits(login, client)
        if not admitted:
            self._count("none", "throttled", "throttled")
        return admitted

    def _admits(self, login: str, client: str) -> bool:
        mac = self._stored.mac(self._naming.account_of_login(login))
        return self._throttle.admits(mac, client, self._clock.monotonic())

    # --- what the primary said ---

    async def refused(self, claimed: Credentials, *, client: str) -> None:
        """The primary has just refused it: it counts, and the answer is late."""
        self._count("primary", "refused", "mismatch")
        if self._settings.remember:
            with contextlib.suppress(NotNow):  # the next refusal of the same password will do as well
                await self._doubt(claimed)
        await self._failed(claimed, client)

    async def _doubt(self, claimed: Credentials) -> None:
        address = self._naming.account_of_login(claimed.login)
        if claimed.proof is Proof.TOKEN:
            await self._memory.forget(address, claimed.secret)
            return
        stored = await self._stored.get(address, "remembered")
        # Also where nothing is stored: whether somebody is remembered here shall not be heard in the time.
        if await self._hashing.fits(self._stored.mac(address), stored, claimed.secret) and stored is not None:
            self._doubts.add(address, stored.stamp, self._clock.monotonic())

    async def remember(self, claimed: Credentials, *, client: str) -> None:
        """It has just worked on the primary: keep a verifier for the outage. NotNow."""
        self._count("primary", "ok", "none")
        if not claimed.login:
            return  # a token that names its user to the primary alone
        address = self._naming.account_of_login(claimed.login)
        self._throttle.succeeded(self._stored.mac(address), client, self._clock.monotonic())
        if self._seen is not None:
            await self._seen(address)
        if not self._settings.remember:
            return
        await self._settle_doubts(address)
        if claimed.proof is Proof.TOKEN:
            await self._memory.keep(address, claimed.secret)
        else:
            await self._remember_password(address, claimed.secret)

    async def _remember_password(self, address: str, password: bytes) -> None:
        now = self._clock.now()
        stored = await self._stored.get(address, "remembered")
        if (
            stored is not None
            and not needs_rehash(stored.verifier)
            and await self._hashing.fits(self._stored.mac(address), stored, password)
        ):
            if now - stored.updated_at >= self._settings.touch_after:
                await self._stored.put(address, "remembered", stored.verifier, now=now)
            return
        await self._stored.put(address, "remembered", await self._hashing.make(password), now=now)

    async def _settle_doubts(self, address: str) -> None:
        for doubt in self._doubts.settle(address, self._clock.monotonic()):
            stored = await self._stored.get(doubt.address, "remembered")
            if stored is not None and stored.stamp == doubt.stamp:
                await self._stored.delete(doubt.address, "remembered")

    # --- the rest ---

    async def _verifier(self, address: str) -> tuple[StoredLogin | None, Reason]:
        """The verifier that decides, and what a success by it (or the lack of it) is called."""
        configured = await self._stored.get(address, "configured")
        if configured is not None:
            return configured, Reason.CONFIGURED
        remembered = await self._stored.get(address, "remembered")
        if remembered is None:
            return None, Reason.NOTHING_KNOWN
        if self._clock.now() - remembered.updated_at >= self._settings.max_age:
            return None, Reason.EXPIRED
        return remembered, Reason.REMEMBERED

    def _failure(self, reason: Reason) -> LoginResult:
        return LoginResult(Verdict.REFUSED if self._settings.authoritative else Verdict.UNAVAILABLE, reason)

    async def _failed(self, claimed: Credentials, client: str) -> None:
        """Count it, and let the client wait, unless too many do already."""
        mac = self._stored.mac(self._naming.account_of_login(claimed.login))
        secret = self._hashing.digest(mac, claimed.secret)
        delay = self._throttle.failed(mac, client, self._clock.monotonic(), secret)
        if self._delayed >= self._settings.most_delayed:
            return
        self._delayed += 1
        try:
            await self._sleep(delay)
        finally:
            self._delayed -= 1

    def _count(self, source: LoginSource, result: Counted, reason: LoginReason) -> None:
        if self._metrics is not None:
            self._metrics.attempts[(source, result, reason)].inc()
