"""What the model remembers, and the steps that several calls share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState, legal
from relay.store.api import IllegalTransition
from relay.store.mailbox_records import Usage
from relay.store.records import (
    Change,
    ChangeKind,
    Credential,
    Effect,
    ItemRow,
    JournalEntry,
    JournalRow,
    KeywordRow,
    KnownRecipient,
    Lease,
    Mac,
    MessageRow,
    NewAccount,
    NewItem,
    RecipientRow,
    Route,
    Sealed,
)
from relay.store.rules import SHOWN_IN, lease_lost, next_uidvalidity


@dataclass
class Item:
    """One item; `new` keeps what never changes."""

    new: NewItem
    state: ItemState
    changed_at: float
    key_id: str
    wrapped_key: bytes
    boxes: list[int]
    recipients: list[RecipientRow]
    dedup: Mac | None
    attempts: int = 0
    next_attempt_at: float = 0.0
    note: Sealed | None = None
    shown: bool = False
    owner: str | None = None
    token: int = 0
    until: float = 0.0
    chunks: dict[int, Sealed] = field(default_factory=dict)
    derived: dict[str, Sealed] = field(default_factory=dict)

    def row(self) -> ItemRow:
        """As callers see it."""
        new = self.new
        return ItemRow(
            id=new.id,
            state=self.state,
            route=new.route,
            received_at=new.received_at,
            size=new.size,
            key_id=self.key_id,
            wrapped_key=self.wrapped_key,
            envelope=new.envelope,
            chunk_count=new.chunk_count,
            attempts=self.attempts,
            next_attempt_at=self.next_attempt_at,
            changed_at=self.changed_at,
            note=self.note,
            message_mac=new.message_mac,
            recipients=tuple(self.recipients),
            lease=None if self.owner is None else Lease(new.id, self.owner, self.token, self.until),
        )

    def end_lease(self) -> None:
        """The token stays."""
        self.owner, self.until = None, 0.0

    def set_recipients(self, old: frozenset[RecipientState], new: RecipientState) -> None:
        """All in a state of `old` become `new`."""
        self.recipients = [
            RecipientRow(one.index, one.mac, new, one.detail) if one.state in old else one for one in self.recipients
        ]


@dataclass
class Box:
    """One folder; `gone` once it was deleted."""

    id: int
    account: Mac
    name_mac: Mac
    name: Sealed
    uidvalidity: int
    special_use: str | None = None
    uidnext: int = 1
    messages: dict[int, MessageRow] = field(default_factory=dict)
    gone: bool = False


@dataclass
class Account:
    """One user."""

    inbox: int
    uidvalidity: int
    """The highest given out."""
    version: int = 0
    subscriptions: dict[Mac, Sealed] = field(default_factory=dict)
    left: dict[Mac, int] = field(default_factory=dict)
    """Name -> the highest UIDVALIDITY that it showed before its mailbox left it."""
    keywords: list[KeywordRow] = field(default_factory=list)


@dataclass
class State:
    """Everything."""

    items: dict[ItemId, Item] = field(default_factory=dict)
    staged: dict[ItemId, tuple[float, dict[int, Sealed]]] = field(default_factory=dict)
    boxes: dict[int, Box] = field(default_factory=dict)
    accounts: dict[Mac, Account] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    journal: list[JournalRow] = field(default_factory=list)
    journalled: int = 0
    """The highest `seq` in the journal so far."""
    words: int = 0
    """The highest id of a keyword so far."""
    known: dict[Mac, KnownRecipient] = field(default_factory=dict)
    domains: dict[Mac, float] = field(default_factory=dict)
    credentials: dict[tuple[Mac, str], Credential] = field(default_factory=dict)
    settings: dict[str, bytes] = field(default_factory=dict)
    leases: dict[str, tuple[str | None, int, float]] = field(default_factory=dict)
    """Named lease -> owner, token, until."""
    last: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def announce(
        self,
        kind: ChangeKind,
        now: float,
        *,
        item: ItemId | None = None,
        mailbox: int | None = None,
        uid: int | None = None,
        old: str | None = None,
        new: str | None = None,
    ) -> int:
        """Append to the feed; the entry's `seq`."""
        self.last += 1
        self.changes.append(Change(self.last, now, kind, item, mailbox, uid, old, new))
        self.news.set()
        self.news = asyncio.Event()
        return self.last

    def step(self, item: Item, to: ItemState, now: float) -> None:
        """Contract 5, 6, 9, 17."""
        own = item.new.route is Route.MAILBOX
        if own and to is ItemState.PENDING:
            to = ItemState.STORED
        if not legal(item.state, to) or (to is ItemState.STORED) > own:
            raise IllegalTransition(f"the table allows no step to {to}")
        self.announce(ChangeKind.ITEM, now, item=item.new.id, old=item.state, new=to)
        item.state, item.changed_at = to, now
        self.show(item, now)

    def show(self, item: Item, now: float) -> None:
        """Put it into its mailboxes where that is due and was not done."""
        if item.shown or item.state not in SHOWN_IN:
            return
        item.shown = True
        for number in item.boxes:
            at = item.new.received_at
            self.place(self.boxes[number], MessageRow(0, item.new.id, at, item.new.size, 0, (), 0, at), now)

    def place(self, box: Box, shape: MessageRow, now: float) -> int:
        """Put a message into a mailbox; its UID there."""
        uid, box.uidnext = box.uidnext, box.uidnext + 1
        seq = self.announce(ChangeKind.ARRIVED, now, item=shape.item, mailbox=box.id, uid=uid)
        box.messages[uid] = msgspec.structs.replace(shape, uid=uid, changed=seq)
        return uid

    def take_out(self, box: Box, uid: int, now: float) -> MessageRow:
        """Expunge a message that is there."""
        row = box.messages.pop(uid)
        self.announce(ChangeKind.EXPUNGED, now, item=row.item, mailbox=box.id, uid=uid)
        return row

    def inbox(self, account: NewAccount, now: float) -> int:
        """Created where missing."""
        known = self.accounts.get(account.mac)
        if known is None:
            box = self.new_box(account.mac, account.inbox_mac, account.inbox_name, next_uidvalidity(0, now), now)
            known = Account(box.id, box.uidvalidity, subscriptions={account.inbox_mac: account.inbox_name})
            self.accounts[account.mac] = known
        return known.inbox

    def new_box(self, account: Mac, name_mac: Mac, name: Sealed, uidvalidity: int, now: float) -> Box:
        """An empty folder, announced."""
        box = Box(len(self.boxes) + 1, account, name_mac, name, uidvalidity)
        self.boxes[box.id] = box
        self.announce(ChangeKind.MAILBOX, now, mailbox=box.id, new="created")
        return box

    def there(self, account: Mac) -> list[Box]:
        """The folders of an account."""
        return [box for box in self.boxes.values() if box.account == account and not box.gone]

    def box(self, mailbox: int) -> Box:
        """A folder that is there; KeyError."""
        box = self.boxes[mailbox]
        if box.gone:
            raise KeyError(mailbox)
        return box

    def usage(self, account: Mac) -> Usage:
        """What an account holds."""
        held = [row for box in self.there(account) for row in box.messages.values()]
        return Usage(len(held), sum(row.size for row in held))

    def transfer(self, source: Box, uids: Sequence[int], goal: Box, now: float, *, remove: bool) -> list[Effect]:
        """Copy or move messages that are there."""
        effects: list[Effect] = []
        for uid in uids:
            row = source.messages[uid]
            new = self.place(goal, msgspec.structs.replace(row, saved=now), now)
            if remove:
                self.take_out(source, uid, now)
            effects.append(Effect(uid, row.item, new, row.flags, row.flags))
        return effects

    def record(
        self, box: Box, entry: JournalEntry, now: float, effects: Sequence[Effect], to: int | None = None
    ) -> None:
        """Write down an action."""
        self.journalled += 1
        fields = (entry.kind, entry.session, entry.base, entry.body, to, tuple(effects))
        self.journal.append(JournalRow(self.journalled, now, box.account, box.id, *fields))

    def let_go(self, item: Item, changed_before: float) -> bool:
        """Contract 17 and 18: nobody's mailbox and nobody's journal needs it."""
        shown_in = [box for box in self.boxes.values() for row in box.messages.values() if row.item == item.new.id]
        if item.state is ItemState.STORED and shown_in:
            return False
        readers = {box.account for box in shown_in} | {self.boxes[number].account for number in item.boxes}
        return not any(row.account in readers and row.at >= changed_before for row in self.journal)

    def held(self, lease: Lease) -> Item:
        """The leased item; LeaseLost for an old token."""
        item = self.items.get(lease.item)
        if item is None or item.owner != lease.owner or item.token != lease.token:
            raise lease_lost(lease)
        return item
