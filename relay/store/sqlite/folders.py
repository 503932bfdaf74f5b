"""Accounts and their folders (contract 14, 15, 16)."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from relay.store.mailbox_api import StaleFolders
from relay.store.mailbox_records import (
    CreateFolder,
    DeleteFolder,
    FolderChange,
    FolderTree,
    RenameFolder,
    Subscribe,
    Subscription,
    Unsubscribe,
    Usage,
)
from relay.store.records import Effect, JournalEntry, Mac, MailboxRow, NewAccount, Sealed
from relay.store.rules import check_folder_changes, next_uidvalidity
from relay.store.sqlite import items, journal, messages, rows
from relay.store.sqlite.jobs import Tx
from relay.store.sqlite.part import Part


class Folders(Part):
    """Names, figures, subscriptions."""

    async def ensure_account(self, account: NewAccount, *, now: float) -> MailboxRow:
        """See the contract."""

        def run(tx: Tx) -> MailboxRow:
            box = items.inbox(tx, account, now)
            return rows.mailboxes(tx.execute(rows.MAILBOX + "AND m.id = ?", (box,)))[0]

        return await self._write(run)

    async def folders(self, account: Mac) -> FolderTree | None:
        """See the contract."""
        return await self._read(lambda connection: _tree(connection, account))

    async def mailbox(self, account: Mac, name_mac: Mac) -> MailboxRow | None:
        """See the contract."""
        found = await self._read(
            lambda connection: rows.mailboxes(
                connection.execute(rows.MAILBOX + "AND a.mac = ? AND m.name_mac = ?", (account, name_mac))
            )
        )
        return found[0] if found else None

    async def change_folders(
        self, account: Mac, version: int, changes: Sequence[FolderChange], entry: JournalEntry, *, now: float
    ) -> FolderTree:
        """See the contract."""
        return await self._write(lambda tx: _Change(tx, account, now).run(version, changes, entry))

    async def usage(self, account: Mac) -> Usage:
        """See the contract."""

        def read(connection: apsw.Connection) -> Usage:
            number = connection.execute("SELECT id FROM account WHERE mac = ?", (account,)).get
            return messages.usage(connection, number)

        return await self._read(read)


def _tree(connection: apsw.Connection, account: Mac) -> FolderTree | None:
    found = connection.execute("SELECT id, version, inbox FROM account WHERE mac = ?", (account,)).fetchone()
    if found is None:
        return None
    number, version, inbox = found
    subscriptions = connection.execute(
        "SELECT name_mac, name FROM subscription WHERE account = ? ORDER BY name_mac", (number,)
    )
    return FolderTree(
        version,
        inbox,
        tuple(rows.mailboxes(connection.execute(rows.MAILBOX + "AND m.account = ? ORDER BY m.id", (number,)))),
        tuple(Subscription(*row) for row in subscriptions),
    )


class _Change:
    """The job of one `change_folders`."""

    def __init__(self, tx: Tx, account: Mac, now: float) -> None:
        self._tx = tx
        self._mac = account
        self._now = now
        found = tx.execute("SELECT id, version, inbox FROM account WHERE mac = ?", (account,)).fetchone()
        if found is None:
            raise KeyError(account)
        self._account, self._version, self._inbox = found
        self._touched: list[int] = []
        self._effects: list[Effect] = []
        self._target: int | None = None

    def run(self, version: int, changes: Sequence[FolderChange], entry: JournalEntry) -> FolderTree:
        """All of it, or an exception."""
        if version != self._version:
            raise StaleFolders(f"the folders are at version {self._version}, not {version}")
        check_folder_changes(changes, self._inbox)
        for change in changes:
            if isinstance(change, RenameFolder) and change.mailbox != self._inbox:
                self._vacate(change.mailbox)
        for change in changes:
            match change:
                case CreateFolder(name_mac, name, special_use):
                    self._touched.append(self._create(name_mac, name, special_use))
                case RenameFolder(box, name_mac, name):
                    self._rename(box, name_mac, name)
                case DeleteFolder(box):
                    self._delete(box)
                case Subscribe(name_mac, name):
                    self._subscribe(name_mac, name)
                case Unsubscribe(name_mac):
                    self._unsubscribe(name_mac)
        self._tx.execute("UPDATE account SET version = version + 1 WHERE id = ?", (self._account,))
        box = self._touched[0] if self._touched else self._inbox
        journal.record(self._tx, self._mac, box, entry, self._now, effects=self._effects, target=self._target)
        tree = _tree(self._tx.connection, self._mac)
        assert tree is not None
        return tree

    def _announce(self, box: int, what: str) -> None:
        self._tx.execute(
            "INSERT INTO change (at, kind, mailbox, becomes) VALUES (?, 'mailbox', ?, ?)", (self._now, box, what)
        )

    def _create(self, name_mac: Mac, name: Sealed, special_use: str | None) -> int:
        self._must_be_free(name_mac)
        box: int = self._tx.execute(
            "INSERT INTO mailbox (account, name_mac, name, uidvalidity, special_use) VALUES (?, ?, ?, ?, ?) "
            "RETURNING id",
            (self._account, name_mac, name, self._fresh_uidvalidity(), special_use),
        ).get
        self._announce(box, "created")
        return box

    def _must_be_free(self, name_mac: Mac) -> None:
        if self._tx.execute("SELECT 1 FROM mailbox WHERE account = ? AND name_mac = ?", (self._account, name_mac)).get:
            raise ValueError("the name is taken")

    def _fresh_uidvalidity(self) -> int:
        highest = self._tx.execute("SELECT uidvalidity FROM account WHERE id = ?", (self._account,)).get
        fresh = next_uidvalidity(highest, self._now)
        self._tx.execute("UPDATE account SET uidvalidity = ? WHERE id = ?", (fresh, self._account))
        return fresh

    def _vacate(self, box: int) -> None:
        """Take its name away, and remember what the name showed. KeyError."""
        left = self._tx.execute(
            "SELECT name_mac, uidvalidity FROM mailbox WHERE id = ? AND account = ? AND gone IS NULL",
            (box, self._account),
        ).fetchone()
        if left is None:
            raise KeyError(box)
        self._tx.execute(
            "INSERT INTO left_name (account, name_mac, uidvalidity) VALUES (?1, ?2, ?3) "
            "ON CONFLICT DO UPDATE SET uidvalidity = max(uidvalidity, ?3)",
            (self._account, *left),
        )
        # No keyed hash is as short as this: it is nobody's name, and the column wants one.
        self._tx.execute("UPDATE mailbox SET name_mac = ? WHERE id = ?", (b"#%d" % box, box))

    def _rename(self, box: int, name_mac: Mac, name: Sealed) -> None:
        self._touched.append(box)
        if box == self._inbox:
            # RFC 9051 6.3.6: INBOX stays, empty; its messages go to the new mailbox.
            self._target = self._create(name_mac, name, None)
            uids = [uid for (uid,) in self._tx.rows("SELECT uid FROM message WHERE mailbox = ? ORDER BY uid", (box,))]
            self._effects += messages.transfer(self._tx, box, uids, self._target, self._now, remove=True)
            self._announce(box, "renamed")
            return
        self._must_be_free(name_mac)
        uidvalidity = self._tx.execute("SELECT uidvalidity FROM mailbox WHERE id = ?", (box,)).get
        shown = self._tx.execute(
            "SELECT uidvalidity FROM left_name WHERE account = ? AND name_mac = ?", (self._account, name_mac)
        ).get
        if shown is not None and shown > uidvalidity:
            uidvalidity = self._fresh_uidvalidity()
        self._tx.execute(
            "UPDATE mailbox SET name_mac = ?, name = ?, uidvalidity = ? WHERE id = ?",
            (name_mac, name, uidvalidity, box),
        )
        self._announce(box, "renamed")

    def _delete(self, box: int) -> None:
        if box == self._inbox:
            raise ValueError("INBOX is never deleted")
        self._vacate(box)
        self._touched.append(box)
        found = self._tx.rows("SELECT uid, id, flags FROM message WHERE mailbox = ? ORDER BY uid", (box,))
        self._effects += [Effect(uid, item, was=flags) for uid, item, flags in found]
        self._tx.execute("DELETE FROM message WHERE mailbox = ?", (box,))
        self._tx.execute("UPDATE mailbox SET gone = ?, special_use = NULL WHERE id = ?", (self._now, box))
        self._announce(box, "deleted")

    def _subscribe(self, name_mac: Mac, name: Sealed) -> None:
        if self._tx.execute(
            "INSERT INTO subscription (account, name_mac, name) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING 1",
            (self._account, name_mac, name),
        ).get:
            self._announce(self._inbox, "subscribed")

    def _unsubscribe(self, name_mac: Mac) -> None:
        if self._tx.execute(
            "DELETE FROM subscription WHERE account = ? AND name_mac = ? RETURNING 1", (self._account, name_mac)
        ).get:
            self._announce(self._inbox, "unsubscribed")
