"""What users see of the spool: accounts, folders and messages in plain words over the store's sealed rows.

Every change a user makes carries its journal record into the same commit, so that the way back to the primary can be
computed from the journal alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from relay.core.clock import Clock
from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.spool.names import INBOX, Names
from relay.spool.read import Reader, StoredMessage
from relay.store.api import Store
from relay.store.records import FlagChange, JournalEntry, Mac, MailboxRow, MessageRow
from relay.vault.sealing import Vault


class Account(msgspec.Struct, frozen=True):
    """A user of the standby."""

    address: str
    mac: Mac


class Folder(msgspec.Struct, frozen=True):
    """A mailbox with its name."""

    account: Account
    name: str
    row: MailboxRow


class FlagStep(msgspec.Struct, frozen=True):
    """What one STORE does to one message: bits of `SystemFlag`, and the whole new keyword list or None to keep it."""

    uid: int
    add: int = 0
    remove: int = 0
    keywords: tuple[str, ...] | None = None


class Seen(msgspec.Struct, frozen=True):
    """Who changes something, and what they had seen of the feed when they did."""

    session: str
    base: int


class Mailboxes:
    """Reads and writes of the standby's mailboxes."""

    def __init__(self, store: Store, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._names = Names(vault)
        self._reader = Reader(store, vault)

    async def open_account(self, address: str) -> Account:
        """The account of a login (already mapped to its address), its INBOX created at first sight."""
        new = self._names.new_account(address)
        await self._store.ensure_account(new, now=self._clock.now())
        return Account(address, new.mac)

    async def folders(self, account: Account) -> list[Folder]:
        """All folders, INBOX first, then by name. One whose name does not open is left out: it cannot be named."""
        found = []
        for row in await self._store.mailboxes(account.mac):
            try:
                name = self._vault.open("folder", row.name).decode()
            except Damaged:
                continue
            found.append(Folder(account, name, row))
        return sorted(found, key=lambda f: (f.name != INBOX, f.name))

    async def folder(self, account: Account, name: str) -> Folder | None:
        """One folder by name; INBOX in any case."""
        row = await self._store.mailbox(account.mac, self._names.folder(account.mac, name))
        if row is None:
            return None
        return Folder(account, INBOX if name.upper() == INBOX else name, row)

    async def messages(self, folder: Folder, *, after_uid: int = 0, limit: int = 10_000) -> list[MessageRow]:
        """Messages by ascending UID."""
        return await self._store.messages(folder.row.id, after_uid=after_uid, limit=limit)

    async def message_rows(self, folder: Folder, uids: Sequence[int]) -> list[MessageRow]:
        """The named ones that still exist."""
        return await self._store.message_rows(folder.row.id, uids)

    def keywords(self, row: MessageRow) -> tuple[str, ...]:
        """The keywords of a message; none where the list is damaged."""
        if row.keywords is None:
            return ()
        try:
            return msgspec.msgpack.decode(self._vault.open("keywords", row.keywords), type=tuple[str, ...])
        except (Damaged, msgspec.MsgspecError):
            return ()

    async def change_flags(self, folder: Folder, steps: Sequence[FlagStep], seen: Seen) -> list[MessageRow]:
        """STORE: apply and journal in one commit; the rows as they are now."""
        changes = [
            FlagChange(
                step.uid,
                step.add,
                step.remove,
                self._vault.seal("keywords", msgspec.msgpack.encode(step.keywords)) if step.keywords else None,
                keep_keywords=step.keywords is None,
            )
            for step in steps
        ]
        body = [(s.uid, s.add, s.remove, s.keywords) for s in steps]
        journal = self._journal("store", seen, body)
        return await self._store.change_flags(folder.row.id, changes, journal, now=self._clock.now())

    async def expunge(self, folder: Folder, uids: Sequence[int], seen: Seen) -> list[int]:
        """EXPUNGE: remove and journal in one commit; the UIDs that were there."""
        journal = self._journal("expunge", seen, list(uids))
        return await self._store.expunge(folder.row.id, uids, journal, now=self._clock.now())

    async def open_message(self, item: ItemId) -> StoredMessage | None:
        """A message's bytes; None when it is gone. Damaged when it does not verify."""
        return await self._reader.open_item(item)

    async def derived(self, kind: str, items: Sequence[ItemId]) -> dict[ItemId, bytes]:
        """Values computed earlier from bodies; what is absent or damaged is computed again by the caller."""
        found = {}
        for item, sealed in (await self._store.derived(items, kind)).items():
            try:
                found[item] = self._vault.open(f"{kind}:{item}", sealed)
            except Damaged:
                continue
        return found

    async def put_derived(self, kind: str, values: Mapping[ItemId, bytes]) -> None:
        """Keep computed values beside their messages, sealed."""
        sealed = {item: self._vault.seal(f"{kind}:{item}", value) for item, value in values.items()}
        await self._store.put_derived(kind, sealed)

    def _journal(self, kind: str, seen: Seen, body: object) -> JournalEntry:
        return JournalEntry(
            kind=kind,
            session=seen.session,
            base=seen.base,
            body=self._vault.seal("journal", msgspec.msgpack.encode(body)),
        )
