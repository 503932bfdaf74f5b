"""What users' actions carry into the store and get back, as immutable values (see `store.mailbox_api`)."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from relay.core.ids import ItemId
from relay.store.records import JournalEntry, Mac, MailboxRow, NewItem, NewKeyword, Sealed


class Quota(msgspec.Struct, frozen=True):
    """The most an account may hold over all its mailboxes; None = as much as there is room for."""

    messages: int | None = None
    size: int | None = None
    """Bytes."""


class Usage(msgspec.Struct, frozen=True):
    """What an account holds over all its mailboxes; a copy counts again."""

    messages: int
    size: int


class Subscription(msgspec.Struct, frozen=True):
    """A subscribed name, of a mailbox that exists or not (RFC 9051 6.3.7)."""

    name_mac: Mac
    name: Sealed


class FolderTree(msgspec.Struct, frozen=True):
    """All folders of an account as of one moment; `version` grows with each change of names and subscriptions."""

    version: int
    inbox: int
    """Id of the INBOX among `mailboxes`."""
    mailboxes: tuple[MailboxRow, ...]
    subscriptions: tuple[Subscription, ...]


class CreateFolder(msgspec.Struct, frozen=True):
    """A new mailbox under a free name."""

    name_mac: Mac
    name: Sealed
    special_use: str | None = None


class RenameFolder(msgspec.Struct, frozen=True):
    """A new name for a mailbox. INBOX is not renamed: a new mailbox gets all its messages."""

    mailbox: int
    name_mac: Mac
    name: Sealed


class DeleteFolder(msgspec.Struct, frozen=True):
    """Removes a mailbox with its messages; not INBOX."""

    mailbox: int


class Subscribe(msgspec.Struct, frozen=True):
    """Subscribes to a name, whether or not it exists."""

    name_mac: Mac
    name: Sealed


class Unsubscribe(msgspec.Struct, frozen=True):
    """Ends a subscription; nothing happens where there is none."""

    name_mac: Mac


FolderChange: TypeAlias = CreateFolder | RenameFolder | DeleteFolder | Subscribe | Unsubscribe


class NewMessage(msgspec.Struct, frozen=True):
    """One message of an APPEND; `item` is born STORED with the route MAILBOX, without recipients and without dedup."""

    item: NewItem
    internal_date: float
    flags: int = 0
    keywords: tuple[NewKeyword, ...] = ()


class Replaced(msgspec.Struct, frozen=True):
    """The message that an APPEND takes the place of (RFC 8508), and the journal record of its removal."""

    mailbox: int
    uid: int
    entry: JournalEntry


class Appended(msgspec.Struct, frozen=True):
    """APPENDUID: UIDs in the order of the messages."""

    uidvalidity: int
    uids: tuple[int, ...]


class Transferred(msgspec.Struct, frozen=True):
    """COPYUID: pairs by ascending source UID; the target's UIDs ascend with them."""

    uidvalidity: int
    """Of the target."""
    pairs: tuple[tuple[int, int], ...]
    """(UID there was, UID there is)."""


class Body(msgspec.Struct, frozen=True):
    """What is needed to read a message from its beginning; `first` is its first chunk, None where that is missing."""

    item: ItemId
    size: int
    key_id: str
    wrapped_key: bytes
    chunk_count: int
    first: Sealed | None
