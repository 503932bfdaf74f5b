"""The store contract. Every engine keeps every line of it; `tests/store/` checks them one by one on all engines.

1.  **One commit per accept.** When `accept` returns, item, body, recipients, mailbox entries and UIDs, ledger and
    change entries are on stable storage together (or none of them is there). Concurrent accepts may share one flush.
2.  **Same dedup key, first result.** `accept` with the key of an item not yet `confirm`ed and younger than
    `dedup_window` stores nothing, drops what was staged and returns the first item with `duplicate=True`. A REFUSED
    item is nobody's first result: it was never accepted.
3.  **Cancellation does nothing or everything.** A cancelled call may still commit, whole; its caller must treat it
    as unknown. Work already handed to the engine is never interrupted half-way.
4.  **Leases fence.** `claim` grants each item to one owner until a time, with a growing token. A call that carries an
    old token raises `LeaseLost` and changes nothing. Expired leases may be granted again; `rescue` turns an expired
    INTENT into UNKNOWN, because only its owner knew what became of it.
5.  **The transition table is also a WHERE clause.** `core.item.LEGAL` is enforced by the engine itself; an illegal step
    raises `IllegalTransition` and changes nothing.
6.  **Every transition is a change entry** with the states before and after (the ledger), in the same commit.
7.  **The change feed may repeat but never skips**: whoever asks for everything after the highest `seq` it has seen
    misses nothing, whichever process wrote it. `seq` grows.
8.  **Damage is a value.** A missing chunk is None; a scan over many items never stops at a bad one.
9.  **UIDs**: within a mailbox strictly ascending, never reused, allocated in the commit that shows the message. A
    message is shown in the INBOX of each recipient's account as soon as the item is owed by the standby: at accept in
    state PENDING, or in the commit that first leaves INTENT for PENDING, UNKNOWN or HELD; never twice for one item
    and account.
10. **After a failed flush nothing is believed.** The call gets `StoreUnavailable`; the engine answers so until it has
    proved, by a complete flush from memory, that what it acknowledged before is on disk.
11. Errors: `StoreUnavailable` (a `NotNow`) for I/O, full disk, lost connection; nothing else of the engine's leaks out.

12 to 21: what users see and do, `store.mailbox_api`.

Times are Unix seconds given by the caller (`now`); the engine has no clock of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from relay.core.errors import NotNow, RelayError
from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.store.mailbox_api import MailboxStore
from relay.store.records import (
    Accepted,
    Change,
    ChangeKind,
    Credential,
    Histogram,
    ItemRow,
    KnownRecipient,
    Lease,
    Mac,
    NewItem,
    Outcome,
    Route,
    RouteCount,
    Sealed,
    StateCount,
    WrappedKey,
)


class StoreUnavailable(NotNow):
    """The engine cannot promise anything at the moment; nothing was acknowledged."""


class IllegalTransition(RelayError):
    """The transition table does not allow the step from the state the row is in; nothing was changed."""


class BodyStore(Protocol):
    """Chunks of sealed bodies, written ahead of the accept that owns them."""

    async def put_chunks(self, item: ItemId, first: int, chunks: Sequence[Sealed], *, now: float) -> None:
        """Stage chunks `first`, `first+1`, ... of a message being received. No promise until `accept`."""
        ...

    async def discard(self, item: ItemId) -> None:
        """Forget what was staged for an item that was never accepted; nothing otherwise. Idempotent."""
        ...

    async def chunks(self, item: ItemId, first: int, count: int) -> list[Sealed | None]:
        """Exactly `count` entries; None for a chunk that is not there."""
        ...

    async def sweep_staged(self, *, before: float, limit: int) -> int:
        """Drop chunks staged before `before` and never accepted; returns how many messages' remains were dropped."""
        ...


class QueueStore(Protocol):
    """Items and their life."""

    async def accept(self, new: NewItem, *, now: float) -> Accepted:
        """Contract 1, 2, 9."""
        ...

    async def accept_together(self, new: Sequence[NewItem], *, now: float) -> list[Accepted]:
        """Items that one message became, in one commit: all of them or none (contract 1, 9).

        The first one's dedup key stands for all: where it is a duplicate, nothing is stored and each answer names it.
        """
        ...

    async def confirm(self, items: Sequence[ItemId]) -> None:
        """The senders have seen our 250: they will not send these again. May be lost in a crash; not waited for."""
        ...

    async def item(self, item: ItemId) -> ItemRow | None:
        """One item."""
        ...

    async def items(
        self, *, states: Sequence[ItemState], after: ItemId | None = None, limit: int = 1000
    ) -> list[ItemRow]:
        """Items in the given states in id (arrival) order after `after`."""
        ...

    async def claim(
        self, owner: str, *, states: Sequence[ItemState], route: Route, now: float, until: float, limit: int
    ) -> list[ItemRow]:
        """Lease up to `limit` items that are due (`next_attempt_at <= now`) and free, oldest first; states stay."""
        ...

    async def intend(self, leases: Sequence[Lease], *, now: float) -> None:
        """Durably PENDING -> INTENT, before the bytes that could deliver them are sent. All or LeaseLost."""
        ...

    async def renew(self, leases: Sequence[Lease], *, until: float) -> list[Lease]:
        """Extended leases; those lost are missing from the answer."""
        ...

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give items back as they are (not INTENT ones: settle those). Lost leases are passed over."""
        ...

    async def settle(self, lease: Lease, outcome: Outcome, *, now: float, patient: bool = False) -> None:
        """Record what an attempt came to, durably, and end the lease. LeaseLost, IllegalTransition.

        `patient`: no peer waits for it; it may wait a few milliseconds for a commit that somebody waits for.
        """
        ...

    async def rescue(self, *, now: float, dead_owners: Sequence[str] = ()) -> list[ItemId]:
        """End leases that expired or whose owner is named as dead; INTENT among them becomes UNKNOWN (returned)."""
        ...

    async def move(
        self, item: ItemId, *, to: ItemState, now: float, note: Sealed | None = None, next_attempt_at: float = 0.0
    ) -> ItemRow:
        """A step by the operator or the sweep (hold, release, return, quarantine, verify). IllegalTransition, KeyError.

        Leaving HELD or QUARANTINED for PENDING sets refused recipients back to WAITING (an appended message goes to
        STORED instead); RETURNED marks the open ones
        RETURNED. A valid lease held by somebody else raises LeaseLost, except for QUARANTINED, which ends the lease.
        """
        ...

    async def purge(self, *, states: Sequence[ItemState], changed_before: float, now: float, limit: int) -> int:
        """Finished items (DELIVERED, VERIFIED, RETURNED, REFUSED) become PURGED: body, derived blobs and mailbox
        entries go, the ledger stays. So do STORED ones that no mailbox shows (17); never an owed
        one, nor one whose account's journal is young (18)."""
        ...

    async def counts(self) -> dict[ItemState, StateCount]:
        """Figures for every state (zeros included)."""
        ...

    async def owed(self) -> dict[Route, int]:
        """How many items are owed (`core.item.OWED`), for every route (zeros included)."""
        ...

    async def routes(self) -> dict[Route, RouteCount]:
        """Figures for every route (zeros included)."""
        ...

    async def histograms(
        self, *, states: Sequence[ItemState], now: float, age_bounds: Sequence[float], size_bounds: Sequence[float]
    ) -> tuple[Histogram, Histogram]:
        """Distribution of ages in seconds and sizes in bytes."""
        ...

    async def wrapped_keys(self, *, not_key: str, limit: int) -> list[WrappedKey]:
        """Message keys still wrapped by another key than `not_key` (rotation)."""
        ...

    async def rewrap(self, keys: Sequence[tuple[WrappedKey, WrappedKey]]) -> int:
        """Replace old by new where the row still has the old; returns how many were."""
        ...


class FeedStore(Protocol):
    """The change feed."""

    async def last_change(self) -> int:
        """The highest `seq` so far; 0 when empty."""
        ...

    async def changes(self, *, after: int, limit: int, kinds: Sequence[ChangeKind] = ()) -> list[Change]:
        """Entries after `after`, ascending; all kinds when none is named."""
        ...

    async def ledger(self, item: ItemId) -> list[Change]:
        """The life of one item."""
        ...

    async def wait_change(self, *, after: int, timeout: float) -> int:
        """Return `last_change()` as soon as it exceeds `after` (written by any process), or after `timeout` seconds."""
        ...

    async def trim_changes(self, *, before: float, limit: int) -> int:
        """Drop entries older than `before` that belong to no living item (PURGED ones' ledgers and other kinds)."""
        ...


class DirectoryStore(Protocol):
    """Recipients, credentials, settings, named leases."""

    async def known_recipients(self, macs: Sequence[Mac]) -> dict[Mac, KnownRecipient]:
        """What is known about these addresses."""
        ...

    async def learn_recipients(self, domain: Mac, known: Sequence[KnownRecipient]) -> None:
        """Upsert; the newest wins. The domain's first sight is kept."""
        ...

    async def domain_first_seen(self, domain: Mac) -> float | None:
        """When the first recipient of the domain was learned."""
        ...

    async def credential(self, mac: Mac, kind: str) -> Credential | None:
        """One verifier."""
        ...

    async def put_credential(self, credential: Credential) -> None:
        """Insert or replace."""
        ...

    async def delete_credential(self, mac: Mac, kind: str | None = None) -> int:
        """Remove; returns how many."""
        ...

    async def credentials(self, kind: str | None = None) -> list[Credential]:
        """All of a kind."""
        ...

    async def sweep_credentials(self, kind: str, *, before: float, limit: int) -> int:
        """Remove some of a kind that were last written before that time; returns how many."""
        ...

    async def setting(self, name: str) -> bytes | None:
        """A small value of the node's own (mode, override, wrapped vault keys); holds nothing readable about people."""
        ...

    async def put_setting(self, name: str, value: bytes, *, now: float) -> None:
        """Durable; announced in the feed as SETTING with the name."""
        ...

    async def put_setting_if_absent(self, name: str, value: bytes, *, now: float) -> bytes:
        """The value in force afterwards: the first writer wins."""
        ...

    async def swap_setting(self, name: str, value: bytes, *, expected: bytes | None, now: float) -> bool:
        """`put_setting`, if the value in force is `expected` (None = there is none); else False and nothing changed.

        Of writers that read the same value one wins, whatever process each is in: no update is lost.
        """
        ...

    async def acquire(self, name: str, owner: str, *, now: float, until: float) -> int | None:
        """Take or renew the named lease (singletons: probe, replay, sweep); its token; None while another has it."""
        ...

    async def give_up(self, name: str, owner: str) -> None:
        """End one's own named lease."""
        ...


class Store(BodyStore, QueueStore, MailboxStore, FeedStore, DirectoryStore, Protocol):
    """The whole contract."""

    async def close(self) -> None:
        """Finish what was handed over, then let go. Idempotent."""
        ...
