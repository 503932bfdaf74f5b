"""Modes: which arrows are open, per service of the primary. Pure: evidence in, mode out.

```
NORMAL --a failure--> SUSPECT --`failures` in a row--> STANDBY --`successes` probes--> RECOVERY --drained--> NORMAL
          ^----a success----'                             ^------------a failure-----------'
```

NORMAL    the primary is used and believed.
SUSPECT   something failed; new work still tries the primary, with the same deadline.
STANDBY   the primary is down: nothing is sent to it but probes.
RECOVERY  probes succeed again: replay feeds it (canaries first); cut-through and pass-through wait for the queue (SMTP)
          or open at once (the others have nothing to drain: they go straight to NORMAL).
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

import msgspec


class Service(StrEnum):
    """What can fail alone (some outages are authentication only)."""

    SMTP = "smtp"
    IMAP = "imap"
    LOGIN = "login"
    SUBMISSION = "submission"


class Mode(StrEnum):
    """How far the primary's service is trusted."""

    NORMAL = "normal"
    SUSPECT = "suspect"
    STANDBY = "standby"
    RECOVERY = "recovery"


class Override(StrEnum):
    """The operator's hand: `relay mode auto|standby|normal`."""

    AUTO = "auto"
    STANDBY = "standby"
    NORMAL = "normal"


class Signal(StrEnum):
    """One piece of evidence about a service."""

    OK = "ok"
    """It answered as it should within the deadline."""
    FAIL = "fail"
    """Refused, hung, broke off or answered 421 at greeting."""
    DRAINED = "drained"
    """Replay has nothing left that could go now."""


class ModeState(msgspec.Struct, frozen=True):
    """What is kept across restarts for one service."""

    mode: Mode = Mode.NORMAL
    streak: int = 0
    """Successive FAILs (SUSPECT) or OK probes (STANDBY)."""
    doubts: int = 0
    """Failures of live traffic since it last went well. A probe does not take them back: a primary that greets and then
    hangs at the final dot answers every probe."""
    since: float = 0.0
    """Unix seconds of the last change of mode."""
    reason: str = ""
    """Bland text of the last evidence that changed the mode."""


class Hysteresis(msgspec.Struct, frozen=True):
    """How much evidence a change of mode needs."""

    failures: int = 2
    successes: int = 2


USES_PRIMARY: MappingProxyType[Mode, bool] = MappingProxyType(
    {Mode.NORMAL: True, Mode.SUSPECT: True, Mode.STANDBY: False, Mode.RECOVERY: False}
)
"""Whether live traffic (cut-through, pass-through) is tried on the primary."""

REPLAYS: MappingProxyType[Mode, bool] = MappingProxyType(
    {Mode.NORMAL: True, Mode.SUSPECT: False, Mode.STANDBY: False, Mode.RECOVERY: True}
)
"""Whether the queue may be replayed."""


def step(
    state: ModeState,
    signal: Signal,
    *,
    rules: Hysteresis,
    drains: bool,
    now: float,
    reason: str = "",
    live: bool = False,
) -> ModeState:
    """The mode after one piece of evidence.

    `drains`: the service has a queue to empty (SMTP). `live`: the evidence is of real traffic, not a probe's.
    """
    mode, streak, doubts = state.mode, state.streak, state.doubts
    if live and signal is not Signal.DRAINED:
        doubts = doubts + 1 if signal is Signal.FAIL else 0
    if signal is Signal.FAIL:
        if mode in (Mode.NORMAL, Mode.SUSPECT):
            streak += 1
            mode = Mode.STANDBY if max(streak, doubts) >= rules.failures else Mode.SUSPECT
        else:
            mode = Mode.STANDBY
        if mode is Mode.STANDBY:
            streak = doubts = 0
    elif signal is Signal.OK:
        if mode is Mode.STANDBY:
            streak += 1
            if streak >= rules.successes:
                mode, streak = (Mode.RECOVERY if drains else Mode.NORMAL), 0
        elif mode is Mode.SUSPECT:
            mode, streak = Mode.NORMAL, 0
    elif mode is Mode.RECOVERY:
        mode, streak = Mode.NORMAL, 0
    if mode is not state.mode:
        return ModeState(mode, streak, doubts, now, reason)
    if (streak, doubts) == (state.streak, state.doubts):
        return state
    return ModeState(mode, streak, doubts, state.since, state.reason)


class ModeBoard(Protocol):
    """What everyone else sees of `control`: read the mode, hand in evidence. Never blocks."""

    def mode(self, service: Service) -> Mode:
        """The mode in force, the operator's override included."""
        ...

    def evidence(self, service: Service, signal: Signal, reason: str) -> None:
        """Passive evidence from live traffic; `reason` is bland and holds no address."""
        ...
