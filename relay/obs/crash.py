"""Named moments at which a drill may kill this process, to prove that nothing is lost there.

    RELAY_CRASH=spool.accept.committed relay run      # SIGKILL at the first passage of that point
    RELAY_CRASH=spool.accept.committed:17 relay run   # at the 17th

`point` does nothing unless the variable was set when the process started; the choice is read once, so that production
pays one comparison. SIGKILL and not an exception: no handler, no `finally`, no flush, as in a power cut.

`POINTS` is the list that the drill walks through; a test holds it equal to the names used in the code.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from types import MappingProxyType

VARIABLE = "RELAY_CRASH"

POINTS: Mapping[str, str] = MappingProxyType(
    {
        "spool.accept.before_store": "the whole message was received; nothing of it is promised",
        "spool.accept.after_store": "the message is durable; its sender has not been told",
        "store.accept.before_commit": "accepts are written in an open transaction; a crash undoes them",
        "store.accept.after_commit": "accepts are on disk; their callers have not been answered",
        "store.intend.before_commit": "intents are written in an open transaction; a crash undoes them",
        "store.intend.after_commit": "intents are on disk; no byte of their messages has been sent",
        "store.settle.before_commit": "replies came and are written in an open transaction; a crash forgets them",
        "store.settle.after_commit": "outcomes are on disk; their callers have not been answered",
        "replay.before_dot": "the intent is durable; the final dot has not been sent",
        "primary.after_dot": "the final dot is sent, by replay or cut-through; nobody has heard the reply",
        "replay.before_settle": "the primary has replied; nothing of its reply is written down",
        "replay.after_settle": "the outcome is durable; the item is still in the runner's hands",
    }
)
"""Name -> what has and has not happened at that moment."""


class Trigger:
    """Counts the passages of one point and acts at the `nth`."""

    __slots__ = ("_left", "name")

    def __init__(self, name: str, nth: int) -> None:
        self.name = name
        self._left = nth

    @classmethod
    def parse(cls, value: str) -> Trigger:
        """`name` or `name:nth`; ValueError when it is neither or no such point exists."""
        name, colon, nth = value.partition(":")
        if name not in POINTS:
            raise ValueError(f"{VARIABLE}: no crash point is called {name!r}; there are: {', '.join(sorted(POINTS))}")
        if colon and not (nth.isascii() and nth.isdigit() and int(nth) > 0):
            raise ValueError(f"{VARIABLE}: {nth!r} is not a count; write {name}:3 for the third passage")
        return cls(name, int(nth) if colon else 1)

    def due(self, name: str) -> bool:
        """Whether this passage is the one."""
        if name != self.name:
            return False
        self._left -= 1
        return self._left == 0


def _arm(value: str | None) -> Callable[[str], None]:
    if value is None:
        return _pass

    trigger = Trigger.parse(value)

    def armed(name: str) -> None:
        if trigger.due(name):
            os.kill(os.getpid(), signal.SIGKILL)

    return armed


def _pass(name: str) -> None:
    """Production: nothing."""


# Read at import: a crash point must not need an object handed down to the innermost write, and a process is armed
# for its whole life or not at all.
point: Callable[[str], None] = _arm(os.environ.get(VARIABLE))
"""`point("subsystem.moment")`: where the drill may kill this process."""
