"""Remembered passwords that the primary has just refused: changed there, most likely; or its directory is ill.

An outage often begins with a primary that refuses everybody's password, and that must not cost the memory which the
outage is survived with. So a refusal is a doubt, and a login of anybody soon after it, which shows that the primary can
tell, makes it certain. Pure.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

_MOST = 10_000
_SECONDS = 60.0


class Doubt(msgspec.Struct, frozen=True):
    """Whose remembered password, and which one (`stamp` of its row)."""

    address: str
    stamp: bytes
    until: float


class Doubts:
    """Bounded: the oldest are forgotten."""

    def __init__(self) -> None:
        self._doubts: OrderedDict[str, Doubt] = OrderedDict()

    def add(self, address: str, stamp: bytes, now: float) -> None:
        """The primary refused what fits the remembered verifier."""
        self._doubts[address] = Doubt(address, stamp, now + _SECONDS)
        self._doubts.move_to_end(address)
        while len(self._doubts) > _MOST:
            self._doubts.popitem(last=False)

    def settle(self, address: str, now: float) -> list[Doubt]:
        """The primary let `address` in: that one is beyond doubt, and what it just refused of others is certain."""
        self._doubts.pop(address, None)
        if not self._doubts:
            return []
        certain = [doubt for doubt in self._doubts.values() if now < doubt.until]
        self._doubts.clear()
        return certain
