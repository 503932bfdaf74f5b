"""What users see on the standby and what they do to it (`store.api.MailboxStore`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import apsw

from relay.core.ids import ItemId
from relay.store.records import (
    FlagChange,
    JournalEntry,
    JournalRow,
    Mac,
    MailboxRow,
    MessageRow,
    NewAccount,
    Sealed,
)
from relay.store.sqlite import items, rows
from relay.store.sqlite.jobs import Tx
from relay.store.sqlite.part import Part


def _message(connection: apsw.Connection, mailbox: int, uids: Sequence[int]) -> list[MessageRow]:
    return [
        row
        for uid in sorted(set(uids))
        for row in rows.messages(connection.execute(rows.MESSAGE + "WHERE mailbox = ? AND uid = ?", (mailbox, uid)))
    ]


def _record(tx: Tx, mailbox: int, entry: JournalEntry, now: float) -> None:
    """Journal what a user did; KeyError for a mailbox that is not there."""
    account = tx.execute(
        "SELECT a.mac FROM mailbox m JOIN account a ON a.id = m.account WHERE m.id = ?", (mailbox,)
    ).get
    if account is None:
        raise KeyError(mailbox)
    tx.execute(
        "INSERT INTO journal (at, account, mailbox, kind, session, base, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (now, account, mailbox, entry.kind, entry.session, entry.base, entry.body),
    )


def _change_flags(tx: Tx, mailbox: int, change: FlagChange, now: float) -> None:
    found = tx.execute("SELECT item, flags FROM message WHERE mailbox = ? AND uid = ?", (mailbox, change.uid)).get
    if found is None:
        return
    item, before = found
    flags = before & ~change.remove | change.add
    if flags == before and change.keep_keywords:
        return
    seq = tx.execute(
        "INSERT INTO change (at, kind, item, mailbox, uid) VALUES (?, 'flags', ?, ?, ?) RETURNING seq",
        (now, item, mailbox, change.uid),
    ).get
    if change.keep_keywords:
        tx.execute(
            "UPDATE message SET flags = ?, changed = ? WHERE mailbox = ? AND uid = ?", (flags, seq, mailbox, change.uid)
        )
    else:
        tx.execute(
            "UPDATE message SET flags = ?, keywords = ?, changed = ? WHERE mailbox = ? AND uid = ?",
            (flags, change.keywords, seq, mailbox, change.uid),
        )


class Mailboxes(Part):
    """Folders, messages, flags, journal, derived values."""

    async def ensure_account(self, account: NewAccount, *, now: float) -> MailboxRow:
        """See the contract."""

        def run(tx: Tx) -> MailboxRow:
            box = items.inbox(tx, account, now)
            return rows.mailboxes(tx.execute(rows.MAILBOX + "WHERE m.id = ?", (box,)))[0]

        return await self._write(run)

    async def mailboxes(self, account: Mac) -> list[MailboxRow]:
        """See the contract."""
        return await self._read(
            lambda connection: rows.mailboxes(
                connection.execute(rows.MAILBOX + "WHERE a.mac = ? ORDER BY m.id", (account,))
            )
        )

    async def mailbox(self, account: Mac, name_mac: Mac) -> MailboxRow | None:
        """See the contract."""
        found = await self._read(
            lambda connection: rows.mailboxes(
                connection.execute(rows.MAILBOX + "WHERE a.mac = ? AND m.name_mac = ?", (account, name_mac))
            )
        )
        return found[0] if found else None

    async def messages(self, mailbox: int, *, after_uid: int = 0, limit: int = 10_000) -> list[MessageRow]:
        """See the contract."""
        return await self._read(
            lambda connection: rows.messages(
                connection.execute(
                    rows.MESSAGE + "WHERE mailbox = ? AND uid > ? ORDER BY uid LIMIT ?", (mailbox, after_uid, limit)
                )
            )
        )

    async def message_rows(self, mailbox: int, uids: Sequence[int]) -> list[MessageRow]:
        """See the contract."""
        return await self._read(lambda connection: _message(connection, mailbox, uids))

    async def change_flags(
        self, mailbox: int, changes: Sequence[FlagChange], journal: JournalEntry, *, now: float
    ) -> list[MessageRow]:
        """See the contract. Announced only where something changed. KeyError: no such mailbox."""

        def run(tx: Tx) -> list[MessageRow]:
            _record(tx, mailbox, journal, now)
            for change in changes:
                _change_flags(tx, mailbox, change, now)
            return _message(tx.connection, mailbox, [change.uid for change in changes])

        return await self._write(run)

    async def expunge(self, mailbox: int, uids: Sequence[int], journal: JournalEntry, *, now: float) -> list[int]:
        """See the contract. KeyError: no such mailbox."""

        def gone(tx: Tx) -> Iterator[int]:
            for uid in sorted(set(uids)):
                item = tx.execute(
                    "DELETE FROM message WHERE mailbox = ? AND uid = ? RETURNING item", (mailbox, uid)
                ).get
                if item is not None:
                    tx.execute(
                        "INSERT INTO change (at, kind, item, mailbox, uid) VALUES (?, 'expunged', ?, ?, ?)",
                        (now, item, mailbox, uid),
                    )
                    yield uid

        def run(tx: Tx) -> list[int]:
            _record(tx, mailbox, journal, now)
            return list(gone(tx))

        return await self._write(run)

    async def journal(self, *, after: int, limit: int) -> list[JournalRow]:
        """See the contract."""

        def read(connection: apsw.Connection) -> list[JournalRow]:
            found = connection.execute(
                "SELECT seq, at, account, mailbox, kind, session, base, body FROM journal WHERE seq > ? "
                "ORDER BY seq LIMIT ?",
                (after, limit),
            )
            return [JournalRow(*row) for row in found]

        return await self._read(read)

    async def derived(self, items: Sequence[ItemId], kind: str) -> dict[ItemId, Sealed]:
        """See the contract."""

        def read(connection: apsw.Connection) -> dict[ItemId, Sealed]:
            found: dict[ItemId, Sealed] = {}
            for item in items:
                data = connection.execute(
                    "SELECT d.data FROM item i JOIN derived d ON d.item = i.n WHERE i.id = ? AND d.kind = ?",
                    (item, kind),
                ).get
                if data is not None:
                    found[item] = data
            return found

        return await self._read(read)

    async def put_derived(self, kind: str, values: Mapping[ItemId, Sealed]) -> None:
        """See the contract."""
        wanted = [(kind, data, item) for item, data in values.items()]

        def run(tx: Tx) -> None:
            tx.connection.executemany(
                "INSERT OR REPLACE INTO derived (item, kind, data) "
                "SELECT n, ?, ? FROM item WHERE id = ? AND state <> 'purged'",
                wanted,
            )

        self._write_lazily(run)
