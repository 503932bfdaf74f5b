"""What users did, with what it did to each message (contract 12, 18)."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from relay.store.records import Effect, JournalEntry, JournalRow, Mac
from relay.store.sqlite.jobs import Tx
from relay.store.sqlite.part import Part

_ENCODER = msgspec.msgpack.Encoder()
_EFFECTS = msgspec.msgpack.Decoder(tuple[Effect, ...])


def record(
    tx: Tx,
    account: Mac,
    mailbox: int,
    entry: JournalEntry,
    now: float,
    *,
    effects: Sequence[Effect] = (),
    target: int | None = None,
) -> None:
    """Write down an action in the transaction that does it."""
    tx.execute(
        "INSERT INTO journal (at, account, mailbox, kind, session, base, body, target, effects) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            now,
            account,
            mailbox,
            entry.kind,
            entry.session,
            entry.base,
            entry.body,
            target,
            _ENCODER.encode(effects) if effects else None,
        ),
    )


class Journal(Part):
    """Reads and forgets."""

    async def journal(self, *, after: int, limit: int, account: Mac | None = None) -> list[JournalRow]:
        """See the contract."""

        def read(connection: apsw.Connection) -> list[JournalRow]:
            found = connection.execute(
                "SELECT seq, at, account, mailbox, kind, session, base, body, target, effects FROM journal "
                "WHERE seq > ?1 AND (?3 IS NULL OR account = ?3) ORDER BY seq LIMIT ?2",
                (after, limit, account),
            )
            return [JournalRow(*[*row[:-1], _effects(row[-1])]) for row in found]

        return await self._read(read)

    async def forget_journal(self, account: Mac, *, through: int) -> int:
        """See the contract."""

        def run(tx: Tx) -> int:
            tx.execute("DELETE FROM journal WHERE account = ? AND seq <= ?", (account, through))
            return tx.connection.changes()

        return await self._write(run)


def _effects(data: bytes | None) -> tuple[Effect, ...]:
    return () if data is None else _EFFECTS.decode(data)
