"""Words of the contract that every engine needs in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from relay.core.errors import LeaseLost
from relay.core.item import ItemState, RecipientState
from relay.store.api import IllegalTransition
from relay.store.mailbox_api import OverQuota
from relay.store.mailbox_records import FolderChange, Quota, RenameFolder, Usage
from relay.store.records import Lease, NewItem, Route

_S = ItemState

FINISHED = frozenset({_S.DELIVERED, _S.VERIFIED, _S.RETURNED, _S.REFUSED, _S.STORED})
"""What `purge` may take; STORED only once no mailbox shows it (contract 17)."""

SHOWN_IN = frozenset({_S.PENDING, _S.UNKNOWN, _S.HELD})
"""Entering one of these for the first time shows the message in its mailboxes (contract 9)."""

OPEN_RECIPIENT = frozenset({RecipientState.WAITING, RecipientState.UNKNOWN, RecipientState.REFUSED})
"""What RETURNED turns into RETURNED: everyone who did not get the message."""

_OWN_CALL = frozenset({_S.INTENT, _S.PURGED})
"""States with a call of their own: `intend` needs a lease, `purge` drops the body."""

_HIGHEST_FROM_CLOCK = 0x7FFF_0000
"""Below 2^31 for clients that keep a UIDVALIDITY signed, with room above it to grow."""


def check_birth(new: NewItem) -> None:
    """IllegalTransition or ValueError for an item that cannot be accepted as it is."""
    if new.state not in (_S.PENDING, _S.INTENT) or new.route is Route.MAILBOX:
        raise IllegalTransition(f"an item is not accepted {new.state} for {new.route}")
    if new.state is _S.INTENT and new.owner is None:
        raise ValueError("an INTENT needs an owner: nobody else could ever settle it")
    _check_chunks(new)


def check_appended(new: NewItem) -> None:
    """ValueError for an item that is not a user's own."""
    if new.state is not _S.STORED or new.route is not Route.MAILBOX:
        raise ValueError("what is appended is STORED and stays in mailboxes")
    if new.recipients or new.dedup is not None or new.owner is not None:
        raise ValueError("what is appended has no recipients, no second copy and no lease")
    _check_chunks(new)


def _check_chunks(new: NewItem) -> None:
    if new.chunk_count < max(1, len(new.chunks)):
        raise ValueError("chunk_count counts all chunks, and there is at least one")


def check_target(state: ItemState) -> None:
    """IllegalTransition for a state that `settle` and `move` must not set."""
    if state in _OWN_CALL:
        raise IllegalTransition(f"{state} is not entered this way")


def check_folder_changes(changes: Sequence[FolderChange], inbox: int) -> None:
    """ValueError unless it is one change, or the renames of a subtree (contract: one journal record tells it all)."""
    renames = [change.mailbox for change in changes if isinstance(change, RenameFolder)]
    if len(changes) != 1 and (not renames or len(renames) < len(changes) or len(set(renames)) < len(renames)):
        raise ValueError("one change at a time, or the renames of a subtree")
    if len(renames) > 1 and inbox in renames:
        raise ValueError("INBOX is renamed alone")


def check_quota(quota: Quota | None, held: Usage, more: Usage) -> None:
    """OverQuota where `more` does not fit (contract 20)."""
    if quota is None:
        return
    if quota.messages is not None and held.messages + more.messages > quota.messages:
        raise OverQuota("the account has too many messages")
    if quota.size is not None and held.size + more.size > quota.size:
        raise OverQuota("the account has too many bytes")


def next_uidvalidity(highest: int, now: float) -> int:
    """From the clock, and above every one before (RFC 9051 2.3.1.1)."""
    return max(highest + 1, min(int(now), _HIGHEST_FROM_CLOCK))


def lease_lost(lease: Lease) -> LeaseLost:
    """The error for a call with an old token."""
    return LeaseLost(f"lease {lease.token} on {lease.item} is not in force")
