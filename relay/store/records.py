"""Rows of the store as immutable values. `Sealed` is an AEAD blob, `Mac` a keyed HMAC; both opaque here."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TypeAlias

import msgspec

from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState

Sealed: TypeAlias = bytes
Mac: TypeAlias = bytes


class Route(StrEnum):
    """Where replay takes an item."""

    PRIMARY = "primary"
    """Inbound mail, or mail held for the primary."""
    WORLD = "world"
    """Mail that users sent: to the smarthost or by MX."""
    MAILBOX = "mailbox"
    """Put into a mailbox by its user (APPEND): never sent by SMTP, belongs to reconcile; STORED where others wait."""


# --- accept ---------------------------------------------------------------------------------------------------------


class NewAccount(msgspec.Struct, frozen=True):
    """The standby mailbox that a message is shown in; created with its INBOX where it does not exist yet."""

    mac: Mac
    address: Sealed
    inbox_mac: Mac
    inbox_name: Sealed


class NewRecipient(msgspec.Struct, frozen=True):
    """One recipient, in envelope order. `account` is None where nobody here reads it (outbound mail)."""

    mac: Mac
    account: NewAccount | None = None


class NewItem(msgspec.Struct, frozen=True):
    """Everything one accept commits. `chunks` are the ones not yet staged; `chunk_count` counts all of them."""

    id: ItemId
    state: ItemState
    received_at: float
    size: int
    key_id: str
    wrapped_key: bytes
    envelope: Sealed
    recipients: tuple[NewRecipient, ...]
    chunks: tuple[Sealed, ...]
    chunk_count: int
    route: Route = Route.PRIMARY
    message_mac: Mac | None = None
    """HMAC of the Message-ID, where there is one."""
    dedup: Mac | None = None
    """Same key while the first is unconfirmed = the same message sent again."""
    owner: str | None = None
    """With state INTENT: who holds the lease..."""
    lease_until: float = 0.0
    """...and until when."""


class Accepted(msgspec.Struct, frozen=True):
    """`item` and `state` are the first one's when `duplicate`; `lease` is set for a new INTENT item."""

    item: ItemId
    duplicate: bool
    state: ItemState
    lease: Lease | None = None


# --- queue ----------------------------------------------------------------------------------------------------------


class Lease(msgspec.Struct, frozen=True):
    """The right to work on an item until `until`; `token` grows with each grant, so a late owner changes nothing."""

    item: ItemId
    owner: str
    token: int
    until: float


class RecipientRow(msgspec.Struct, frozen=True):
    """One recipient of an item; `detail` is the sealed last reply."""

    index: int
    mac: Mac
    state: RecipientState
    detail: Sealed | None


class ItemRow(msgspec.Struct, frozen=True):
    """One spool item without its body."""

    id: ItemId
    state: ItemState
    route: Route
    received_at: float
    size: int
    key_id: str
    wrapped_key: bytes
    envelope: Sealed
    chunk_count: int
    attempts: int
    next_attempt_at: float
    changed_at: float
    """Unix seconds of the last change of state."""
    note: Sealed | None
    """Why it is where it is: the last reply or the damage found."""
    message_mac: Mac | None
    recipients: tuple[RecipientRow, ...]
    lease: Lease | None
    """The lease in the row, expired or not; for `claim` the one just granted."""


class RecipientResult(msgspec.Struct, frozen=True):
    """New state of one recipient."""

    index: int
    state: RecipientState
    detail: Sealed | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What an attempt came to. Recipients not named keep their state."""

    state: ItemState
    recipients: tuple[RecipientResult, ...] = ()
    next_attempt_at: float = 0.0
    note: Sealed | None = None
    counts_as_attempt: bool = True


class StateCount(msgspec.Struct, frozen=True):
    """Queue figures for one state."""

    items: int
    size: int
    """Sum of message sizes in bytes."""
    oldest: float | None
    """`received_at` of the oldest."""


class RouteCount(msgspec.Struct, frozen=True):
    """Queue figures for one route."""

    owed: int = 0
    """Items that are owed (`core.item.OWED`)."""
    waiting: int = 0
    """Of these, those that go by themselves (PENDING, INTENT, UNKNOWN)."""
    oldest: float | None = None
    """`received_at` of the oldest that waits."""
    next_attempt: float | None = None
    """`next_attempt_at` of the PENDING item that is due first."""


class Histogram(msgspec.Struct, frozen=True):
    """Counts per bucket (`le` bounds, then +Inf), not cumulated, and the sum of the values."""

    counts: tuple[int, ...]
    total: float


# --- mailboxes ------------------------------------------------------------------------------------------------------


class MailboxRow(msgspec.Struct, frozen=True):
    """One folder of one account on the standby. `id` names it for ever: over renames, and after it was deleted."""

    id: int
    account: Mac
    name_mac: Mac
    name: Sealed
    uidvalidity: int
    uidnext: int
    messages: int
    unseen: int
    size: int
    """Sum of message sizes in bytes."""
    subscribed: bool = True
    """Whether its present name is subscribed."""
    special_use: str | None = None
    r"""Attributes of RFC 6154 with their backslashes, joined by blanks."""
    deleted: int = 0
    r"""Messages marked \Deleted."""


class SystemFlag(IntEnum):
    """Bits of `MessageRow.flags` (RFC 9051 2.3.2)."""

    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DELETED = 8
    DRAFT = 16


class NewKeyword(msgspec.Struct, frozen=True):
    """A keyword in both its forms; `mac` is equal for keywords that IMAP calls equal."""

    mac: Mac
    name: Sealed


class KeywordRow(msgspec.Struct, frozen=True):
    """One keyword of an account. Rows never change and ids are not given out again: they may be remembered for ever."""

    id: int
    mac: Mac | None
    """None: a list of several, from version 1 of the store; `split_keywords` turns it into single ones."""
    name: Sealed


class MessageRow(msgspec.Struct, frozen=True):
    """One message in one mailbox. `changed` is the `seq` of its last change."""

    uid: int
    item: ItemId
    internal_date: float
    size: int
    flags: int
    keywords: tuple[int, ...]
    """Ids of `KeywordRow`, ascending."""
    changed: int
    saved: float
    """When it came into this mailbox (RFC 8514)."""


class FlagChange(msgspec.Struct, frozen=True):
    """`flags = flags & ~remove | add`; keywords likewise, one by one, so that two writers never undo each other.

    With `replace_keywords` all others go.
    """

    uid: int
    add: int = 0
    remove: int = 0
    add_keywords: tuple[NewKeyword, ...] = ()
    remove_keywords: tuple[Mac, ...] = ()
    replace_keywords: bool = False


class JournalEntry(msgspec.Struct, frozen=True):
    """What a user asked for, committed with its effect; `base` is the change sequence it was seen against."""

    kind: str
    """store, expunge, append, copy, move, create, rename, delete, subscribe, unsubscribe."""
    session: str
    base: int
    body: Sealed
    """What of it could be read (names, words), by kind, sealed by the writer."""


class Effect(msgspec.Struct, frozen=True, array_like=True):
    """What one action did to one message; the store writes it, in the same commit."""

    uid: int
    """In the record's mailbox: where the message was, or where an appended one is."""
    item: ItemId
    new_uid: int = 0
    """copy, move (and the rename of INBOX): its UID in the record's target."""
    was: int = 0
    """System flags before: the base of a three-way merge."""
    now: int = 0
    """And after."""
    added: tuple[int, ...] = ()
    """Ids of the keywords that it did not have before."""
    removed: tuple[int, ...] = ()


class JournalRow(msgspec.Struct, frozen=True):
    """One journal record as stored."""

    seq: int
    at: float
    account: Mac
    mailbox: int
    """What it was done to; for subscriptions the account's INBOX."""
    kind: str
    session: str
    base: int
    body: Sealed
    target: int | None = None
    """copy, move, rename of INBOX: where to."""
    effects: tuple[Effect, ...] = ()
    """By ascending UID; only messages that were there and were changed."""


# --- changes, directory, credentials ----------------------------------------------------------------------------------


class ChangeKind(StrEnum):
    """What a change is about."""

    ITEM = "item"
    """An item was born or changed its state (the ledger)."""
    ARRIVED = "arrived"
    """A message appeared in a mailbox."""
    FLAGS = "flags"
    EXPUNGED = "expunged"
    MAILBOX = "mailbox"
    """A mailbox was created, renamed or deleted, or a name was (un)subscribed (then `mailbox` is the INBOX)."""
    SETTING = "setting"


class Change(msgspec.Struct, frozen=True):
    """One entry of the change feed; for ITEM it is the ledger's event row."""

    seq: int
    at: float
    kind: ChangeKind
    item: ItemId | None = None
    mailbox: int | None = None
    uid: int | None = None
    old: str | None = None
    """ITEM: the state before, None at birth."""
    new: str | None = None
    """ITEM: the state after; SETTING: the name; MAILBOX: created, renamed, deleted, subscribed or unsubscribed."""


class KnownRecipient(msgspec.Struct, frozen=True):
    """What is known about one address; `valid` False = the primary refused it for good."""

    mac: Mac
    valid: bool
    source: str
    """list, reply, login, mirror."""
    seen_at: float


class Credential(msgspec.Struct, frozen=True):
    """A stored password verifier. `login` is the sealed name, `verifier` the sealed PHC string."""

    mac: Mac
    kind: str
    """configured (relay user add) or remembered (seen to work on the primary)."""
    login: Sealed
    verifier: Sealed
    updated_at: float


class WrappedKey(msgspec.Struct, frozen=True):
    """A message key as wrapped in its row; what rotation rewrites."""

    item: ItemId
    key_id: str
    wrapped_key: bytes
