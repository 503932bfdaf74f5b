"""How many connections there are, in all and per address (RFC 5321 7.8: resources are protected)."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from relay.core.ip import neighbourhood
from relay.listen.settings import Crowd

Entry = Literal["accepted", "too_many", "too_many_from_address"]
"""What the gate says."""


class Gate:
    """Counts; one per protocol and worker. What was entered must be left."""

    def __init__(self, limits: Crowd) -> None:
        self.limits = limits
        self.open = 0
        self._by_address: Counter[str] = Counter()

    @property
    def crowded(self) -> bool:
        """More than three quarters are taken: patience becomes short."""
        return self.open * 4 > self.limits.connections * 3

    def enter(self, address: str) -> Entry:
        """Count a connection in, unless there are too many."""
        key = neighbourhood(address)
        if self.open >= self.limits.connections:
            return "too_many"
        if self._by_address[key] >= self.limits.connections_per_address:
            return "too_many_from_address"
        self.open += 1
        self._by_address[key] += 1
        return "accepted"

    def leave(self, address: str) -> None:
        """Count it out."""
        key = neighbourhood(address)
        self.open -= 1
        self._by_address[key] -= 1
        if self._by_address[key] <= 0:
            del self._by_address[key]
