"""Words of the contract that every engine needs in the same way."""

from __future__ import annotations

from relay.core.errors import LeaseLost
from relay.core.item import ItemState, RecipientState
from relay.store.api import IllegalTransition
from relay.store.records import Lease, NewItem

_S = ItemState

FINISHED = frozenset({_S.DELIVERED, _S.VERIFIED, _S.RETURNED, _S.REFUSED})
"""What `purge` may take."""

SHOWN_IN = frozenset({_S.PENDING, _S.UNKNOWN, _S.HELD})
"""Entering one of these for the first time shows the message in its mailboxes (contract 9)."""

OPEN_RECIPIENT = frozenset({RecipientState.WAITING, RecipientState.UNKNOWN, RecipientState.REFUSED})
"""What RETURNED turns into RETURNED: everyone who did not get the message."""

_OWN_CALL = frozenset({_S.INTENT, _S.PURGED})
"""States with a call of their own: `intend` needs a lease, `purge` drops the body."""


def check_birth(new: NewItem) -> None:
    """IllegalTransition or ValueError for an item that cannot be accepted as it is."""
    if new.state not in (_S.PENDING, _S.INTENT):
        raise IllegalTransition(f"an item is not born {new.state}")
    if new.state is _S.INTENT and new.owner is None:
        raise ValueError("an INTENT needs an owner: nobody else could ever settle it")
    if new.chunk_count < max(1, len(new.chunks)):
        raise ValueError("chunk_count counts all chunks, and there is at least one")


def check_target(state: ItemState) -> None:
    """IllegalTransition for a state that `settle` and `move` must not set."""
    if state in _OWN_CALL:
        raise IllegalTransition(f"{state} is not entered this way")


def lease_lost(lease: Lease) -> LeaseLost:
    """The error for a call with an old token."""
    return LeaseLost(f"lease {lease.token} on {lease.item} is not in force")
