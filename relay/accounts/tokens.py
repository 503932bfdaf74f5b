"""Signed tokens judged by keys that outlive their issuer's outage: fetched ahead, kept in the store, sealed.

1. What was fetched once is believed for `keys_max_age`, after restarts and by every worker, while the issuer is down.
2. A key that nobody knows makes one fetch for all who wait for it, and no more than one in `again` seconds per worker.
3. A document that is no key set never replaces one that was.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from relay.accounts.issuer import Source
from relay.accounts.jwks import KeySet, TokenVerdict, UnknownKey, judge
from relay.accounts.oauth import OAuthSettings
from relay.core.clock import Clock
from relay.core.errors import Damaged, NotNow
from relay.obs.login_metrics import LoginMetrics
from relay.obs.logs import logger
from relay.store.api import DirectoryStore
from relay.store.records import Change, ChangeKind
from relay.vault.sealing import Vault

SETTING = "login.oauth.keys"
_PURPOSE = "oauth keys"
_NO_KEYS = KeySet(())
_log = logger("accounts.tokens")


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    source: str
    fetched_at: float
    document: bytes


class Tokens:
    """One per worker; `run` in one worker of all, `heed` in each."""

    def __init__(
        self,
        source: Source,
        store: DirectoryStore,
        vault: Vault,
        clock: Clock,
        settings: OAuthSettings,
        *,
        metrics: LoginMetrics | None = None,
    ) -> None:
        self.settings = settings
        self._source = source
        self._store = store
        self._vault = vault
        self._clock = clock
        self._metrics = metrics
        self._keys = _NO_KEYS
        self._fetched_at: float | None = None
        self._stale = True
        self._asked_at: float | None = None
        self._fetching = asyncio.Lock()
        self._wake = asyncio.Event()

    async def judge(self, token: bytes) -> TokenVerdict:
        """What a token is worth now. NotNow: the store."""
        await self._load()
        verdict = self._judge(token)
        if isinstance(verdict, UnknownKey):
            async with self._fetching:
                # Whoever held the lock may have fetched what this one needs.
                verdict = self._judge(token)
                if isinstance(verdict, UnknownKey) and await self._fetch():
                    verdict = self._judge(token)
        return verdict

    def heed(self, change: Change) -> None:
        """A handler for the change feed (SETTING): another worker may have fetched."""
        if change.kind is ChangeKind.SETTING and change.new == SETTING:
            self._stale = True

    def wake(self) -> None:
        """Fetch soon, whatever the time (HUP: the file may be another)."""
        self._wake.set()

    async def run(self) -> None:
        """Fetch ahead, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(await self._due()):
                    await self._wake.wait()
            self._wake.clear()
            async with self._fetching:
                self._asked_at = None
                await self._fetch()

    async def _due(self) -> float:
        """Seconds to the next fetch."""
        with contextlib.suppress(NotNow):
            await self._load()
        settings, now = self.settings, self._clock.now()
        due = 0.0 if self._fetched_at is None else self._fetched_at + settings.refresh - now
        if self._asked_at is not None:
            due = max(due, self._asked_at + settings.again - self._clock.monotonic())
        return min(max(due, 0.0), settings.refresh)

    def _judge(self, token: bytes) -> TokenVerdict:
        now = self._clock.now()
        fresh = self._fetched_at is not None and now - self._fetched_at < self.settings.keys_max_age
        return judge(token, self._keys if fresh else _NO_KEYS, self.settings, now)

    async def _load(self) -> None:
        """What the store has, where that may have changed."""
        if not self._stale:
            return
        sealed = await self._store.setting(SETTING)
        self._stale = False
        if sealed is None:
            return
        try:
            kept = msgspec.msgpack.decode(self._vault.open(_PURPOSE, sealed), type=_Kept)
            if kept.source == self.settings.source:
                self._keys, self._fetched_at = KeySet.parse(kept.document), kept.fetched_at
        except (Damaged, ValueError):  # msgspec's DecodeError is one
            _log.warning("oauth_keys_unreadable", remedy="they are fetched again")

    async def _fetch(self) -> bool:
        """Ask the source, unless that was just done; whether there are new keys now."""
        now = self._clock.monotonic()
        if self._asked_at is not None and now - self._asked_at < self.settings.again:
            return False
        self._asked_at = now
        try:
            document = await self._source.fetch()
            keys = KeySet.parse(document)
        except (NotNow, ValueError) as trouble:
            self._count(ok=False)
            _log.warning("oauth_keys_not_fetched", reason=str(trouble))
            return False
        self._count(ok=True)
        self._keys, self._fetched_at = keys, self._clock.now()
        kept = msgspec.msgpack.encode(_Kept(self.settings.source, self._fetched_at, document))
        try:
            await self._store.put_setting(SETTING, self._vault.seal(_PURPOSE, kept), now=self._fetched_at)
        except NotNow as trouble:
            _log.warning("oauth_keys_not_kept", reason=str(trouble))
        return True

    def _count(self, *, ok: bool) -> None:
        if self._metrics is not None:
            self._metrics.key_fetches["ok" if ok else "failed"].inc()
