"""Messages of mailboxes and what users do to them (`store.mailbox_api`; folders, bodies and the journal have files)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import apsw

from relay.store.api import StoreUnavailable
from relay.store.mailbox_api import MessageGone
from relay.store.mailbox_records import Appended, NewMessage, Quota, Replaced, Transferred, Usage
from relay.store.records import Effect, FlagChange, JournalEntry, Mac, MessageRow, NewItem
from relay.store.rules import check_appended, check_quota
from relay.store.sqlite import bodies, items, journal, keywords, messages, rows
from relay.store.sqlite.jobs import Tx
from relay.store.sqlite.moments import Moment
from relay.store.sqlite.part import Part, listed, short_name

_LAST = (1 << 63) - 1
_NAMED = "WHERE mailbox = ? AND uid IN (SELECT value FROM json_each(?)) ORDER BY uid"


def _named(connection: apsw.Connection, mailbox: int, uids: Sequence[int]) -> list[MessageRow]:
    wanted = sorted(set(uids))
    if wanted and len(wanted) == wanted[-1] - wanted[0] + 1:
        return _between(connection, mailbox, wanted[0] - 1, wanted[-1], len(wanted))
    return rows.messages(
        connection.execute(
            rows.MESSAGE + _NAMED,
            (mailbox, listed(wanted)),
        )
    )


def _between(connection: apsw.Connection, mailbox: int, after: int, up_to: int, limit: int) -> list[MessageRow]:
    return rows.messages(
        connection.execute(
            rows.MESSAGE + "WHERE mailbox = ? AND uid > ? AND uid <= ? ORDER BY uid LIMIT ?",
            (mailbox, after, up_to, limit),
        )
    )


def _change_flags(tx: Tx, account: int, mailbox: int, change: FlagChange, now: float) -> Effect | None:
    found = tx.execute(
        "SELECT item, id, flags, keywords FROM message WHERE mailbox = ? AND uid = ?", (mailbox, change.uid)
    ).fetchone()
    if found is None:
        return None
    n, item, before, packed = found
    flags, words = before & ~change.remove | change.add, packed
    held = now_held = set(keywords.unpack(packed))
    if change.add_keywords or change.remove_keywords or change.replace_keywords:
        now_held = keywords.changed(tx, account, held, change)
        words = keywords.pack(now_held)
    if (flags, now_held) == (before, held):
        return None
    seq = tx.execute(
        "INSERT INTO change (at, kind, item, mailbox, uid) VALUES (?, 'flags', ?, ?, ?) RETURNING seq",
        (now, n, mailbox, change.uid),
    ).get
    tx.execute(
        "UPDATE message SET flags = ?, keywords = ?, changed = ? WHERE mailbox = ? AND uid = ?",
        (flags, words, seq, mailbox, change.uid),
    )
    added, removed = tuple(sorted(now_held - held)), tuple(sorted(held - now_held))
    return Effect(change.uid, item, was=before, now=flags, added=added, removed=removed)


@dataclass(frozen=True)
class _Append:
    """The job of one APPEND."""

    mailbox: int
    new: Sequence[NewMessage]
    entry: JournalEntry
    name: Mac | None
    quota: Quota | None
    replaced: Replaced | None
    now: float

    def __call__(self, tx: Tx) -> Appended:
        place = messages.place(tx, self.mailbox)
        if self.name not in (None, place.name):
            raise KeyError(self.mailbox)
        freed = self._freed(tx, place)
        if self.quota is not None:
            held = messages.usage(tx.connection, place.account)
            more = Usage(len(self.new) - freed.messages, sum(one.item.size for one in self.new) - freed.size)
            check_quota(self.quota, held, more)
        effects: list[Effect] = []
        for one in self.new:
            n = _write_item(tx, one.item, self.now)
            words = keywords.pack(keywords.ids(tx, place.account, one.keywords))
            shape = messages.Shape(n, one.item.id, one.internal_date, one.item.size, one.flags, words)
            uid = messages.put(tx, self.mailbox, shape, self.now)
            effects.append(Effect(uid, one.item.id, now=one.flags, added=keywords.unpack(words)))
        journal.record(tx, place.mac, self.mailbox, self.entry, self.now, effects=effects)
        if self.replaced is not None:
            gone = messages.remove(tx, self.replaced.mailbox, [self.replaced.uid], self.now)
            journal.record(tx, place.mac, self.replaced.mailbox, self.replaced.entry, self.now, effects=gone)
        return Appended(place.uidvalidity, tuple(effect.uid for effect in effects))

    def _freed(self, tx: Tx, place: messages.Place) -> Usage:
        """What the replaced message gives back. MessageGone."""
        replaced = self.replaced
        if replaced is None:
            return Usage(0, 0)
        if messages.place(tx, replaced.mailbox).account != place.account:
            raise ValueError("both mailboxes belong to one account")
        found = messages.shapes(tx, replaced.mailbox, [replaced.uid])
        if not found:
            raise MessageGone("the message to be replaced was expunged")
        return Usage(1, found[0][1].size)


def _write_item(tx: Tx, new: NewItem, now: float) -> int:
    """The item with its body; its short name. ValueError where it is there already, StoreUnavailable."""
    try:
        n, ahead = bodies.staged_for(tx, new)
        items.insert(tx, n, new, now, shown=True)
    except (apsw.ConstraintError, StoreUnavailable):
        if short_name(tx.connection, new.id) is not None:
            raise ValueError("a message is appended once") from None
        raise
    bodies.own(tx, n, ahead, new.chunks)
    return n


class Mailboxes(Part):
    """Reads and actions."""

    async def messages(
        self, mailbox: int, *, after_uid: int = 0, up_to: int | None = None, limit: int = 10_000
    ) -> list[MessageRow]:
        """See the contract."""
        last = _LAST if up_to is None else up_to
        return await self._read(lambda connection: _between(connection, mailbox, after_uid, last, limit))

    async def message_rows(self, mailbox: int, uids: Sequence[int]) -> list[MessageRow]:
        """See the contract."""
        return await self._read(lambda connection: _named(connection, mailbox, uids))

    async def change_flags(
        self, mailbox: int, changes: Sequence[FlagChange], entry: JournalEntry, *, now: float
    ) -> list[MessageRow]:
        """See the contract."""

        def run(tx: Tx) -> list[MessageRow]:
            place = messages.place(tx, mailbox)
            done = [_change_flags(tx, place.account, mailbox, change, now) for change in changes]
            effects = sorted((effect for effect in done if effect is not None), key=lambda effect: effect.uid)
            journal.record(tx, place.mac, mailbox, entry, now, effects=effects)
            return _named(tx.connection, mailbox, [change.uid for change in changes])

        return await self._write(run)

    async def expunge(self, mailbox: int, uids: Sequence[int], entry: JournalEntry, *, now: float) -> list[int]:
        """See the contract."""

        def run(tx: Tx) -> list[int]:
            place = messages.place(tx, mailbox)
            gone = messages.remove(tx, mailbox, uids, now)
            journal.record(tx, place.mac, mailbox, entry, now, effects=gone)
            return [effect.uid for effect in gone]

        return await self._write(run)

    async def transfer(
        self,
        mailbox: int,
        uids: Sequence[int],
        target: int,
        entry: JournalEntry,
        *,
        remove: bool,
        now: float,
        quota: Quota | None = None,
    ) -> Transferred:
        """See the contract."""

        def run(tx: Tx) -> Transferred:
            source, goal = messages.place(tx, mailbox), messages.place(tx, target)
            if source.account != goal.account:
                raise ValueError("both mailboxes belong to one account")
            if not remove and quota is not None:
                sizes = [shape.size for _, shape in messages.shapes(tx, mailbox, uids)]
                check_quota(quota, messages.usage(tx.connection, source.account), Usage(len(sizes), sum(sizes)))
            effects = messages.transfer(tx, mailbox, uids, target, now, remove=remove)
            journal.record(tx, source.mac, mailbox, entry, now, effects=effects, target=target)
            return Transferred(goal.uidvalidity, tuple((effect.uid, effect.new_uid) for effect in effects))

        return await self._write(run)

    async def append(
        self,
        mailbox: int,
        new: Sequence[NewMessage],
        entry: JournalEntry,
        *,
        now: float,
        name: Mac | None = None,
        quota: Quota | None = None,
        replaced: Replaced | None = None,
    ) -> Appended:
        """See the contract."""
        for one in new:
            check_appended(one.item)
        size = sum(len(chunk) for one in new for chunk in one.item.chunks)
        job = _Append(mailbox, new, entry, name, quota, replaced, now)
        return await self._write(job, size=size, moment=Moment.ACCEPT)
