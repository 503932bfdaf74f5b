"""The record of everyday events, one line each: a message accepted, an attempt at replay, a login refused.

    log = records("inbound")
    log.info("message", conn=..., client=..., item=..., result="spooled", code=250)

The lines are those of `logs`: the same head, the same keys, the same rules for what may be said (invariant 1 there),
the same outlet. Only the way is shorter, because one is written for every message: no processors, no context (what
belongs into a line is named in the call), no thinning. A value of None is left out.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from relay.obs import logs

Value: TypeAlias = str | int | float | None
_encode = msgspec.json.Encoder().encode


class Records:
    """Says lines of one part of the relay, at level info."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def info(self, event: str, **values: Value) -> None:
        """One line; never raises. Nothing before `logs.configure`."""
        wiring = logs.wiring()
        if wiring is None or not wiring.info:
            return
        if wiring.console:
            readable = logs.logger(self._name)
            readable.info(event, **{key: said for key, said in values.items() if said is not None})
            return
        if wiring.count is not None:
            wiring.count("info")
        line: dict[str, object] = {
            "at": logs.timestamp(),
            "level": "info",
            "logger": self._name,
            "event": logs.admitted("event", event),
            **wiring.constants,
        }
        for key, value in values.items():
            if value is not None:
                line[key] = value if isinstance(value, (int, float)) else logs.admitted(key, value)
        wiring.outlet.put(_encode(line).decode())


def records(name: str) -> Records:
    """For one part of the relay; cheap, may be kept at module level."""
    return Records(name)
