"""Database rows to records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apsw

from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.store.records import (
    Change,
    ChangeKind,
    ItemRow,
    Lease,
    MailboxRow,
    MessageRow,
    RecipientRow,
    Route,
)
from relay.store.sqlite.keywords import unpack

ITEM = (
    "SELECT id, state, route, received_at, size, key_id, wrapped_key, envelope, chunk_count, attempts, "
    "next_attempt_at, changed_at, note, message_mac, lease_owner, lease_token, lease_until, n FROM item "
)
MAILBOX = (
    "SELECT m.id, a.mac, m.name_mac, m.name, m.uidvalidity, m.uidnext, m.messages, m.unseen, m.size, "
    "EXISTS (SELECT 1 FROM subscription s WHERE s.account = m.account AND s.name_mac = m.name_mac), m.special_use, "
    "m.deleted FROM mailbox m JOIN account a ON a.id = m.account WHERE m.gone IS NULL "
)
MESSAGE = "SELECT uid, id, internal_date, size, flags, keywords, changed, coalesce(saved, internal_date) FROM message "
CHANGE = (
    "SELECT c.seq, c.at, c.kind, i.id, c.mailbox, c.uid, c.was, c.becomes FROM change c "
    "LEFT JOIN item i ON i.n = c.item "
)

_STATES = {str(state): state for state in ItemState}
_ROUTES = {str(route): route for route in Route}
_RECIPIENT_STATES = {str(state): state for state in RecipientState}
_KINDS = {str(kind): kind for kind in ChangeKind}


def items(connection: apsw.Connection, where: str, bindings: tuple[Any, ...]) -> list[ItemRow]:
    """Items with their recipients; `where` is the rest of the statement."""
    return [_item(connection, row) for row in connection.execute(ITEM + where, bindings).fetchall()]


def _item(connection: apsw.Connection, row: tuple[Any, ...]) -> ItemRow:
    *fields, owner, token, until, n = row
    item = ItemId(fields[0])
    fields[1], fields[2] = _STATES[fields[1]], _ROUTES[fields[2]]
    recipients = tuple(
        RecipientRow(idx, mac, _RECIPIENT_STATES[state], detail)
        for idx, mac, state, detail in connection.execute(
            "SELECT idx, mac, state, detail FROM recipient WHERE item = ? ORDER BY idx", (n,)
        )
    )
    fields += [recipients, None if owner is None else Lease(item, owner, token, until)]
    return ItemRow(*fields)


def mailboxes(rows: Iterable[tuple[Any, ...]]) -> list[MailboxRow]:
    """From MAILBOX."""
    return [MailboxRow(*[*row[:-3], bool(row[-3]), *row[-2:]]) for row in rows]


def messages(rows: Iterable[tuple[Any, ...]]) -> list[MessageRow]:
    """From MESSAGE."""
    return [
        MessageRow(uid, item, date, size, flags, () if words is None else unpack(words), changed, saved)
        for uid, item, date, size, flags, words, changed, saved in rows
    ]


def changes(rows: Iterable[tuple[Any, ...]]) -> list[Change]:
    """From CHANGE."""
    return [Change(seq, at, _KINDS[kind], *rest) for seq, at, kind, *rest in rows]
