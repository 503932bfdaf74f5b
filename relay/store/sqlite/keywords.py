"""Keywords of an account, and the form in which a message keeps which of them it has (contract 19)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apsw

from relay.store.mailbox_api import KEYWORD_LIMIT, TooManyKeywords
from relay.store.records import FlagChange, KeywordRow, Mac, NewKeyword
from relay.store.sqlite.jobs import Tx
from relay.store.sqlite.part import Part


def pack(ids: Iterable[int]) -> bytes | None:
    """The column's form: decimal, ascending, NULL for none."""
    return b" ".join(b"%d" % number for number in sorted(ids)) or None


def unpack(data: bytes | None) -> tuple[int, ...]:
    """Ids of a column."""
    return () if data is None else tuple(map(int, data.split()))


def ids(tx: Tx, account: int, wanted: Sequence[NewKeyword]) -> set[int]:
    """Ids of keywords, given out where they are new. TooManyKeywords."""
    found: set[int] = set()
    for keyword in wanted:
        number = _known(tx, account, keyword.mac)
        if number is None:
            if tx.execute("SELECT count(*) FROM keyword WHERE account = ?", (account,)).get >= KEYWORD_LIMIT:
                raise TooManyKeywords("the account uses too many keywords")
            number = _new(tx, account, keyword)
        found.add(number)
    return found


def _known(tx: Tx, account: int, mac: Mac) -> int | None:
    found: int | None = tx.execute("SELECT id FROM keyword WHERE account = ? AND mac = ?", (account, mac)).get
    return found


def _new(tx: Tx, account: int, keyword: NewKeyword) -> int:
    number: int = tx.execute(
        "INSERT INTO keyword (account, mac, name) VALUES (?, ?, ?) RETURNING id", (account, keyword.mac, keyword.name)
    ).get
    return number


def changed(tx: Tx, account: int, before: set[int], change: FlagChange) -> set[int]:
    """The keywords of a message after a change."""
    added = ids(tx, account, change.add_keywords)
    removed = {_known(tx, account, mac) for mac in change.remove_keywords}
    return added if change.replace_keywords else (before - removed) | added


class Keywords(Part):
    """Reads, and the splitting of lists from version 1."""

    async def keywords(self, account: Mac) -> list[KeywordRow]:
        """See the contract."""

        def read(connection: apsw.Connection) -> list[KeywordRow]:
            found = connection.execute(
                "SELECT id, mac, name FROM keyword WHERE account = (SELECT id FROM account WHERE mac = ?) ORDER BY id",
                (account,),
            )
            return [KeywordRow(*row) for row in found]

        return await self._read(read)

    async def split_keywords(self, account: Mac, listed: int, single: Sequence[NewKeyword]) -> None:
        """See the contract. Not announced: the words of no message change."""

        def run(tx: Tx) -> None:
            owner: int | None = tx.execute(
                "SELECT k.account FROM keyword k JOIN account a ON a.id = k.account "
                "WHERE a.mac = ? AND k.id = ? AND k.mac IS NULL",
                (account, listed),
            ).get
            if owner is None:
                return
            # Each list is one message's, but the message may have been copied since.
            holders = tx.rows(
                "SELECT m.mailbox, m.uid, m.keywords FROM mailbox b JOIN message m ON m.mailbox = b.id "
                "WHERE b.account = ? AND m.keywords IS NOT NULL",
                (owner,),
            )
            # What there was before there was a limit stays.
            new = {_known(tx, owner, one.mac) or _new(tx, owner, one) for one in single}
            for mailbox, uid, data in holders:
                held = set(unpack(data))
                if listed in held:
                    tx.execute(
                        "UPDATE message SET keywords = ? WHERE mailbox = ? AND uid = ?",
                        (pack(held - {listed} | new), mailbox, uid),
                    )
            tx.execute("DELETE FROM keyword WHERE id = ?", (listed,))

        await self._write(run)
