"""What users see of the spool: accounts, folders and messages in plain words over the store's sealed rows.

Every change a user makes carries its journal record into the same commit, so that the way back to the primary can be
computed from the journal alone. Folders are in `folders`, mail that users put in is in `appending`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from relay.core.clock import Clock
from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.spool import deeds
from relay.spool.deeds import Details, Seen
from relay.spool.folders import Account, Folder, FolderKeeper, NoSuchFolder, Usual
from relay.spool.read import Reader, StoredMessage
from relay.spool.shelf import Shelf, Shelves
from relay.spool.words import Words
from relay.store.api import Store
from relay.store.mailbox_records import Body, Quota, Transferred, Usage
from relay.store.records import FlagChange, MessageRow, NewKeyword
from relay.store.rules import check_quota
from relay.vault.sealing import Vault

__all__ = ["Account", "FlagStep", "Folder", "Mailboxes", "Seen", "folder_gone"]


@contextmanager
def folder_gone() -> Iterator[None]:
    """Somebody else deleted the mailbox: the store's KeyError as the user's error."""
    try:
        yield
    except KeyError:
        raise NoSuchFolder("the mailbox was deleted") from None


def _numbers(rows: Iterable[MessageRow]) -> Iterator[int]:
    """Numbers of their keywords."""
    return (number for row in rows if row.keywords for number in row.keywords)


class FlagStep(msgspec.Struct, frozen=True):
    """What one STORE does to one message: bits of `SystemFlag`, and keywords one by one.

    `keywords` is the whole new list where it is not None (FLAGS); else words are added and removed.
    """

    uid: int
    add: int = 0
    remove: int = 0
    keywords: tuple[str, ...] | None = None
    add_keywords: tuple[str, ...] = ()
    remove_keywords: tuple[str, ...] = ()


class Mailboxes(FolderKeeper):
    """Reads and writes of the standby's mailboxes."""

    def __init__(
        self, store: Store, vault: Vault, clock: Clock, *, quota: Quota | None = None, usual: Sequence[Usual] = ()
    ) -> None:
        super().__init__(store, vault, clock, usual)
        self.quota = quota
        """What every account may hold; None = all that there is room for."""
        self._reader = Reader(store, vault)
        self._words = Words(store, vault)
        self._shelves = Shelves(store, clock)

    # --- reading ---

    async def messages(
        self, folder: Folder, *, after_uid: int = 0, up_to: int | None = None, limit: int = 10_000
    ) -> list[MessageRow]:
        """Messages with `after_uid < UID <= up_to` by ascending UID."""
        shelf = await self.shelf(folder)
        if shelf is not None:
            return shelf.after(after_uid, up_to, limit)
        rows = await self._store.messages(folder.row.id, after_uid=after_uid, up_to=up_to, limit=limit)
        await self._words.learn(folder.account.mac, _numbers(rows))
        return rows

    async def message_rows(self, folder: Folder, uids: Sequence[int]) -> list[MessageRow]:
        """The named ones that still exist; UIDs ascend."""
        shelf = await self.shelf(folder)
        if shelf is not None:
            return shelf.rows(uids)
        rows = await self._store.message_rows(folder.row.id, uids)
        await self._words.learn(folder.account.mac, _numbers(rows))
        return rows

    async def shelf(self, folder: Folder) -> Shelf | None:
        """The whole mailbox as it is now, shared by all who use it; None where it is too large for that. NotNow."""
        shelf = await self._shelves.get(folder.row.id, folder.row.messages)
        if shelf is not None and shelf.keywords:
            await self._words.learn(folder.account.mac, shelf.keywords)
        return shelf

    async def whole(self, folder: Folder) -> Shelf:
        """The same, read anew where it is too large to be shared. NotNow."""
        shelf = await self.shelf(folder)
        if shelf is None:
            shelf = await self._shelves.read(folder.row.id)
            await self._words.learn(folder.account.mac, shelf.keywords)
        return shelf

    def keywords(self, row: MessageRow) -> tuple[str, ...]:
        """The keywords of a row that was read here; those that are damaged are left out."""
        return self._words.of(row.keywords) if row.keywords else ()

    def words(self, numbers: Iterable[int]) -> tuple[str, ...]:
        """The same of the keywords of a shelf."""
        return self._words.of(numbers)

    def email_id(self, row: MessageRow) -> str:
        """EMAILID (RFC 8474 5.1): equal for copies of one message, and only for those."""
        return f"M{row.item}"

    async def usage(self, account: Account) -> Usage:
        """What the account holds."""
        return await self._store.usage(account.mac)

    async def check_room(self, account: Account, more: Usage) -> None:
        """Whether so much more may be held, as of now; the commit asks again. OverQuota."""
        if self.quota is not None:
            check_quota(self.quota, await self.usage(account), more)

    async def open_message(self, item: ItemId) -> StoredMessage | None:
        """A message's bytes; None when it is gone. Damaged when it does not verify."""
        return await self._reader.open_item(item)

    async def contents(self, items: Sequence[ItemId]) -> dict[ItemId, bytes | Damaged]:
        """Small messages (one chunk) whole, in one read of the store; larger ones and those that are gone are left out.

        Memory is a chunk for each: name no more at once than may be held.
        """
        found: dict[ItemId, bytes | Damaged] = {}
        for item, body in (await self._store.bodies(items)).items():
            if body.chunk_count == 1:
                try:
                    found[item] = self._open(body)
                except Damaged as damage:
                    found[item] = damage
        return found

    def _open(self, body: Body) -> bytes:
        if body.first is None:
            raise Damaged("the only chunk is missing")
        content = self._vault.unwrap(body.key_id, body.wrapped_key, body.item).open_chunk(0, True, body.first)
        if len(content) != body.size:
            raise Damaged(f"{len(content)} bytes found, {body.size} recorded")
        return content

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

    # --- actions ---

    async def change_flags(self, folder: Folder, steps: Sequence[FlagStep], seen: Seen) -> list[MessageRow]:
        """STORE: the rows as they are now. NoSuchFolder where it is gone, TooManyKeywords."""
        account = folder.account.mac
        words: dict[tuple[str, ...], tuple[NewKeyword, ...]] = {(): ()}
        changes = []
        for step in steps:
            wanted = step.add_keywords if step.keywords is None else step.keywords
            if wanted not in words:  # mostly all steps name the same ones
                words[wanted] = self._words.new(account, wanted)
            removed = tuple(self._words.mac(account, word) for word in step.remove_keywords)
            changes.append(
                FlagChange(step.uid, step.add, step.remove, words[wanted], removed, step.keywords is not None)
            )
        entry = deeds.encode(self._vault, "store", seen, Details(folder.name))
        with folder_gone():
            rows = await self._store.change_flags(folder.row.id, changes, entry, now=self._clock.now())
        await self._words.learn(account, _numbers(rows))
        return rows

    async def expunge(self, folder: Folder, uids: Sequence[int], seen: Seen) -> list[int]:
        """EXPUNGE: the UIDs that were there. NoSuchFolder where it is gone."""
        entry = deeds.encode(self._vault, "expunge", seen, Details(folder.name))
        with folder_gone():
            return await self._store.expunge(folder.row.id, uids, entry, now=self._clock.now())

    async def copy(self, folder: Folder, uids: Sequence[int], target: Folder, seen: Seen) -> Transferred:
        """COPY: all or none. NoSuchFolder where one is gone, OverQuota."""
        return await self._transfer("copy", folder, uids, target, seen)

    async def move(self, folder: Folder, uids: Sequence[int], target: Folder, seen: Seen) -> Transferred:
        """MOVE (RFC 6851): all or none. NoSuchFolder where one is gone."""
        return await self._transfer("move", folder, uids, target, seen)

    async def _transfer(
        self, kind: str, folder: Folder, uids: Sequence[int], target: Folder, seen: Seen
    ) -> Transferred:
        entry = deeds.encode(self._vault, kind, seen, Details(folder.name, target=target.name))
        with folder_gone():
            return await self._store.transfer(
                folder.row.id,
                uids,
                target.row.id,
                entry,
                remove=kind == "move",
                now=self._clock.now(),
                quota=self.quota,
            )
