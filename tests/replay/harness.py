"""A spool, a runner and a fake primary, wired as `node` does it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from relay.core.envelope import Envelope, Origin, Recipient
from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.core.mode import Mode, Service, Signal
from relay.core.retry import Backoff
from relay.obs.metrics import Metrics
from relay.primary.pacing import Pacer, PacingSettings
from relay.primary.settings import Deadlines, Endpoint, PoolSettings, SmtpSettings, TlsMode
from relay.primary.smtp import SmtpPool
from relay.replay.destination import PrimaryDestination
from relay.replay.eyes import Eyes
from relay.replay.runner import Runner
from relay.replay.settings import ReplaySettings
from relay.spool.feed import Feed
from relay.spool.queue import Queue
from relay.store.records import ChangeKind, ItemRow
from tests.primary.fake import FakeSmtp
from tests.spool.conftest import Spool, open_spool

PATIENCE = 60.0
"""Seconds that anything here is waited for. It only bounds a wait that ends early: a machine may be busy."""
QUICK = Deadlines(open=1.0, command=1.0, block=1.0, final=0.5)
"""For a fake that is silent on purpose."""
REAL = Deadlines(open=PATIENCE, command=PATIENCE, block=PATIENCE, final=PATIENCE)
"""For a real server, which is slow when the machine is: only a broken connection may end an attempt."""
SETTINGS = ReplaySettings(owner="edge-1/boot/0", concurrency=4, canaries=1, backoff=Backoff(first=5.0), idle=0.05)


def trace(_envelope: Envelope, origin: Origin, item: ItemId) -> bytes:
    """A Received line as short as can be."""
    return f"Received: from {origin.helo} by relay.example.org id {item}\r\n".encode()


@dataclass
class Board:
    """A mode board that a test moves by hand, and what it was told."""

    now: dict[Service, Mode] = field(default_factory=lambda: dict.fromkeys(Service, Mode.NORMAL))
    told: list[tuple[Service, Signal]] = field(default_factory=list)
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    def mode(self, service: Service) -> Mode:
        """See ModeBoard."""
        return self.now[service]

    def evidence(self, service: Service, signal: Signal, reason: str) -> None:
        """See ModeBoard: the steps that matter here."""
        assert "@" not in reason
        self.told.append((service, signal))
        if signal is Signal.DRAINED:
            self.drained.set()
            if self.now[service] is Mode.RECOVERY:
                self.now[service] = Mode.NORMAL
        if signal is Signal.FAIL:
            self.failed.set()
            self.now[service] = Mode.STANDBY


@dataclass
class Rig:
    """What a test touches."""

    spool: Spool
    board: Board
    server: FakeSmtp
    pool: SmtpPool
    metrics: Metrics
    runner: Runner
    feed: Feed

    async def accept(self, number: int, *recipients: str, size: int = 0) -> ItemId:
        """One message in the queue, recognisable by its number."""
        everyone = recipients or ("alice@example.org",)
        envelope = Envelope(f"s{number}@example.net", tuple(Recipient(address) for address in everyone))
        line = "x" * 76 + "\r\n"
        body = f"Message-ID: <{number}@example.net>\r\n\r\n{line * (size // len(line))}end\r\n".encode()
        self.spool.clock.advance(0.002)  # ids, and with them the queue, are ordered by the millisecond
        return (await self.spool.accept(body, envelope)).item

    async def row(self, item: ItemId) -> ItemRow:
        """As stored."""
        row = await self.spool.store.item(item)
        assert row is not None
        return row

    async def until(self, item: ItemId, *states: ItemState, seconds: float = PATIENCE) -> ItemRow:
        """Wait until the item is in one of the states, without a lease."""
        async with asyncio.timeout(seconds):
            while True:
                seen = await self.spool.store.last_change()
                row = await self.row(item)
                if row.state in states and (row.lease is None or row.state is not ItemState.INTENT):
                    return row
                await self.spool.store.wait_change(after=seen, timeout=0.2)

    async def until_drained(self, seconds: float = PATIENCE) -> None:
        """From RECOVERY to "nothing left that could go"."""
        self.board.drained.clear()
        self.board.now[Service.SMTP] = Mode.RECOVERY
        self.runner.wake()
        async with asyncio.timeout(seconds):
            await self.board.drained.wait()

    async def later(self, seconds: float) -> None:
        """Time passes, and the runner notices."""
        self.spool.clock.advance(seconds)
        self.runner.wake()


def make_pool(spool: Spool, port: int, deadlines: Deadlines = QUICK) -> SmtpPool:
    """Connections to a server."""
    settings = SmtpSettings(Endpoint("127.0.0.1", port, TlsMode.NONE), "relay.example.org", deadlines=deadlines)
    return SmtpPool(settings, PoolSettings(connections=8), spool.clock)


def make_runner(
    spool: Spool,
    board: Board,
    pool: SmtpPool,
    metrics: Metrics,
    settings: ReplaySettings = SETTINGS,
    *,
    eyes: Eyes | None = None,
) -> Runner:
    """A runner of its own owner."""
    queue = Queue(spool.store, spool.vault, spool.clock, owner=settings.owner)
    return Runner(
        queue=queue,
        reader=spool.reader,
        destination=PrimaryDestination(pool, trace),
        board=board,
        pacer=Pacer(PacingSettings(), spool.clock),
        clock=spool.clock,
        settings=settings,
        metrics=metrics.replay,
        spool_metrics=metrics.spool,
        eyes=eyes,
        fraction=lambda: 0.0,
    )


@contextlib.asynccontextmanager
async def rig(
    path: Path,
    server: FakeSmtp,
    *,
    mode: Mode = Mode.STANDBY,
    start: bool = True,
    port: int | None = None,
    eyes: Eyes | None = None,
    **settings: object,
) -> AsyncIterator[Rig]:
    """Everything running, in STANDBY unless said otherwise; `port` is that of a real server instead of the fake."""
    async with open_spool(path) as spool:
        board = Board()
        board.now[Service.SMTP] = mode
        metrics = Metrics()
        pool = make_pool(spool, port or server.port, QUICK if port is None else REAL)
        runner = make_runner(spool, board, pool, metrics, msgspec.structs.replace(SETTINGS, **settings), eyes=eyes)
        feed = Feed(spool.store, spool.clock)
        feed.on_kind(ChangeKind.ITEM, runner.heed)
        feed.on_kind(ChangeKind.SETTING, runner.heed)
        await feed.start()
        task = asyncio.create_task(runner.run()) if start else None
        try:
            yield Rig(spool, board, server, pool, metrics, runner, feed)
        finally:
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            await feed.stop()
            await pool.close()
