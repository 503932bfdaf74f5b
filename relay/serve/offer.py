"""What the primary shows, before login and after it: what users know, and what the standby shows them in its place.

Before login only the SASL mechanisms for tokens are of interest: what the primary takes is offered through us, and
nothing that it does not take; passwords are taken by every primary, one way or the other.

After login it is the whole list. It is kept in the store, so that an outage that begins with a restart finds it.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol

import msgspec

from relay.core.clock import Clock
from relay.core.errors import NotNow
from relay.core.mode import USES_PRIMARY, ModeBoard, Service
from relay.obs.logs import logger
from relay.primary import imap_raw
from relay.primary.errors import NoContact
from relay.primary.imap_raw import RawSettings
from relay.primary.settings import TlsMode
from relay.primary.tls import client_context
from relay.proto.sasl.credentials import Proof
from relay.proto.sasl.mechanisms import MECHANISMS
from relay.store.records import Change, ChangeKind

TOKENS = tuple(name for name, row in MECHANISMS.items() if row.proof is Proof.TOKEN)
PASSWORDS = tuple(name for name, row in MECHANISMS.items() if row.proof is Proof.PASSWORD)
SETTING = "serve.capabilities"
"""Name of the setting that holds the list, as JSON: it names no people."""
_MOST = 200
"""Words that are kept (count)."""
_LONGEST = 100
_EVERY = 600.0
_AGAIN = 5.0
_log = logger("serve.offer")


class Kept(Protocol):
    """Where the list is kept: `store.api`."""

    async def setting(self, name: str) -> bytes | None:
        """NotNow."""
        ...

    async def put_setting(self, name: str, value: bytes, *, now: float) -> None:
        """NotNow."""
        ...


class Offer:
    """What was seen last; it stays when the primary goes."""

    def __init__(self, kept: Kept | None = None, clock: Clock | None = None) -> None:
        """Without a place to keep it the list lasts as long as the worker."""
        self.tokens: tuple[str, ...] = ()
        self.shown: tuple[str, ...] | None = None
        """To users who are logged in; None = never seen."""
        self._kept = kept
        self._clock = clock
        self._news = asyncio.Event()
        self._news.set()

    def learn(self, capabilities: tuple[str, ...]) -> None:
        """From a connection that is not logged in yet."""
        self.tokens = tuple(name for name in TOKENS if f"AUTH={name}" in capabilities)

    def new_to_users(self, capabilities: tuple[str, ...]) -> bool:
        """From a connection that is logged in; whether that is to be kept."""
        seen = tuple(sorted({word.upper() for word in capabilities if len(word) <= _LONGEST})[:_MOST])
        if not seen or seen == self.shown:
            return False
        self.shown = seen
        return True

    async def keep(self) -> None:
        """Write the list down."""
        if self._kept is None or self._clock is None or self.shown is None:
            return
        try:
            await self._kept.put_setting(SETTING, msgspec.json.encode(self.shown), now=self._clock.now())
        except NotNow as problem:
            # The next login that finds another list writes again; until then this worker knows.
            _log.warning("capabilities_not_kept", exc_info=problem)

    def heed(self, change: Change) -> None:
        """A handler for the change feed (SETTING): another worker may have seen another list."""
        if change.kind is ChangeKind.SETTING and change.new == SETTING:
            self._news.set()

    @property
    def stale(self) -> bool:
        """Whether there may be another list than we know."""
        return self._news.is_set()

    async def run(self, primary: RawSettings, board: ModeBoard) -> None:
        """Look every now and then, until cancelled. Nobody logs in by token before it was seen once."""
        tls = None if primary.endpoint.tls is TlsMode.NONE else client_context(primary.endpoint)
        while True:
            if self.stale:
                await self.recall()
            seen = USES_PRIMARY[board.mode(Service.IMAP)] and await self.look(primary, tls)
            try:
                async with asyncio.timeout(_EVERY if seen else _AGAIN):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def recall(self) -> None:
        """Read what was written down, by us or by another worker."""
        self._news.clear()
        try:
            value = None if self._kept is None else await self._kept.setting(SETTING)
            if value:
                self.shown = msgspec.json.decode(value, type=tuple[str, ...])
        except NotNow:
            await asyncio.sleep(_AGAIN)
            self._news.set()
        except msgspec.MsgspecError:
            _log.warning("capabilities_unreadable")

    async def look(self, primary: RawSettings, tls: ssl.SSLContext | None) -> bool:
        """Look once; whether that went well."""
        try:
            session = await imap_raw.connect(primary, tls)
        except NoContact:
            return False  # the probes judge the primary, not we
        self.learn(session.capabilities)
        session.close()
        return True
