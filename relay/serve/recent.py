"""What was opened a moment ago, in plain, so that it is not unsealed again: in memory only, and no more than so much.

A message that arrives is asked for by all of its user's devices within seconds, and large parts come in many pieces.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from relay.core.ids import ItemId

V = TypeVar("V")
_OVERHEAD = 200
"""Octets that an entry costs beside what it holds, about."""


class Recent(Generic[V]):
    """Values of items; those not asked for the longest go first."""

    def __init__(self, octets: int) -> None:
        self._room = octets
        self._held: OrderedDict[ItemId, tuple[V, int]] = OrderedDict()

    def get(self, item: ItemId) -> V | None:
        """None where it is not there (any more)."""
        found = self._held.get(item)
        if found is None:
            return None
        self._held.move_to_end(item)
        return found[0]

    def put(self, item: ItemId, value: V, octets: int) -> None:
        """Keep it; `octets` is its size."""
        known = self._held.pop(item, None)
        if known is not None:
            self._room += known[1]
        octets += _OVERHEAD
        self._held[item] = (value, octets)
        self._room -= octets
        while self._room < 0:
            _, (_, freed) = self._held.popitem(last=False)
            self._room += freed
