"""Asks the primary, service by service, whether it does what it is for; run by one worker at a time.

1. A probe ends within its deadline, whatever the primary does; one that does not is a failure.
2. A slow answer of one service does not delay the question to another.
3. The pauses follow the mode: a suspicion is confirmed at once, a recovery after half an interval.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from relay.control.coordinator import Coordinator
from relay.core.mode import Mode, ModeState, Service, Signal
from relay.obs.logs import logger
from relay.obs.metrics import ModeMetrics
from relay.primary.health import Probe

Ask = Callable[[], Awaitable[Probe]]
_CONFIRM_SECONDS = 0.1
_GRACE = 1.5
"""A probe bounds itself by the timeout; this factor of it bounds the probe."""


class ProbeSettings(msgspec.Struct, frozen=True):
    """Seconds."""

    interval: float = 2.0
    timeout: float = 3.0


class Probing:
    """Probes until cancelled; see `Singleton`."""

    def __init__(
        self, coordinator: Coordinator, asks: Mapping[Service, Ask], settings: ProbeSettings, metrics: ModeMetrics
    ) -> None:
        self._coordinator = coordinator
        self._asks = dict(asks)
        self._settings = settings
        self._metrics = metrics
        self._log = logger("relay.control")

    async def run(self) -> None:
        """All services, side by side."""
        async with asyncio.TaskGroup() as group:
            for service, ask in self._asks.items():
                group.create_task(self._keep_asking(service, ask), name=f"probe-{service}")

    async def _keep_asking(self, service: Service, ask: Ask) -> None:
        suspected = asyncio.Event()

        def on_mode(changed: Service, _old: Mode, new: Mode) -> None:
            if changed is service and new is Mode.SUSPECT:
                suspected.set()

        end = self._coordinator.watch(on_mode)
        try:
            while True:
                probe = await self._ask(service, ask)
                self._metrics.probe_seconds[service].observe(probe.seconds)
                self._coordinator.probed(service, Signal.OK if probe.ok else Signal.FAIL, probe.reason)
                suspected.clear()  # by this very probe; what matters is live traffic that suspects during the pause
                pause = self._pause(self._coordinator.state(service))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await suspected.wait()
        finally:
            end()

    async def _ask(self, service: Service, ask: Ask) -> Probe:
        limit = self._settings.timeout * _GRACE
        try:
            async with asyncio.timeout(limit):
                return await ask()
        except TimeoutError:
            return Probe(service, False, "server did not answer in time", limit)
        except Exception as error:  # a probe that fails in a way of its own must not end all probing
            self._log.exception("probe_failed", service=service, exc_info=error)
            return Probe(service, False, "probe failed", 0.0)

    def _pause(self, state: ModeState) -> float:
        interval = self._settings.interval
        if state.mode is Mode.SUSPECT:
            return min(_CONFIRM_SECONDS, interval)
        if state.mode is Mode.STANDBY and state.streak:
            return interval / 2
        return interval
