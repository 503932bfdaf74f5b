"""Items and accounts to store; everything in them is opaque to the store anyway."""

from __future__ import annotations

from relay.core.ids import ItemId, from_bytes
from relay.core.item import ItemState
from relay.store.api import Store
from relay.store.mailbox_records import NewMessage
from relay.store.records import (
    FlagChange,
    JournalEntry,
    MailboxRow,
    NewAccount,
    NewItem,
    NewKeyword,
    NewRecipient,
    Route,
)

NOW = 1_800_000_000.0
JOURNAL = JournalEntry("store", "session", 0, b"sealed details")


def item_id(number: int) -> ItemId:
    """Ids in order of their numbers."""
    return from_bytes(number.to_bytes(16, "big"))


def account(name: str) -> NewAccount:
    """A reader of this standby."""
    mac = name.encode().ljust(16, b".")
    return NewAccount(mac, b"address of " + mac, b"inbox of " + mac, b"INBOX for " + mac)


def new_item(
    number: int,
    *names: str,
    state: ItemState = ItemState.PENDING,
    at: float = NOW,
    size: int = 1000,
    chunks: tuple[bytes, ...] = (b"chunk 0",),
    chunk_count: int | None = None,
    route: Route = Route.PRIMARY,
    dedup: bytes | None = None,
    owner: str | None = None,
    lease_until: float = 0.0,
) -> NewItem:
    """An item for accounts `names` (`-` = a recipient whom nobody here reads)."""
    return NewItem(
        id=item_id(number),
        state=state,
        received_at=at,
        size=size,
        key_id="key-1",
        wrapped_key=b"wrapped %d" % number,
        envelope=b"envelope %d" % number,
        recipients=tuple(
            NewRecipient(name.encode().ljust(16, b"@"), None if name == "-" else account(name))
            for name in names or ("ann",)
        ),
        chunks=chunks,
        chunk_count=len(chunks) if chunk_count is None else chunk_count,
        route=route,
        message_mac=b"message-id %d" % number,
        dedup=dedup,
        owner=owner,
        lease_until=lease_until,
    )


def intent(number: int, *names: str, until: float = NOW + 60) -> NewItem:
    """An item in cut-through."""
    return new_item(number, *names, state=ItemState.INTENT, owner="inbound", lease_until=until)


def seen(uid: int) -> FlagChange:
    """+FLAGS (\\Seen)."""
    return FlagChange(uid, add=1)


async def folders_of(store: Store, name: str = "ann") -> list[MailboxRow]:
    """All folders of an account; none for an unknown one."""
    tree = await store.folders(account(name).mac)
    return [] if tree is None else list(tree.mailboxes)


def name_of(text: str) -> bytes:
    """What stands for a folder name."""
    return b"name " + text.encode().ljust(11, b".")


def word(text: str) -> NewKeyword:
    """A keyword."""
    return NewKeyword(b"word " + text.encode(), b"sealed " + text.encode())


def new_message(
    number: int, *words: str, size: int = 100, flags: int = 0, date: float = NOW - 1000, chunk_count: int = 1
) -> NewMessage:
    """What a user puts into a mailbox."""
    item = NewItem(
        id=item_id(number),
        state=ItemState.STORED,
        received_at=NOW,
        size=size,
        key_id="key-1",
        wrapped_key=b"wrapped %d" % number,
        envelope=b"envelope %d" % number,
        recipients=(),
        chunks=(b"chunk of %d" % number,),
        chunk_count=chunk_count,
        route=Route.MAILBOX,
    )
    return NewMessage(item, date, flags, tuple(word(text) for text in words))
