"""Mailboxes, feed and directory of the model, and the model as one object."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.store.memory.queueing import MemoryQueue
from relay.store.memory.state import State
from relay.store.records import (
    Change,
    ChangeKind,
    Credential,
    FlagChange,
    JournalEntry,
    JournalRow,
    KnownRecipient,
    Mac,
    MailboxRow,
    MessageRow,
    NewAccount,
    Sealed,
)


class MemoryStore(MemoryQueue):
    """`store.api.Store` without a disk."""

    def __init__(self, *, dedup_window: float = 600.0) -> None:
        self._state = State()
        self._dedup_window = dedup_window

    async def close(self) -> None:
        """Nothing to let go."""

    # --- mailboxes ---

    async def ensure_account(self, account: NewAccount, *, now: float) -> MailboxRow:
        """See the contract."""
        return self._state.boxes[self._state.inbox(account, now)].row()

    async def mailboxes(self, account: Mac) -> list[MailboxRow]:
        """See the contract."""
        return [box.row() for box in self._state.boxes.values() if box.account == account]

    async def mailbox(self, account: Mac, name_mac: Mac) -> MailboxRow | None:
        """See the contract."""
        return next((row for row in await self.mailboxes(account) if row.name_mac == name_mac), None)

    async def messages(self, mailbox: int, *, after_uid: int = 0, limit: int = 10_000) -> list[MessageRow]:
        """See the contract."""
        box = self._state.boxes.get(mailbox)
        return [] if box is None else [row for uid, row in sorted(box.messages.items()) if uid > after_uid][:limit]

    async def message_rows(self, mailbox: int, uids: Sequence[int]) -> list[MessageRow]:
        """See the contract."""
        return [row for row in await self.messages(mailbox) if row.uid in uids]

    async def change_flags(
        self, mailbox: int, changes: Sequence[FlagChange], journal: JournalEntry, *, now: float
    ) -> list[MessageRow]:
        """See the contract."""
        box = self._state.boxes[mailbox]
        self._record(mailbox, journal, now)
        for change in changes:
            row = box.messages.get(change.uid)
            if row is None:
                continue
            flags = row.flags & ~change.remove | change.add
            if flags != row.flags or not change.keep_keywords:
                seq = self._state.announce(ChangeKind.FLAGS, now, item=row.item, mailbox=mailbox, uid=row.uid)
                keywords = row.keywords if change.keep_keywords else change.keywords
                box.messages[row.uid] = MessageRow(row.uid, row.item, row.internal_date, row.size, flags, keywords, seq)
        return await self.message_rows(mailbox, [change.uid for change in changes])

    async def expunge(self, mailbox: int, uids: Sequence[int], journal: JournalEntry, *, now: float) -> list[int]:
        """See the contract."""
        box = self._state.boxes[mailbox]
        self._record(mailbox, journal, now)
        gone = sorted(set(uids) & set(box.messages))
        for uid in gone:
            item = box.messages.pop(uid).item
            self._state.announce(ChangeKind.EXPUNGED, now, item=item, mailbox=mailbox, uid=uid)
        return gone

    def _record(self, mailbox: int, entry: JournalEntry, now: float) -> None:
        account = self._state.boxes[mailbox].account
        seq = len(self._state.journal) + 1
        self._state.journal.append(
            JournalRow(seq, now, account, mailbox, entry.kind, entry.session, entry.base, entry.body)
        )

    async def journal(self, *, after: int, limit: int) -> list[JournalRow]:
        """See the contract."""
        return self._state.journal[after : after + limit]

    async def derived(self, items: Sequence[ItemId], kind: str) -> dict[ItemId, Sealed]:
        """See the contract."""
        return {one.new.id: one.derived[kind] for one in self._known(items) if kind in one.derived}

    async def put_derived(self, kind: str, values: Mapping[ItemId, Sealed]) -> None:
        """See the contract."""
        for one in self._known(values):
            if one.state is not ItemState.PURGED:
                one.derived[kind] = values[one.new.id]

    # --- feed ---

    async def last_change(self) -> int:
        """See the contract."""
        return self._state.last

    async def changes(self, *, after: int, limit: int, kinds: Sequence[ChangeKind] = ()) -> list[Change]:
        """See the contract."""
        return [c for c in self._state.changes if c.seq > after and (not kinds or c.kind in kinds)][:limit]

    async def ledger(self, item: ItemId) -> list[Change]:
        """See the contract."""
        return [c for c in self._state.changes if c.item == item and c.kind is ChangeKind.ITEM]

    async def wait_change(self, *, after: int, timeout: float) -> int:
        """See the contract."""
        try:
            async with asyncio.timeout(timeout):
                while self._state.last <= after:
                    await self._state.news.wait()
        except TimeoutError:
            pass
        return self._state.last

    async def trim_changes(self, *, before: float, limit: int) -> int:
        """See the contract."""
        state = self._state
        gone = {c.seq for c in [c for c in state.changes if c.at < before and self._free(c)][:limit]}
        state.changes = [c for c in state.changes if c.seq not in gone]
        named = {c.item for c in state.changes}
        for item in [i for i, one in state.items.items() if one.state is ItemState.PURGED and i not in named]:
            del state.items[item]
        return len(gone)

    def _free(self, change: Change) -> bool:
        if change.seq == self._state.last:
            return False
        item = None if change.item is None else self._state.items.get(change.item)
        return change.kind is not ChangeKind.ITEM or item is None or item.state is ItemState.PURGED

    # --- directory ---

    async def known_recipients(self, macs: Sequence[Mac]) -> dict[Mac, KnownRecipient]:
        """See the contract."""
        return {mac: self._state.known[mac] for mac in macs if mac in self._state.known}

    async def learn_recipients(self, domain: Mac, known: Sequence[KnownRecipient]) -> None:
        """See the contract."""
        if known:
            self._state.domains.setdefault(domain, min(one.seen_at for one in known))
        for one in known:
            before = self._state.known.get(one.mac)
            if before is None or one.seen_at >= before.seen_at:
                self._state.known[one.mac] = one

    async def domain_first_seen(self, domain: Mac) -> float | None:
        """See the contract."""
        return self._state.domains.get(domain)

    async def credential(self, mac: Mac, kind: str) -> Credential | None:
        """See the contract."""
        return self._state.credentials.get((mac, kind))

    async def put_credential(self, credential: Credential) -> None:
        """See the contract."""
        self._state.credentials[credential.mac, credential.kind] = credential

    async def delete_credential(self, mac: Mac, kind: str | None = None) -> int:
        """See the contract."""
        gone = [key for key in self._state.credentials if key[0] == mac and kind in (None, key[1])]
        for key in gone:
            del self._state.credentials[key]
        return len(gone)

    async def credentials(self, kind: str | None = None) -> list[Credential]:
        """See the contract."""
        return [one for key, one in sorted(self._state.credentials.items()) if kind in (None, key[1])]

    async def setting(self, name: str) -> bytes | None:
        """See the contract."""
        return self._state.settings.get(name)

    async def put_setting(self, name: str, value: bytes, *, now: float) -> None:
        """See the contract."""
        self._state.settings[name] = value
        self._state.announce(ChangeKind.SETTING, now, new=name)

    async def put_setting_if_absent(self, name: str, value: bytes, *, now: float) -> bytes:
        """See the contract."""
        if name not in self._state.settings:
            await self.put_setting(name, value, now=now)
        return self._state.settings[name]

    async def swap_setting(self, name: str, value: bytes, *, expected: bytes | None, now: float) -> bool:
        """See the contract."""
        if self._state.settings.get(name) != expected:
            return False
        await self.put_setting(name, value, now=now)
        return True

    async def acquire(self, name: str, owner: str, *, now: float, until: float) -> int | None:
        """See the contract."""
        holder, token, end = self._state.leases.get(name, (None, 0, 0.0))
        if holder not in (None, owner) and end > now:
            return None
        renewal = holder == owner and end > now
        self._state.leases[name] = owner, token if renewal else token + 1, until
        return self._state.leases[name][1]

    async def give_up(self, name: str, owner: str) -> None:
        """See the contract."""
        holder, token, _ = self._state.leases.get(name, (None, 0, 0.0))
        if holder == owner:
            self._state.leases[name] = None, token, 0.0
