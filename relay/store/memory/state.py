"""What the model remembers, and the steps that several calls share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState, legal
from relay.store.api import IllegalTransition
from relay.store.records import (
    Change,
    ChangeKind,
    Credential,
    ItemRow,
    JournalRow,
    KnownRecipient,
    Lease,
    Mac,
    MailboxRow,
    MessageRow,
    NewAccount,
    NewItem,
    RecipientRow,
    Sealed,
    SystemFlag,
)
from relay.store.rules import SHOWN_IN, lease_lost


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
    """One folder."""

    id: int
    account: Mac
    name_mac: Mac
    name: Sealed
    uidvalidity: int
    uidnext: int = 1
    messages: dict[int, MessageRow] = field(default_factory=dict)

    def row(self) -> MailboxRow:
        """As callers see it."""
        shown = self.messages.values()
        return MailboxRow(
            id=self.id,
            account=self.account,
            name_mac=self.name_mac,
            name=self.name,
            uidvalidity=self.uidvalidity,
            uidnext=self.uidnext,
            messages=len(shown),
            unseen=sum(not one.flags & SystemFlag.SEEN for one in shown),
            size=sum(one.size for one in shown),
        )


@dataclass
class State:
    """Everything."""

    items: dict[ItemId, Item] = field(default_factory=dict)
    staged: dict[ItemId, tuple[float, dict[int, Sealed]]] = field(default_factory=dict)
    boxes: dict[int, Box] = field(default_factory=dict)
    inboxes: dict[Mac, int] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    journal: list[JournalRow] = field(default_factory=list)
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
        """Contract 5, 6, 9."""
        if not legal(item.state, to):
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
            box = self.boxes[number]
            seq = self.announce(ChangeKind.ARRIVED, now, item=item.new.id, mailbox=number, uid=box.uidnext)
            box.messages[box.uidnext] = MessageRow(
                uid=box.uidnext,
                item=item.new.id,
                internal_date=item.new.received_at,
                size=item.new.size,
                flags=0,
                keywords=None,
                changed=seq,
            )
            box.uidnext += 1

    def inbox(self, account: NewAccount, now: float) -> int:
        """Created where missing."""
        if account.mac not in self.inboxes:
            number = len(self.boxes) + 1
            uidvalidity = min(max(1, int(now)), 0x7FFF_FFFF)
            self.boxes[number] = Box(number, account.mac, account.inbox_mac, account.inbox_name, uidvalidity)
            self.inboxes[account.mac] = number
            self.announce(ChangeKind.MAILBOX, now, mailbox=number)
        return self.inboxes[account.mac]

    def held(self, lease: Lease) -> Item:
        """The leased item; LeaseLost for an old token."""
        item = self.items.get(lease.item)
        if item is None or item.owner != lease.owner or item.token != lease.token:
            raise lease_lost(lease)
        return item
