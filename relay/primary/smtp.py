"""A bounded pool of connections to one SMTP server.

    async with pool.transaction(origin, ident=item) as tx:
        mail, rcpts = await tx.envelope(envelope, size)
        reply = await tx.data(body, prepend=received, before_dot=intend)

1. Never more than `connections` at a time, idle ones included; who finds none free waits `wait` seconds at most.
2. A connection is used again only when its transaction ended cleanly, it is neither old nor worn, and the server has
   not said that it closes. The one used last is taken first, so that a quiet pool shrinks.
3. A transaction that was opened and not finished costs the next one an RSET in its first packet, no round trip.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from relay.core.clock import Clock
from relay.core.envelope import Origin
from relay.primary.connection import Connection, Dialer
from relay.primary.errors import NoContact
from relay.primary.settings import Forward, PoolSettings, SmtpSettings
from relay.primary.tls import CertificateCheck
from relay.primary.transaction import Transaction
from relay.proto.smtp.ehlo import Extensions


class SmtpPool:
    """Transactions with one server."""

    def __init__(
        self,
        settings: SmtpSettings,
        limits: PoolSettings,
        clock: Clock,
        check: CertificateCheck | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`check` judges the server's certificates beyond what the endpoint asks of them; `context` may be shared."""
        self.settings = settings
        self._limits = limits
        self._clock = clock
        self._dialer = Dialer(settings, clock, check, context)
        self._slots = asyncio.Semaphore(limits.connections)
        self._idle: deque[tuple[float, Connection]] = deque()
        self._reaper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections waiting to be used."""
        return len(self._idle)

    @asynccontextmanager
    async def transaction(self, origin: Origin | None, *, ident: str | None = None) -> AsyncIterator[Transaction]:
        """A transaction on behalf of `origin`; `ident` is our name for the message (XFORWARD). NoContact."""
        tx = await self.begin(origin, ident=ident)
        try:
            yield tx
        finally:
            self.end(tx)

    async def begin(self, origin: Origin | None, *, ident: str | None = None) -> Transaction:
        """The same for who ends it otherwise than by leaving a block. NoContact."""
        await self._slot()
        try:
            connection = self._take() or await self._dialer.dial(origin)
        except BaseException:
            self._slots.release()
            raise
        return Transaction(self._dialer, connection, origin, ident)

    def end(self, tx: Transaction) -> None:
        """Once for each that was begun."""
        self._give(tx)
        self._slots.release()

    async def open(self) -> Extensions:
        """Connect ahead of the first transaction; what the server offers. NoContact."""
        await self._slot()
        try:
            connection = await self._dialer.dial(None)
            connection.uses = 1  # should it be gone by the time of the transaction, that is no sign of an outage
            self._keep(connection)
            return connection.extensions
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Say goodbye on the idle connections; those in use end with their transactions."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        while self._idle:
            self._idle.pop()[1].wire.leave()

    async def _slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(self._limits.wait):
                await self._slots.acquire()
        except TimeoutError:
            raise NoContact("all connections to the server are busy", evidence=False) from None

    def _take(self) -> Connection | None:
        now = self._clock.monotonic()
        while self._idle:
            since, connection = self._idle.pop()
            if connection.usable and now - since <= self._limits.idle and not self._worn(connection, now):
                return connection
            connection.wire.leave()
        return None

    def _give(self, tx: Transaction) -> None:
        connection = tx.connection
        now = self._clock.monotonic()
        if tx.in_content:
            connection.wire.kill("transaction was given up")
        if not connection.usable:
            return
        if self._closed or self._worn(connection, now) or self.settings.forward is Forward.PROXY:
            connection.wire.leave()
        else:
            self._keep(connection)

    def _keep(self, connection: Connection) -> None:
        self._idle.append((self._clock.monotonic(), connection))
        if self._reaper is None:
            self._reaper = asyncio.get_running_loop().call_later(self._limits.idle, self._reap)

    def _worn(self, connection: Connection, now: float) -> bool:
        return connection.uses >= self._limits.uses or now - connection.born >= self._limits.age

    def _reap(self) -> None:
        self._reaper = None
        now = self._clock.monotonic()
        while self._idle and (now - self._idle[0][0] >= self._limits.idle or not self._idle[0][1].usable):
            self._idle.popleft()[1].wire.leave()
        if self._idle and not self._closed:
            self._reaper = asyncio.get_running_loop().call_later(self._limits.idle, self._reap)
