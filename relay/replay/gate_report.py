"""Tells the other workers, and whoever asks for the status, how far the gate is open: replay runs in one worker of all.

1. Written when something of it changes, never in between; an unavailable store is no reason to stop, the next change or
   the next beginning writes it.
"""

from __future__ import annotations

from relay.core.clock import Clock
from relay.replay.gate import Gate
from relay.spool.replaying import GATE, GateSeen, encode
from relay.store.api import Store, StoreUnavailable


class GateReport:
    """One per runner."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._told: tuple[str, int, bool] | None = None

    async def tell(self, shown: str, gate: Gate) -> None:
        """`shown` as in `ReplayMetrics.gate`; nothing of a gate that is not shown."""
        opens_in = gate.opens_in(self._clock.monotonic())
        now_so = (shown, gate.trips, opens_in is not None)
        if not shown or now_so == self._told:
            return
        now = self._clock.now()
        seen = GateSeen(shown, now, gate.trips, None if opens_in is None else now + opens_in)
        try:
            await self._store.put_setting(GATE, encode(seen), now=now)
        except StoreUnavailable:
            return
        self._told = now_so
