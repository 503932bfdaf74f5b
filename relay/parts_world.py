"""The way out for mail that users send, as objects of one worker: queue runner, settling of doubts, returns.

What they rest on (dnspython, httpx, dkimpy) is imported when they are built: a node that takes no submission never
needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from relay import wiring, wiring_submission
from relay.config import Config
from relay.control.singleton import Singleton
from relay.core.clock import Clock
from relay.core.errors import ConfigFault
from relay.core.mode import Mode, Service, Signal
from relay.obs.metrics import Metrics
from relay.primary.pacing import Pacer, PacingSettings
from relay.replay.destination import Trace, WorldDestination
from relay.replay.gate import always_open
from relay.replay.notice import Notices, NoticeSettings
from relay.replay.returning import LEASE, Returning, ReturningSettings
from relay.replay.runner import Runner
from relay.replay.verify import Verifier
from relay.spool.feed import Feed
from relay.spool.intake import Intake
from relay.spool.queue import Queue
from relay.spool.read import Reader
from relay.store.api import Store
from relay.store.records import ChangeKind, Route
from relay.vault.sealing import Vault

if TYPE_CHECKING:
    from relay.world.wayout import WayOut

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

_WORLD = "world"
_DOUBTS = "world.verify"

UNHURRIED = PacingSettings(soft_share=1.0, slow_seconds=float("inf"))
"""Servers of the world are not one server: that some are slow or ask for patience is no reason to spare the others."""


class AlwaysNormal:
    """A mode board for what cannot fail as a whole."""

    def mode(self, service: Service) -> Mode:
        """NORMAL."""
        del service
        return Mode.NORMAL

    def evidence(self, service: Service, signal: Signal, reason: str) -> None:
        """Of no consequence."""


class Outgoing:
    """Built once, in order; nothing here starts anything."""

    def __init__(
        self,
        config: Config,
        *,
        store: Store,
        vault: Vault,
        clock: Clock,
        metrics: Metrics,
        feed: Feed,
        queue: Queue,
        intake: Intake,
        trace: Trace,
        owner: str,
    ) -> None:
        """ConfigFault: a key or a secret cannot be read, or there is no DNS server."""
        self._config = config
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._feed = feed
        self._queue = queue
        self._intake = intake
        self._owner = owner
        self._reader = Reader(store, vault)
        self._board = AlwaysNormal()
        self.way_out = self._way_out(vault, trace)

    def background(self) -> Iterator[tuple[str, Work]]:
        """What one worker of all does, each under its own lease."""
        works = {_WORLD: self._runner().run, _DOUBTS: self._verifier().run, LEASE: self._returning().run}
        for name, work in works.items():
            yield name, Singleton(self._store, name, work, owner=self._owner, clock=self._clock).run

    def _runner(self) -> Runner:
        lanes = self._config.world.connections
        runner = Runner(
            queue=self._queue,
            reader=self._reader,
            destination=WorldDestination(self.way_out.world),
            board=self._board,
            pacer=Pacer(UNHURRIED, self._clock),
            clock=self._clock,
            settings=msgspec.structs.replace(wiring.replay(self._config, self._owner), concurrency=lanes, canaries=0),
            metrics=self._metrics.replay,
            spool_metrics=self._metrics.spool,
            gate=always_open(lanes),
        )
        self._feed.on_kind(ChangeKind.ITEM, runner.heed)
        self._feed.on_kind(ChangeKind.SETTING, runner.heed)
        return runner

    def _verifier(self) -> Verifier:
        verifier = Verifier(
            queue=self._queue,
            reader=self._reader,
            eyes=None,
            board=self._board,
            clock=self._clock,
            settings=wiring.replay(self._config, self._owner),
            metrics=self._metrics.replay,
            route=Route.WORLD,
        )
        self._feed.on_kind(ChangeKind.ITEM, verifier.heed)
        return verifier

    def _returning(self) -> Returning:
        notices = Notices(
            queue=self._queue,
            reader=self._reader,
            intake=self._intake,
            clock=self._clock,
            settings=NoticeSettings(self._config.node.hostname),
            route_of=wiring_submission.route_of_submitted(self._config),
            metrics=self._metrics.replay,
        )
        returning = Returning(queue=self._queue, notices=notices, clock=self._clock, settings=ReturningSettings())
        self._feed.on_kind(ChangeKind.ITEM, returning.heed)
        return returning

    def _way_out(self, vault: Vault, trace: Trace) -> WayOut:
        from relay import wiring_world  # noqa: PLC0415  # see above
        from relay.world.keeping import SealedSetting  # noqa: PLC0415
        from relay.world.wayout import STS_MEMORY, WayOut  # noqa: PLC0415

        keeping = SealedSetting(self._store, vault, self._clock, STS_MEMORY)
        settings = wiring_world.way_out(self._config)
        try:
            return WayOut(settings, self._clock, keeping=keeping, trace=trace, metrics=self._metrics.world)
        except OSError:
            raise ConfigFault("world.dns_servers: the system names no DNS server. Name one here") from None
