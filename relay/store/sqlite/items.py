"""Statements on items that more than one call needs; all run inside a job."""

# ruff: noqa: S608 -- statements are joined from our own words; values are always bound
from __future__ import annotations

from typing import Any

import apsw

from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.store.api import IllegalTransition
from relay.store.records import Lease, NewAccount, NewItem, Outcome
from relay.store.rules import SHOWN_IN, lease_lost, next_uidvalidity
from relay.store.sqlite.jobs import Tx

_MOST_REMEMBERED = 50_000

LET_GO = (
    "NOT (state = 'stored' AND EXISTS (SELECT 1 FROM message WHERE message.item = item.n)) "
    "AND NOT EXISTS (SELECT 1 FROM journal WHERE at >= ? AND account IN ("
    "SELECT a.mac FROM recipient r JOIN mailbox b ON b.id = r.inbox JOIN account a ON a.id = b.account "
    "WHERE r.item = item.n "
    "UNION SELECT a.mac FROM message m JOIN mailbox b ON b.id = m.mailbox JOIN account a ON a.id = b.account "
    "WHERE m.item = item.n))"
)
"""Contract 17 and 18, as a condition on `item`: nobody's mailbox and nobody's journal needs it."""


_INSERT = (
    "INSERT INTO item (n, id, state, route, received_at, size, key_id, wrapped_key, envelope, chunk_count, "
    "changed_at, message_mac, dedup, shown, lease_owner, lease_token, lease_until) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_STATE = "state = iif(route = 'mailbox' AND ?1 = 'pending', 'stored', ?1), changed_at = ?2"
"""What a user put into a mailbox rests there, not in a queue."""
_STEP = f"UPDATE item SET {_STATE} WHERE n = ?3 RETURNING n, shown"
_INTEND = (
    f"UPDATE item SET {_STATE} WHERE id = ?3 AND lease_token = ?4 AND lease_owner = ?5 AND lease_until > ?2 "
    "RETURNING n, shown"
)
_SETTLE = (
    f"UPDATE item SET {_STATE}, next_attempt_at = ?3, note = ?4, attempts = attempts + ?5, lease_owner = NULL, "
    "lease_until = 0 WHERE id = ?6 AND lease_token = ?7 AND lease_owner = ?8 RETURNING n, shown"
)


def insert(tx: Tx, n: int, new: NewItem, now: float, *, shown: bool) -> None:
    """The row of a new item; a trigger checks its birth and writes the ledger. apsw.ConstraintError: it is there."""
    leased = new.owner is not None
    tx.execute(
        _INSERT,
        (
            n,
            new.id,
            str(new.state),
            str(new.route),
            new.received_at,
            new.size,
            new.key_id,
            new.wrapped_key,
            new.envelope,
            new.chunk_count,
            now,
            new.message_mac,
            new.dedup,
            shown,
            new.owner,
            int(leased),
            new.lease_until if leased else 0.0,
        ),
    )


def step(tx: Tx, n: int, to: ItemState, now: float) -> None:
    """Contract 5, 6 and 9: the trigger checks and writes the ledger; then the message is shown where that is due."""
    _step(tx, _STEP, to, (now, n))


def intend(tx: Tx, lease: Lease, now: float) -> None:
    """`step` to INTENT. LeaseLost for an old token (contract 4), and for a lease that is over, granted again or not."""
    if _step(tx, _INTEND, ItemState.INTENT, (now, lease.item, lease.token, lease.owner)) is None:
        raise lease_lost(lease)


def settle(tx: Tx, lease: Lease, outcome: Outcome, now: float) -> int:
    """`step` with what an attempt came to, and the end of its lease; the short name. LeaseLost for an old token."""
    bindings = (now, outcome.next_attempt_at, outcome.note, outcome.counts_as_attempt)
    n = _step(tx, _SETTLE, outcome.state, (*bindings, lease.item, lease.token, lease.owner))
    if n is None:
        raise lease_lost(lease)
    return n


def _step(tx: Tx, statement: str, to: ItemState, bindings: tuple[Any, ...]) -> int | None:
    """The short name of the item that took the step; None where the conditions of the statement do not hold."""
    try:
        found: tuple[int, int] | None = tx.execute(statement, (str(to), *bindings)).get
    except apsw.ConstraintError as error:
        if "illegal transition" not in str(error):
            raise
        raise IllegalTransition(f"the table allows no step to {to}") from None
    if found is None:
        return None
    n, shown = found
    if to in SHOWN_IN and not shown:
        _show_first(tx, n)
    return n


def _show_first(tx: Tx, n: int) -> None:
    boxes: list[int] = [
        row[0]
        for row in tx.rows(
            "SELECT inbox FROM recipient WHERE item = ? AND inbox IS NOT NULL GROUP BY inbox ORDER BY min(idx)",
            (n,),
        )
    ]
    shape = tx.execute("SELECT id, received_at, size FROM item WHERE n = ?", (n,)).get
    show(tx, n, shape, boxes)
    tx.execute("UPDATE item SET shown = 1 WHERE n = ?", (n,))


def show(tx: Tx, n: int, shape: tuple[str, float, int], boxes: list[int]) -> None:
    """Put the message (id, date, size) into mailboxes under their next UIDs; a trigger moves UIDNEXT and the feed."""
    for box in boxes:
        # VALUES with subqueries: INSERT ... SELECT would go through a temporary table, five times as slow.
        tx.execute(
            "INSERT INTO message (mailbox, uid, item, id, internal_date, size, changed) "
            "VALUES (?1, (SELECT uidnext FROM mailbox WHERE id = ?1), ?2, ?3, ?4, ?5, "
            "(SELECT coalesce(max(seq), 0) + 1 FROM change))",
            (box, n, *shape),
        )


def unshow(tx: Tx, n: int, now: float) -> None:
    """Take the message out of every mailbox, announced as expunged."""
    tx.execute(
        "INSERT INTO change (at, kind, item, mailbox, uid) "
        "SELECT ?, 'expunged', item, mailbox, uid FROM message WHERE item = ? ORDER BY mailbox, uid",
        (now, n),
    )
    tx.execute("DELETE FROM message WHERE item = ?", (n,))


def inbox(tx: Tx, account: NewAccount, now: float) -> int:
    """Id of the account's INBOX, created with the account where missing."""
    known = tx.inboxes.get(account.mac)
    if known is not None:
        return known
    found: int | None = tx.execute("SELECT inbox FROM account WHERE mac = ?", (account.mac,)).get
    if found is None:
        found = _new_account(tx, account, now)
    if len(tx.inboxes) >= _MOST_REMEMBERED:
        tx.inboxes.clear()
    tx.inboxes[account.mac] = found
    return found


def _new_account(tx: Tx, account: NewAccount, now: float) -> int:
    uidvalidity = next_uidvalidity(0, now)
    box: int = tx.execute(
        "INSERT INTO mailbox (account, name_mac, name, uidvalidity) "
        "VALUES ((SELECT coalesce(max(id), 0) + 1 FROM account), ?, ?, ?) RETURNING id",
        (account.inbox_mac, account.inbox_name, uidvalidity),
    ).get
    tx.execute(
        "INSERT INTO account (id, mac, address, inbox, uidvalidity) "
        "SELECT account, ?, ?, id, uidvalidity FROM mailbox WHERE id = ?",
        (account.mac, account.address, box),
    )
    tx.execute(
        "INSERT INTO subscription (account, name_mac, name) SELECT account, name_mac, name FROM mailbox WHERE id = ?",
        (box,),
    )
    tx.execute("INSERT INTO change (at, kind, mailbox, becomes) VALUES (?, 'mailbox', ?, 'created')", (now, box))
    return box


def end_lease(tx: Tx, n: int) -> None:
    """The token stays, so that the next grant is above it."""
    tx.execute("UPDATE item SET lease_owner = NULL, lease_until = 0 WHERE n = ?", (n,))


def known(tx: Tx, item: ItemId) -> tuple[int, str, str | None, float]:
    """Short name, state, lease owner and end; KeyError."""
    row: tuple[int, str, str | None, float] | None = tx.execute(
        "SELECT n, state, lease_owner, lease_until FROM item WHERE id = ?", (item,)
    ).get
    if row is None:
        raise KeyError(item)
    return row
