"""Mailboxes of the model (`store.mailbox_api`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.store.api import StoreUnavailable
from relay.store.mailbox_api import KEYWORD_LIMIT, MessageGone, TooManyKeywords
from relay.store.mailbox_records import (
    Appended,
    Body,
    NewMessage,
    Quota,
    Replaced,
    Transferred,
    Usage,
)
from relay.store.memory.folders import MemoryFolders
from relay.store.memory.state import Account, Box, Item, State
from relay.store.records import (
    ChangeKind,
    Effect,
    FlagChange,
    JournalEntry,
    JournalRow,
    KeywordRow,
    Mac,
    MessageRow,
    NewItem,
    NewKeyword,
    Sealed,
)
from relay.store.rules import check_appended, check_quota


class MemoryMailboxes(MemoryFolders):
    """`store.mailbox_api.MailboxStore`. What may fail is looked at before anything is changed."""

    _state: State

    # --- messages ---

    async def messages(
        self, mailbox: int, *, after_uid: int = 0, up_to: int | None = None, limit: int = 10_000
    ) -> list[MessageRow]:
        """See the contract."""
        box = self._state.boxes.get(mailbox)
        there = [] if box is None else sorted(box.messages.items())
        return [row for uid, row in there if uid > after_uid and (up_to is None or uid <= up_to)][:limit]

    async def message_rows(self, mailbox: int, uids: Sequence[int]) -> list[MessageRow]:
        """See the contract."""
        box = self._state.boxes.get(mailbox)
        return [] if box is None else [box.messages[uid] for uid in sorted(set(uids) & set(box.messages))]

    async def bodies(self, items: Sequence[ItemId]) -> dict[ItemId, Body]:
        """See the contract."""
        there = [self._state.items[item] for item in items if item in self._state.items]
        return {
            one.new.id: Body(
                one.new.id, one.new.size, one.key_id, one.wrapped_key, one.new.chunk_count, one.chunks.get(0)
            )
            for one in there
            if one.state is not ItemState.PURGED
        }

    async def change_flags(
        self, mailbox: int, changes: Sequence[FlagChange], entry: JournalEntry, *, now: float
    ) -> list[MessageRow]:
        """See the contract."""
        box = self._state.box(mailbox)
        account = self._state.accounts[box.account]
        self._check_keywords(account, [c.add_keywords for c in changes if c.uid in box.messages])
        done = [self._change_flags(account, box, one, now) for one in changes if one.uid in box.messages]
        effects = sorted((effect for effect in done if effect is not None), key=lambda effect: effect.uid)
        self._state.record(box, entry, now, effects)
        return await self.message_rows(mailbox, [change.uid for change in changes])

    def _change_flags(self, account: Account, box: Box, change: FlagChange, now: float) -> Effect | None:
        row = box.messages[change.uid]
        flags = row.flags & ~change.remove | change.add
        added = set(self._words(account, change.add_keywords))
        removed = {one.id for one in account.keywords if one.mac in change.remove_keywords}
        held = set(row.keywords)
        words = added if change.replace_keywords else (held - removed) | added
        if (flags, words) == (row.flags, held):
            return None
        seq = self._state.announce(ChangeKind.FLAGS, now, item=row.item, mailbox=box.id, uid=row.uid)
        box.messages[row.uid] = msgspec.structs.replace(row, flags=flags, keywords=tuple(sorted(words)), changed=seq)
        gone, new = tuple(sorted(held - words)), tuple(sorted(words - held))
        return Effect(row.uid, row.item, was=row.flags, now=flags, added=new, removed=gone)

    async def expunge(self, mailbox: int, uids: Sequence[int], entry: JournalEntry, *, now: float) -> list[int]:
        """See the contract."""
        box = self._state.box(mailbox)
        self._state.record(box, entry, now, self._expunge(box, uids, now))
        return [effect.uid for effect in self._state.journal[-1].effects]

    def _expunge(self, box: Box, uids: Sequence[int], now: float) -> list[Effect]:
        gone = [self._state.take_out(box, uid, now) for uid in sorted(set(uids) & set(box.messages))]
        return [Effect(row.uid, row.item, was=row.flags) for row in gone]

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
        """See the contract."""
        source, goal = self._state.box(mailbox), self._state.box(target)
        if source.account != goal.account:
            raise ValueError("both mailboxes belong to one account")
        there = sorted(set(uids) & set(source.messages))
        if not remove:
            more = Usage(len(there), sum(source.messages[uid].size for uid in there))
            check_quota(quota, self._state.usage(source.account), more)
        effects = self._state.transfer(source, there, goal, now, remove=remove)
        self._state.record(source, entry, now, effects, target)
        return Transferred(goal.uidvalidity, tuple((effect.uid, effect.new_uid) for effect in effects))

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
        """See the contract."""
        for one in new:
            check_appended(one.item)
        box = self._state.box(mailbox)
        if name not in (None, box.name_mac):
            raise KeyError(mailbox)
        freed = Usage(0, 0)
        if replaced is not None:
            other = self._state.box(replaced.mailbox)
            if other.account != box.account:
                raise ValueError("both mailboxes belong to one account")
            if replaced.uid not in other.messages:
                raise MessageGone("the message to be replaced was expunged")
            freed = Usage(1, other.messages[replaced.uid].size)
        more = Usage(len(new) - freed.messages, sum(one.item.size for one in new) - freed.size)
        check_quota(quota, self._state.usage(box.account), more)
        ids = [one.item.id for one in new]
        if len(set(ids)) < len(ids) or set(ids) & set(self._state.items):
            raise ValueError("a message is appended once")
        bodies = [self._body(one.item) for one in new]
        account = self._state.accounts[box.account]
        self._check_keywords(account, [one.keywords for one in new])
        effects = []
        for one, chunks in zip(new, bodies, strict=True):
            self._write_item(one.item, chunks, now)
            words = self._words(account, one.keywords)
            shape = MessageRow(0, one.item.id, one.internal_date, one.item.size, one.flags, words, 0, now)
            uid = self._state.place(box, shape, now)
            effects.append(Effect(uid, one.item.id, now=one.flags, added=words))
        self._state.record(box, entry, now, effects)
        if replaced is not None:
            gone = self._expunge(self._state.boxes[replaced.mailbox], [replaced.uid], now)
            self._state.record(self._state.boxes[replaced.mailbox], replaced.entry, now, gone)
        return Appended(box.uidvalidity, tuple(effect.uid for effect in effects))

    def _body(self, new: NewItem) -> dict[int, Sealed]:
        ahead = new.chunk_count - len(new.chunks)
        staged = self._state.staged[new.id][1] if ahead and new.id in self._state.staged else {}
        if sorted(staged) != list(range(ahead)):
            raise StoreUnavailable("chunks staged for this message are gone")
        return {**staged, **dict(enumerate(new.chunks, ahead))}

    def _write_item(self, new: NewItem, chunks: dict[int, Sealed], now: float) -> None:
        if new.chunk_count > len(new.chunks):
            self._state.staged.pop(new.id)
        self._state.items[new.id] = Item(
            new=new,
            state=new.state,
            changed_at=now,
            key_id=new.key_id,
            wrapped_key=new.wrapped_key,
            boxes=[],
            recipients=[],
            dedup=None,
            shown=True,
            chunks=chunks,
        )
        self._state.announce(ChangeKind.ITEM, now, item=new.id, new=new.state)

    # --- keywords ---

    def _check_keywords(self, account: Account, used: Sequence[Sequence[NewKeyword]]) -> None:
        new = {one.mac for some in used for one in some} - {one.mac for one in account.keywords}
        if new and len(account.keywords) + len(new) > KEYWORD_LIMIT:
            raise TooManyKeywords("the account uses too many keywords")

    def _words(self, account: Account, wanted: Sequence[NewKeyword]) -> tuple[int, ...]:
        for keyword in wanted:
            if not any(one.mac == keyword.mac for one in account.keywords):
                self._state.words += 1
                account.keywords.append(KeywordRow(self._state.words, keyword.mac, keyword.name))
        macs = {keyword.mac for keyword in wanted}
        return tuple(one.id for one in account.keywords if one.mac in macs)

    async def keywords(self, account: Mac) -> list[KeywordRow]:
        """See the contract."""
        known = self._state.accounts.get(account)
        return [] if known is None else list(known.keywords)

    async def split_keywords(self, account: Mac, listed: int, single: Sequence[NewKeyword]) -> None:
        """See the contract. The model has no version 1."""

    # --- journal ---

    async def journal(self, *, after: int, limit: int, account: Mac | None = None) -> list[JournalRow]:
        """See the contract."""
        return [row for row in self._state.journal if row.seq > after and account in (None, row.account)][:limit]

    async def forget_journal(self, account: Mac, *, through: int) -> int:
        """See the contract."""
        before = self._state.journal
        self._state.journal = [row for row in before if row.account != account or row.seq > through]
        return len(before) - len(self._state.journal)

    # --- derived values ---

    async def derived(self, items: Sequence[ItemId], kind: str) -> dict[ItemId, Sealed]:
        """See the contract."""
        there = [self._state.items[item] for item in items if item in self._state.items]
        return {one.new.id: one.derived[kind] for one in there if kind in one.derived}

    async def put_derived(self, kind: str, values: Mapping[ItemId, Sealed]) -> None:
        """See the contract."""
        for item, value in values.items():
            one = self._state.items.get(item)
            if one is not None and one.state is not ItemState.PURGED:
                one.derived[kind] = value
