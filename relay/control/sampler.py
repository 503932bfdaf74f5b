"""How the node is, now: one snapshot, read from the store and the machine, for metrics, health checks and status.

1. Nothing here is about a person: no address, subject or folder name.
2. However many ask, the store is asked at most once per `fresh` seconds, and answers or fails within `deadline`.
3. `ready` is "can durably accept mail": the store flushes a write, the disk has room, the listeners are bound. Whether
   the primary is up does not matter; that is what the relay is for.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from relay.control.coordinator import HISTORY, Coordinator, Transition, decode_history
from relay.control.disk import Disk, disk
from relay.core.clock import Clock
from relay.core.item import OWED, ItemState
from relay.core.mode import Mode, Override, Service
from relay.obs import states
from relay.obs.bounds import AGES, SIZES
from relay.obs.metrics import Metrics
from relay.obs.states import Metric
from relay.spool.replaying import (
    CANARIES,
    GATE,
    SENT_AGAIN,
    SentAgain,
    decode_canaries,
    decode_gate,
    decode_sent_again,
)
from relay.store.api import Store, StoreUnavailable
from relay.store.records import Histogram, Route, RouteCount


class SamplerSettings(msgspec.Struct, frozen=True):
    """Who we are, and how patient."""

    node: str
    version: str
    data_dir: Path
    worker: int = 0
    """Number of this worker."""
    workers: int = 1
    retention: float = 30 * 86_400.0
    """Seconds for which mail waits before it is held."""
    paused: str = "replay.paused"
    """Name of the setting that is not empty while the operator has paused replay."""
    fresh: float = 1.0
    deadline: float = 2.0


class ServiceStatus(msgspec.Struct, frozen=True):
    """One service of the primary."""

    mode: Mode
    since: float
    reason: str
    override: Override
    configured: bool
    ever_reached: bool


class StateStatus(msgspec.Struct, frozen=True):
    """Messages in one state."""

    items: int
    bytes: int
    oldest: float | None
    """Unix seconds."""


class CanaryStatus(msgspec.Struct, frozen=True):
    """The messages that last went ahead of the queue."""

    at: float
    """Unix seconds."""
    delivered: int
    """Taken by the primary."""
    seen: int
    """Of these, seen in its mailboxes."""
    looked_for: bool
    """Whether its mailboxes can be looked into."""
    over: bool
    """What is not seen by now is not looked for any more."""


class ReplayStatus(msgspec.Struct, frozen=True):
    """How far the queue may go to the primary, and what it waits for."""

    gate: str
    """`canary`, `open`, `closed` (the mode or errors keep the queue) or `paused` (the operator does)."""
    since: float | None
    """Unix seconds; None where replay has not said anything yet."""
    trips: int
    """How often errors closed the gate since the last long run of success."""
    resting: bool
    """Errors closed it, and it has not opened again yet."""
    next_try: float | None
    """Unix seconds: when the gate lets the next message out, or the first of those that wait is due. None: nothing
    waits, or nobody knows."""


class Readiness(msgspec.Struct, frozen=True):
    """What `ready` consists of."""

    store: bool
    disk: bool
    listeners: bool

    @property
    def ready(self) -> bool:
        """All of them."""
        return self.store and self.disk and self.listeners


class Status(msgspec.Struct, frozen=True):
    """The answer of /api/v1/status."""

    node: str
    version: str
    at: float
    started: float
    workers: int
    ready: bool
    readiness: Readiness
    modes: dict[Service, ServiceStatus]
    queue: dict[ItemState, StateStatus] | None
    """None while the store does not answer."""
    routes: dict[Route, int] | None
    """What is owed, by where it goes; None the same."""
    waiting: dict[Route, RouteCount] | None
    """Of these, what goes by itself, since when and when it is tried again; None the same."""
    disk: Disk | None
    certificate_expires: float | None
    replay_paused: bool
    replay: ReplayStatus | None
    """None while the store does not answer."""
    canaries: CanaryStatus | None
    """None before the first recovery."""
    sent_again: SentAgain
    """Messages that may have arrived twice."""
    events: list[Transition]
    """The last changes of mode, oldest first."""


class Gate(Protocol):
    """`spool.pressure.Pressure`, as far as it is needed here."""

    def lacks(self, size: int | None) -> str | None:
        """What a message would be short of."""
        ...


class Sampler:
    """Takes snapshots."""

    def __init__(
        self,
        store: Store,
        board: Coordinator,
        pressure: Gate,
        clock: Clock,
        settings: SamplerSettings,
        *,
        listening: Callable[[], bool],
        certificate_expires: Callable[[], float | None],
    ) -> None:
        self._store = store
        self._board = board
        self._pressure = pressure
        self._clock = clock
        self._settings = settings
        self._listening = listening
        self._certificate_expires = certificate_expires
        self._started = clock.now()
        self._lock = asyncio.Lock()
        self._readiness: tuple[float, Readiness] | None = None
        self._status: tuple[float, Status] | None = None
        self._histograms: tuple[float, tuple[Histogram, Histogram]] | None = None

    async def readiness(self) -> Readiness:
        """Whether mail can be durably accepted now (invariant 3)."""
        async with self._lock:
            known = self._readiness
            if known is None or self._old(known[0]):
                known = (self._clock.monotonic(), await self._ask_readiness())
                self._readiness = known
            return known[1]

    async def status(self) -> Status:
        """Everything."""
        readiness = await self.readiness()
        async with self._lock:
            known = self._status
            if known is None or self._old(known[0]) or known[1].readiness != readiness:
                known = (self._clock.monotonic(), await self._ask_status(readiness))
                self._status = known
            return known[1]

    async def page(self, metrics: Metrics) -> bytes:
        """The page that Prometheus scrapes; always answers, with what could be had."""
        status = await self.status()
        async with self._lock:
            known = self._histograms
            if known is None or self._old(known[0]):
                histograms = await self._ask_histograms()
                known = self._histograms = (self._clock.monotonic(), histograms) if histograms else None
        return metrics.exposition([*self._families(status), *_histogram_families(known[1] if known else None)])

    def _old(self, asked: float) -> bool:
        return self._clock.monotonic() - asked >= self._settings.fresh

    async def _ask_readiness(self) -> Readiness:
        now = self._clock.now()
        try:
            async with asyncio.timeout(self._settings.deadline):
                await self._store.put_setting(f"ready.{self._settings.worker}", str(int(now)).encode(), now=now)
            store = True
        except (StoreUnavailable, TimeoutError):
            store = False
        return Readiness(store, self._pressure.lacks(None) is None, self._listening())

    async def _ask_status(self, readiness: Readiness) -> Status:
        queue: dict[ItemState, StateStatus] | None = None
        routes: dict[Route, RouteCount] | None = None
        replay: ReplayStatus | None = None
        events: list[Transition] = []
        paused, canaries, sent_again = False, None, SentAgain()
        try:
            async with asyncio.timeout(self._settings.deadline):
                counts = await self._store.counts()
                queue = {s: StateStatus(c.items, c.size, c.oldest) for s, c in counts.items()}
                routes = await self._store.routes()
                events = decode_history(await self._store.setting(HISTORY))
                paused = bool(await self._store.setting(self._settings.paused))
                replay = await replay_status(self._store, routes[Route.PRIMARY], paused=paused)
                canaries = await canary_status(self._store)
                sent_again = decode_sent_again(await self._store.setting(SENT_AGAIN))
        except (StoreUnavailable, TimeoutError):
            readiness = Readiness(False, readiness.disk, readiness.listeners)
        try:
            room = disk(self._settings.data_dir)
        except OSError:
            room = None
        return Status(
            node=self._settings.node,
            version=self._settings.version,
            at=self._clock.now(),
            started=self._started,
            workers=self._settings.workers,
            ready=readiness.ready,
            readiness=readiness,
            modes={service: self._service(service) for service in Service},
            queue=queue,
            routes=None if routes is None else {route: said.owed for route, said in routes.items()},
            waiting=routes,
            disk=room,
            certificate_expires=self._certificate_expires(),
            replay_paused=paused,
            replay=replay,
            canaries=canaries,
            sent_again=sent_again,
            events=events,
        )

    def _service(self, service: Service) -> ServiceStatus:
        state = self._board.state(service)
        return ServiceStatus(
            mode=self._board.mode(service),
            since=state.since,
            reason=state.reason,
            override=self._board.override(service),
            configured=self._board.has(service),
            ever_reached=self._board.ever_reached(service),
        )

    async def _ask_histograms(self) -> tuple[Histogram, Histogram] | None:
        try:
            async with asyncio.timeout(self._settings.deadline):
                return await self._store.histograms(
                    states=tuple(OWED), now=self._clock.now(), age_bounds=AGES, size_bounds=SIZES
                )
        except (StoreUnavailable, TimeoutError):
            return None

    def _families(self, status: Status) -> Iterable[Metric]:
        modes = status.modes
        yield from states.node_states(
            version=status.version,
            python=platform.python_version(),
            ready=status.ready,
            started=status.started,
            workers=status.workers,
        )
        yield from states.mode_states({service: said.mode for service, said in modes.items() if said.configured})
        yield from states.mode_details(
            {service: said.since for service, said in modes.items()},
            {service: said.override for service, said in modes.items()},
            {service: said.configured and not said.ever_reached for service, said in modes.items()},
        )
        if status.queue is not None:
            yield from states.queue_states(
                {state: said.items for state, said in status.queue.items()},
                {state: said.bytes for state, said in status.queue.items()},
                {
                    state: max(0.0, status.at - said.oldest)
                    for state, said in status.queue.items()
                    if said.oldest is not None
                },
                retention=self._settings.retention,
            )
        if status.waiting is not None:
            yield from states.route_states(
                {route: said.waiting for route, said in status.waiting.items()},
                {
                    route: max(0.0, status.at - said.oldest)
                    for route, said in status.waiting.items()
                    if said.oldest is not None
                },
            )
        if status.disk is not None:
            room = status.disk
            yield from states.disk_states(room.free_bytes, room.size_bytes, room.free_inodes, room.size_inodes)
        expires = status.certificate_expires
        yield from states.certificate_states(None if expires is None else expires - status.at)


async def replay_status(store: Store, to_primary: RouteCount, *, paused: bool) -> ReplayStatus:
    """What the worker that replays has said of its gate. StoreUnavailable."""
    seen = decode_gate(await store.setting(GATE))
    if seen is None:
        return ReplayStatus("paused" if paused else "closed", None, 0, resting=False, next_try=to_primary.next_attempt)
    resting = seen.state == "closed" and seen.until is not None
    return ReplayStatus(
        "paused" if paused else seen.state,
        seen.at,
        seen.trips,
        resting=resting,
        next_try=seen.until if resting else to_primary.next_attempt,
    )


async def canary_status(store: Store) -> CanaryStatus | None:
    """What became of the last canaries. StoreUnavailable."""
    said = decode_canaries(await store.setting(CANARIES))
    if said is None:
        return None
    rows = [await store.item(item) for item in said.items]
    seen = sum(row is not None and row.state is ItemState.VERIFIED for row in rows)
    return CanaryStatus(said.at, len(said.items), seen, said.looked_for, said.over)


def _histogram_families(known: tuple[Histogram, Histogram] | None) -> Iterable[Metric]:
    if known is None:
        return ()
    ages, sizes = known
    return states.queue_histograms((AGES, ages.counts, ages.total), (SIZES, sizes.counts, sizes.total))
