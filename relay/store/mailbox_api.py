"""What users see on the standby and do to it: the part of the store contract (`store.api`) that IMAP is built on.

12. **An action and its journal record are one commit**, or neither is there. The record's `effects` are what the
    store really did, message by message, with what was there before: reconcile (base, ours, theirs) reads nothing else.
    An action that finds nothing to do is recorded with no effects; one that raises is not recorded.
13. **UIDs of an action are predictable.** Messages enter a mailbox in the order in which they are named, from its
    `uidnext` on, without a gap, all in the commit that answers them. A UID never comes back.
14. **UIDVALIDITY grows.** A mailbox that is made gets one above every one that its account ever gave out. A rename
    keeps it, unless the new name has shown a higher one before: then the mailbox gets a new one.
15. **Names change only under the version they were read at** (`FolderTree.version`): `StaleFolders`, and nothing was
    changed, where somebody else was faster. So the store, which cannot read names, never breaks a hierarchy.
16. **A mailbox that was deleted keeps its id**: the id is never given out again, and the journal may name it for ever.
17. **An appended message is its mailbox's**: it is never PENDING, so no queue sends it; `purge` takes it only once no
    mailbox shows it. Reconcile claims it (STORED, route MAILBOX) and moves it to DELIVERED when the primary has it.
18. **An account's mail outlives its journal.** `purge` leaves the items of an account alone while it has a journal
    record, not yet forgotten, that is younger than the purge's `changed_before`.
19. **Keywords change one by one**, in the commit; there are at most `KEYWORD_LIMIT` of them in an account.
20. **A quota is checked in the commit that would break it**: `OverQuota`, and nothing was changed. Accepting mail
    never asks for it: what was answered 250 is shown.
21. Every action is announced in the change feed: ARRIVED, FLAGS and EXPUNGED for each message, MAILBOX for names. The
    messages of a deleted mailbox, and those that RENAME takes out of INBOX, follow the same rule: the former are
    announced by the MAILBOX entry alone, the latter one by one.

A mailbox that is not there, or no more, raises `KeyError`; an action over two accounts is a `ValueError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from relay.core.errors import Refused, RelayError
from relay.core.ids import ItemId
from relay.store.mailbox_records import (
    Appended,
    Body,
    FolderChange,
    FolderTree,
    NewMessage,
    Quota,
    Replaced,
    Transferred,
    Usage,
)
from relay.store.records import (
    FlagChange,
    JournalEntry,
    JournalRow,
    KeywordRow,
    Mac,
    MailboxRow,
    MessageRow,
    NewAccount,
    NewKeyword,
    Sealed,
)

KEYWORD_LIMIT = 500
"""Different keywords in one account."""


class OverQuota(Refused):
    """The account would hold more than it may; nothing was changed."""

    public = "Quota exceeded"


class TooManyKeywords(Refused):
    """The account would use more than `KEYWORD_LIMIT` keywords; nothing was changed."""

    public = "Too many different keywords"


class MessageGone(Refused):
    """The message to be replaced is not there any more; nothing was changed."""

    public = "The message is not there any more"


class StaleFolders(RelayError):
    """The folders are not as they were when they were read; nothing was changed. Read again."""


class MailboxStore(Protocol):
    """Accounts, folders, messages, journal, derived values."""

    # --- accounts and folders ---

    async def ensure_account(self, account: NewAccount, *, now: float) -> MailboxRow:
        """The account's INBOX, created (and subscribed) where missing."""
        ...

    async def folders(self, account: Mac) -> FolderTree | None:
        """All folders with their figures and all subscriptions, in one read; None for an unknown account."""
        ...

    async def mailbox(self, account: Mac, name_mac: Mac) -> MailboxRow | None:
        """One folder by its name."""
        ...

    async def change_folders(
        self, account: Mac, version: int, changes: Sequence[FolderChange], entry: JournalEntry, *, now: float
    ) -> FolderTree:
        """CREATE, RENAME, DELETE, SUBSCRIBE, UNSUBSCRIBE: all of `changes` in their order, or none; the folders after.

        One journal record: its mailbox is the first one made, renamed or deleted, its effects the messages that went.
        Names need to be free in the end only, so a subtree may be renamed in any order. StaleFolders (15);
        ValueError: a name is taken, INBOX is to be deleted; KeyError: no such account or mailbox.
        """
        ...

    async def usage(self, account: Mac) -> Usage:
        """What the account holds; zeros for an unknown one."""
        ...

    # --- messages ---

    async def messages(
        self, mailbox: int, *, after_uid: int = 0, up_to: int | None = None, limit: int = 10_000
    ) -> list[MessageRow]:
        """Messages with `after_uid < UID <= up_to` by ascending UID."""
        ...

    async def message_rows(self, mailbox: int, uids: Sequence[int]) -> list[MessageRow]:
        """The named messages that still exist, by ascending UID."""
        ...

    async def bodies(self, items: Sequence[ItemId]) -> dict[ItemId, Body]:
        """Keys and first chunks of many messages in one read; those that are gone are not in the answer."""
        ...

    async def change_flags(
        self, mailbox: int, changes: Sequence[FlagChange], entry: JournalEntry, *, now: float
    ) -> list[MessageRow]:
        """STORE: the named messages as they are now, expunged ones left out. Only what changed is announced."""
        ...

    async def expunge(self, mailbox: int, uids: Sequence[int], entry: JournalEntry, *, now: float) -> list[int]:
        """The UIDs that were there, ascending. Whatever the queue owes of the items it still owes."""
        ...

    async def transfer(
        self,
        mailbox: int,
        uids: Sequence[int],
        target: int,
        entry: JournalEntry,
        *,
        remove: bool,
        now: float,
        quota: Quota | None = None,
    ) -> Transferred:
        """COPY, or MOVE where `remove`: in UID order, with flags, keywords and INTERNALDATE; all or nothing.

        UIDs that are not there are passed over. The two may be the same mailbox. OverQuota (never for MOVE).
        """
        ...

    async def append(
        self,
        mailbox: int,
        new: Sequence[NewMessage],
        entry: JournalEntry,
        *,
        now: float,
        name: Mac | None = None,
        quota: Quota | None = None,
        replaced: Replaced | None = None,
    ) -> Appended:
        """APPEND and MULTIAPPEND, or REPLACE: all or nothing, durable as an accept is (contract 1).

        With a `name`, KeyError also where the mailbox is called otherwise by now: who remembers a mailbox need not ask.

        Chunks not in `item.chunks` were staged by `put_chunks`; StoreUnavailable where they are gone. OverQuota,
        counted after the removal; MessageGone. ValueError for an item that is not as `NewMessage` says, or is there.
        """
        ...

    # --- keywords ---

    async def keywords(self, account: Mac) -> list[KeywordRow]:
        """Every keyword that was ever used in the account, by id."""
        ...

    async def split_keywords(self, account: Mac, listed: int, single: Sequence[NewKeyword]) -> None:
        """Replace a list of version 1 by its single keywords, in all messages; nothing where that was done."""
        ...

    # --- journal ---

    async def journal(self, *, after: int, limit: int, account: Mac | None = None) -> list[JournalRow]:
        """What users did, in order; of one account or of all."""
        ...

    async def forget_journal(self, account: Mac, *, through: int) -> int:
        """Reconcile has taken the account's records up to `through`; returns how many were dropped."""
        ...

    # --- derived values ---

    async def derived(self, items: Sequence[ItemId], kind: str) -> dict[ItemId, Sealed]:
        """Sealed values computed from bodies (parsed structure); absent ones are not in the answer."""
        ...

    async def put_derived(self, kind: str, values: Mapping[ItemId, Sealed]) -> None:
        """Keep computed values; those of items that are gone are passed over. A cache: not waited for durably."""
        ...
