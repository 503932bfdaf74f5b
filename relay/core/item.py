"""Life of a spool item: one table. The store enforces the same table in SQL (it is generated from here).

```
accept -> PENDING ------------------------------.      INTENT: an attempt is written down, its result not
accept -> INTENT (cut-through)                   v
append -> STORED -reconcile-> DELIVERED                (put into a mailbox by its user: never sent by SMTP)
          STORED -no mailbox shows it any more-> PURGED
PENDING -> INTENT -2xx-> DELIVERED -> VERIFIED -> PURGED
           INTENT -4xx, no contact-> PENDING            (another attempt at `next_attempt_at`)
           INTENT -5xx-> HELD                           (replay: the operator decides)
           INTENT -5xx-> REFUSED                        (cut-through: the sender was told; nothing is owed)
           INTENT -reply lost-> UNKNOWN -found-> DELIVERED, -absent-> PENDING
any live state -damaged-> QUARANTINED;   HELD | QUARANTINED -operator-> PENDING | RETURNED
                                         QUARANTINED -operator-> STORED, for what was STORED before
PENDING | UNKNOWN -retention, operator told-> HELD;  HELD -operator or policy-> RETURNED
                                                                    (its DSN was made durable first)
```
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class ItemState(StrEnum):
    """Where an accepted message is. Promise 2: always exactly one of these."""

    PENDING = "pending"
    """Queued; waits for `next_attempt_at`."""
    STORED = "stored"
    """Put into a mailbox by its user (APPEND); owed to that mailbox, not to a queue. Reconcile gives it away."""
    INTENT = "intent"
    """A delivery attempt is under way; its outcome is not recorded yet."""
    UNKNOWN = "unknown"
    """The primary's reply to the final dot was lost; settled by looking into the mailbox."""
    DELIVERED = "delivered"
    """The primary said 2xx and that was recorded; the copy stays as the shadow copy."""
    VERIFIED = "verified"
    """Seen in the primary's mailbox after delivery."""
    HELD = "held"
    """Refused for good at replay, or put on hold; the operator decides."""
    QUARANTINED = "quarantined"
    """Stored bytes did not verify; the operator was told."""
    RETURNED = "returned"
    """Sent back to its sender by a DSN."""
    REFUSED = "refused"
    """The primary said 5xx while the sender waited, and the sender got that 5xx: never accepted."""
    PURGED = "purged"
    """Body deleted after retention; the ledger row stays."""


_S = ItemState

LEGAL: MappingProxyType[ItemState, frozenset[ItemState]] = MappingProxyType(
    {
        _S.PENDING: frozenset({_S.INTENT, _S.HELD, _S.QUARANTINED}),
        _S.STORED: frozenset({_S.DELIVERED, _S.QUARANTINED, _S.PURGED}),
        _S.INTENT: frozenset({_S.PENDING, _S.UNKNOWN, _S.DELIVERED, _S.HELD, _S.REFUSED, _S.QUARANTINED}),
        _S.UNKNOWN: frozenset({_S.DELIVERED, _S.PENDING, _S.HELD, _S.QUARANTINED}),
        _S.DELIVERED: frozenset({_S.VERIFIED, _S.PURGED, _S.QUARANTINED}),
        _S.VERIFIED: frozenset({_S.PURGED, _S.QUARANTINED}),
        _S.HELD: frozenset({_S.PENDING, _S.RETURNED, _S.QUARANTINED}),
        _S.QUARANTINED: frozenset({_S.PENDING, _S.STORED, _S.RETURNED}),
        _S.RETURNED: frozenset({_S.PURGED}),
        _S.REFUSED: frozenset({_S.PURGED}),
        _S.PURGED: frozenset(),
    }
)

OWED = frozenset({_S.PENDING, _S.INTENT, _S.UNKNOWN, _S.HELD, _S.QUARANTINED})
"""Accepted from a sender and not yet given to anyone: must never be deleted. (A STORED item is its mailbox's: it is
kept for as long as one shows it, and no operator's queue shows it.)"""

QUEUED = frozenset({_S.PENDING, _S.INTENT, _S.UNKNOWN})
"""What replay works on by itself."""

BIRTH = frozenset({_S.PENDING, _S.INTENT, _S.STORED})
"""States in which an item begins: accepted, or appended."""


class RecipientState(StrEnum):
    """Outcome for one recipient of an item."""

    WAITING = "waiting"
    """Still owed."""
    UNKNOWN = "unknown"
    """Was in a transaction whose final reply was lost."""
    DELIVERED = "delivered"
    REFUSED = "refused"
    """Permanent refusal; the item is HELD until the operator decides."""
    RETURNED = "returned"


def legal(old: ItemState, new: ItemState) -> bool:
    """Whether the table allows the step."""
    return new in LEGAL[old]
