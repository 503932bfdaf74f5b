"""What was opened a moment ago, in plain, so that it is not unsealed again: in memory only, and no more than so much.

A message that arrives is asked for by all of its user's devices within seconds, and large parts come in many pieces.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
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

    def split(self, items: Iterable[ItemId]) -> tuple[dict[ItemId, V], list[ItemId]]:
        """What is there, and what is not (any more)."""
        held, move = self._held, self._held.move_to_end
        found: dict[ItemId, V] = {}
        missing: list[ItemId] = []
        for item in items:
            known = held.get(item)
            if known is None:
                missing.append(item)
            else:
                move(item)
                found[item] = known[0]
        return found, missing

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
