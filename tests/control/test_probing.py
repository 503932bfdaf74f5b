"""Probes: deadlines, independence of services, quick confirmation; one worker asks, another takes over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from relay.control.coordinator import Coordinator
from relay.control.probing import ProbeSettings, Probing
from relay.control.singleton import Singleton
from relay.core.clock import SystemClock
from relay.core.mode import Hysteresis, Mode, Service, Signal
from relay.obs.metrics import Metrics
from relay.primary.health import Probe
from tests.control.fakes import PATIENCE, FakeFeed, FakeStore, until


class Primary:
    """Answers probes as told; counts them."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.ok = True
        self.asked = 0
        self.hang = False
        self.broken = False

    async def __call__(self) -> Probe:
        self.asked += 1
        if self.hang:
            await asyncio.Event().wait()
        if self.broken:
            raise RuntimeError
        return Probe(self.service, self.ok, "ok" if self.ok else "connection refused", 0.01)


@asynccontextmanager
async def coordinator(store: FakeStore) -> AsyncIterator[tuple[Coordinator, Metrics]]:
    metrics = Metrics()
    board = Coordinator(
        store, FakeFeed(store), SystemClock(), metrics.mode, services=frozenset(Service), rules=Hysteresis()
    )
    await board.start()
    try:
        yield board, metrics
    finally:
        await board.stop()


@asynccontextmanager
async def running(body: Callable[[], Awaitable[None]]) -> AsyncIterator[asyncio.Task[None]]:
    async def run() -> None:
        await body()

    task = asyncio.create_task(run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_down_and_up_again() -> None:
    store = FakeStore()
    primary = Primary(Service.SMTP)
    async with coordinator(store) as (board, metrics):
        probing = Probing(board, {Service.SMTP: primary}, ProbeSettings(0.02, 1.0), metrics.mode)
        async with running(probing.run):
            await until(lambda: primary.asked > 2)
            assert board.mode(Service.SMTP) is Mode.NORMAL
            primary.ok = False
            await until(lambda: board.mode(Service.SMTP) is Mode.STANDBY)
            primary.ok = True
            await until(lambda: board.mode(Service.SMTP) is Mode.RECOVERY)
        assert metrics.mode.probe_seconds[Service.SMTP]._sum.get() > 0


@pytest.mark.parametrize("fault", ["hang", "broken"])
async def test_a_primary_that_hangs_is_down_and_delays_nobody(fault: str) -> None:
    store = FakeStore()
    smtp, imap = Primary(Service.SMTP), Primary(Service.IMAP)
    setattr(smtp, fault, True)
    async with coordinator(store) as (board, metrics):
        asks = {Service.SMTP: smtp, Service.IMAP: imap}
        async with running(Probing(board, asks, ProbeSettings(0.01, 0.05), metrics.mode).run):
            await until(lambda: board.mode(Service.SMTP) is Mode.STANDBY)
            await until(lambda: imap.asked > 1)
            assert board.mode(Service.IMAP) is Mode.NORMAL


async def test_a_suspicion_from_traffic_is_confirmed_before_the_interval_ends() -> None:
    store = FakeStore()
    primary = Primary(Service.SMTP)
    async with coordinator(store) as (board, metrics):
        probing = Probing(board, {Service.SMTP: primary}, ProbeSettings(3600, 1.0), metrics.mode)
        async with running(probing.run):
            await until(lambda: primary.asked == 1)
            primary.ok = False
            board.evidence(Service.SMTP, Signal.FAIL, "connection refused")
            await until(lambda: board.mode(Service.SMTP) is Mode.STANDBY)
            assert primary.asked == 2


async def test_one_worker_asks_and_another_takes_over() -> None:
    store = FakeStore()
    running_in: list[str] = []

    def worker(name: str) -> Singleton:
        async def body() -> None:
            running_in.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                running_in.remove(name)

        return Singleton(store, "probe", body, owner=name, clock=SystemClock(), ttl=0.3)

    one, two = worker("one"), worker("two")
    async with running(one.run) as first:
        await until(lambda: running_in == ["one"])
        assert one.held.is_set()
        async with running(two.run):
            await asyncio.sleep(0)
            assert running_in == ["one"]
            first.cancel()
            await until(lambda: running_in == ["two"])
            # A worker that was killed gives nothing up: its lease has to run out.
            store.leases["probe"] = ("ghost", SystemClock().now() + 0.5, 7)
            await until(lambda: running_in == [])
            assert not two.held.is_set()
            await until(lambda: running_in == ["two"])


async def test_a_holder_that_cannot_renew_stops_before_another_may_start() -> None:
    store = FakeStore()
    stopped = asyncio.Event()

    async def body() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    single = Singleton(store, "probe", body, owner="one", clock=SystemClock(), ttl=0.3)
    async with running(single.run):
        await asyncio.wait_for(single.held.wait(), PATIENCE)
        store.down = True
        await asyncio.wait_for(stopped.wait(), PATIENCE)
        assert SystemClock().now() < store.leases["probe"][1]
        store.down = False
        await asyncio.wait_for(single.held.wait(), PATIENCE)


async def test_a_body_that_fails_is_started_again() -> None:
    store = FakeStore()
    begun: list[int] = []

    async def body() -> None:
        begun.append(1)
        raise RuntimeError

    single = Singleton(store, "replay", body, owner="one", clock=SystemClock(), ttl=0.06)
    async with running(single.run):
        await until(lambda: len(begun) >= 3)
