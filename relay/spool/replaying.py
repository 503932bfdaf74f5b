"""What replay leaves in the store for others to read: its canaries, its gate, and what it had to send again.

Three settings, small JSON; they name items, never people. Whoever does not understand a value takes it for absent.
"""

from __future__ import annotations

import msgspec

from relay.core.ids import ItemId

CANARIES = "replay.canaries"
"""Setting: `Canaries` of the last time that the gate opened, or tries to."""
SENT_AGAIN = "replay.sent_again"
"""Setting: `SentAgain`."""
GATE = "replay.gate"
"""Setting: `GateSeen`."""


class Canaries(msgspec.Struct, frozen=True):
    """The messages that went ahead of the queue and were taken by the primary."""

    at: float
    """Unix seconds of the first one."""
    items: tuple[ItemId, ...] = ()
    looked_for: bool = False
    """Whether the primary's mailboxes can be looked into; which items are VERIFIED says what was seen."""
    over: bool = False
    """Those not seen by now are not looked for any more."""


class SentAgain(msgspec.Struct, frozen=True):
    """Messages sent again without proof that the first attempt had failed: they may have arrived twice."""

    count: int = 0
    last: float = 0.0
    """Unix seconds."""


class GateSeen(msgspec.Struct, frozen=True):
    """How far the gate to the primary is open."""

    state: str
    """`canary`, `open`, `closed` or `paused`; closed also while the mode keeps the queue."""
    at: float
    """Unix seconds since when."""
    trips: int = 0
    """How often errors closed it since the last long run of success."""
    until: float | None = None
    """Where errors closed it: when it lets the next message out."""


def encode(value: Canaries | SentAgain | GateSeen) -> bytes:
    """The value of a setting."""
    return msgspec.json.encode(value)


def decode_canaries(value: bytes | None) -> Canaries | None:
    """None where there are none."""
    try:
        return msgspec.json.decode(value, type=Canaries) if value else None
    except msgspec.MsgspecError:
        return None


def decode_sent_again(value: bytes | None) -> SentAgain:
    """Zero where nothing readable is there."""
    try:
        return msgspec.json.decode(value, type=SentAgain) if value else SentAgain()
    except msgspec.MsgspecError:
        return SentAgain()


def decode_gate(value: bytes | None) -> GateSeen | None:
    """None where replay has never run."""
    try:
        return msgspec.json.decode(value, type=GateSeen) if value else None
    except msgspec.MsgspecError:
        return None
