"""Statements on messages in mailboxes that more than one call needs; all but `usage` run inside a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import apsw

from relay.core.ids import ItemId
from relay.store.mailbox_records import Usage
from relay.store.records import Effect, Mac
from relay.store.sqlite.jobs import Tx

_PLACE = (
    "INSERT INTO message (mailbox, uid, item, id, internal_date, size, flags, keywords, saved, changed) "
    "VALUES (?1, (SELECT uidnext FROM mailbox WHERE id = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, "
    "(SELECT coalesce(max(seq), 0) + 1 FROM change)) RETURNING uid"
)


class Place(NamedTuple):
    """A mailbox that is there."""

    account: int
    mac: Mac
    uidvalidity: int
    name: Mac


class Shape(NamedTuple):
    """What of a message goes along when it is put into a mailbox."""

    n: int
    item: ItemId
    internal_date: float
    size: int
    flags: int
    keywords: bytes | None


def place(tx: Tx, mailbox: int) -> Place:
    """KeyError where there is none, or no more."""
    found = tx.execute(
        "SELECT a.id, a.mac, m.uidvalidity, m.name_mac FROM mailbox m JOIN account a ON a.id = m.account "
        "WHERE m.id = ? AND m.gone IS NULL",
        (mailbox,),
    ).fetchone()
    if found is None:
        raise KeyError(mailbox)
    return Place(*found)


def put(tx: Tx, mailbox: int, shape: Shape, now: float) -> int:
    """Its UID, the mailbox's next one; a trigger moves UIDNEXT, the figures and the feed."""
    uid: int = tx.execute(
        _PLACE,
        (mailbox, shape.n, shape.item, shape.internal_date, shape.size, shape.flags, shape.keywords, now),
    ).get
    return uid


def remove(tx: Tx, mailbox: int, uids: Sequence[int], now: float) -> list[Effect]:
    """Those that were there, announced."""
    return list(_removed(tx, mailbox, uids, now))


def _removed(tx: Tx, mailbox: int, uids: Sequence[int], now: float) -> Iterator[Effect]:
    for uid in sorted(set(uids)):
        gone = tx.execute(
            "DELETE FROM message WHERE mailbox = ? AND uid = ? RETURNING item, id, flags", (mailbox, uid)
        ).fetchone()
        if gone is not None:
            n, item, flags = gone
            tx.execute(
                "INSERT INTO change (at, kind, item, mailbox, uid) VALUES (?, 'expunged', ?, ?, ?)",
                (now, n, mailbox, uid),
            )
            yield Effect(uid, item, was=flags)


def transfer(tx: Tx, mailbox: int, uids: Sequence[int], target: int, now: float, *, remove: bool) -> list[Effect]:
    """Copy or move what is there, in UID order."""
    effects: list[Effect] = []
    for uid, shape in shapes(tx, mailbox, uids):
        new = put(tx, target, shape, now)
        if remove:
            list(_removed(tx, mailbox, [uid], now))
        effects.append(Effect(uid, shape.item, new, shape.flags, shape.flags))
    return effects


def shapes(tx: Tx, mailbox: int, uids: Sequence[int]) -> list[tuple[int, Shape]]:
    """The named messages that are there, by ascending UID."""
    found: list[tuple[int, Shape]] = []
    for uid in sorted(set(uids)):
        row = tx.execute(
            "SELECT item, id, internal_date, size, flags, keywords FROM message WHERE mailbox = ? AND uid = ?",
            (mailbox, uid),
        ).fetchone()
        if row is not None:
            found.append((uid, Shape(*row)))
    return found


def usage(connection: apsw.Connection, account: int | None) -> Usage:
    """Sums of the mailboxes' counters."""
    held = connection.execute(
        "SELECT coalesce(sum(messages), 0), coalesce(sum(size), 0) FROM mailbox WHERE account = ?", (account,)
    ).fetchone()
    assert held is not None
    return Usage(*held)
