"""Lines about connections that were turned away: once per client, reason and minute, with a count.

1. The first is said at once, the others of its minute together at the end of it.
2. No more than `most` clients are told apart; of the others only their number is said.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from relay.core.ip import neighbourhood
from relay.obs.metrics import Admission
from relay.obs.records import records

_log = records("listen")
_MINUTE = 60.0
_MOST = 1000


class TurnedAway:
    """One per port."""

    def __init__(self, listener: str, *, seconds: float = _MINUTE, most: int = _MOST) -> None:
        self._listener = listener
        self._seconds = seconds
        self._most = most
        self._since: Counter[tuple[str, Admission]] = Counter()
        """How often since the line that was written."""
        self._shown: dict[tuple[str, Admission], str] = {}
        self._others: Counter[Admission] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def note(self, address: str, reason: Admission) -> None:
        """One more."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self.finish)
        key = (neighbourhood(address), reason)
        if key in self._shown:
            self._since[key] += 1
        elif len(self._shown) < self._most:
            self._shown[key] = address
            self._say(address, reason, 1)
        else:
            self._others[reason] += 1

    def finish(self) -> None:
        """The minute, or the port, ends: say what was not said yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for key, count in self._since.items():
            self._say(self._shown[key], key[1], count)
        for reason, count in self._others.items():
            self._say(None, reason, count)
        self._since.clear()
        self._shown.clear()
        self._others.clear()

    def _say(self, client: str | None, reason: Admission, count: int) -> None:
        _log.info("turned_away", client=client, listener=self._listener, reason=reason, count=count)
