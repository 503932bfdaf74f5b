"""Items from accept to purge (`store.api.QueueStore` but for its figures, see `figures`)."""

# ruff: noqa: S608 -- statements are joined from our own words; values are always bound
from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import apsw

from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.store.api import IllegalTransition
from relay.store.records import Accepted, ItemRow, Lease, NewItem, Outcome, Route, Sealed
from relay.store.rules import FINISHED, OPEN_RECIPIENT, check_birth, check_target, lease_lost
from relay.store.sqlite import bodies, items, rows
from relay.store.sqlite.jobs import Tx
from relay.store.sqlite.moments import Moment
from relay.store.sqlite.part import Part, marks

_OPEN = tuple(sorted(map(str, OPEN_RECIPIENT)))


@dataclass(frozen=True)
class _Accept:
    """The job of one accept."""

    new: NewItem
    now: float
    dedup_window: float

    def __call__(self, tx: Tx) -> Accepted:
        new = self.new
        first = self._first(tx)
        if first is not None:
            bodies.discard(tx, new.id)
            return Accepted(first[0], duplicate=True, state=first[1])
        n, ahead = bodies.staged_for(tx, new)
        self._write(tx, n)
        bodies.own(tx, n, ahead, new.chunks)
        lease = None if new.owner is None else Lease(new.id, new.owner, 1, new.lease_until)
        return Accepted(new.id, duplicate=False, state=new.state, lease=lease)

    def _first(self, tx: Tx) -> tuple[ItemId, ItemState] | None:
        """Contract 2; and an accept that is repeated because its answer was lost finds itself."""
        new = self.new
        row = tx.execute(
            "SELECT id, state FROM item WHERE id = ? UNION ALL SELECT id, state FROM (SELECT id, state FROM item "
            "WHERE dedup = ? AND received_at > ? AND state <> 'refused' ORDER BY n LIMIT 1) LIMIT 1",
            (new.id, new.dedup, self.now - self.dedup_window),
        ).fetchone()
        return None if row is None else (ItemId(row[0]), ItemState(row[1]))

    def _write(self, tx: Tx, n: int) -> None:
        new, now = self.new, self.now
        shown = new.state is ItemState.PENDING
        items.insert(tx, n, new, now, shown=shown)
        boxes: dict[int, None] = {}
        for index, recipient in enumerate(new.recipients):
            box = None if recipient.account is None else items.inbox(tx, recipient.account, now)
            if box is not None:
                boxes[box] = None
            tx.execute(
                "INSERT INTO recipient (item, idx, mac, state, inbox) VALUES (?, ?, ?, 'waiting', ?)",
                (n, index, recipient.mac, box),
            )
        if shown:
            items.show(tx, n, (new.id, new.received_at, new.size), list(boxes))


class Queue(Part):
    """The life of items."""

    async def accept(self, new: NewItem, *, now: float) -> Accepted:
        """See the contract. ValueError for an item that contradicts itself."""
        check_birth(new)
        size = sum(map(len, new.chunks))
        return await self._write(_Accept(new, now, self._settings.dedup_window), size=size, moment=Moment.ACCEPT)

    async def accept_together(self, new: Sequence[NewItem], *, now: float) -> list[Accepted]:
        """See the contract. ValueError for an item that contradicts itself."""
        for one in new:
            check_birth(one)
        first, *others = (_Accept(one, now, self._settings.dedup_window) for one in new)

        def run(tx: Tx) -> list[Accepted]:
            accepted = first(tx)
            if not accepted.duplicate:
                return [accepted, *(other(tx) for other in others)]
            for other in others:
                bodies.discard(tx, other.new.id)
            return [accepted] * len(new)

        size = sum(len(chunk) for one in new for chunk in one.chunks)
        return await self._write(run, size=size, moment=Moment.ACCEPT)

    async def confirm(self, items: Sequence[ItemId]) -> None:
        """See the contract."""
        wanted = [(item,) for item in items]

        def run(tx: Tx) -> None:
            tx.connection.executemany("UPDATE item SET dedup = NULL WHERE id = ? AND dedup IS NOT NULL", wanted)

        self._write_lazily(run)

    async def item(self, item: ItemId) -> ItemRow | None:
        """See the contract."""
        found = await self._read(lambda connection: rows.items(connection, "WHERE id = ?", (item,)))
        return found[0] if found else None

    async def items(
        self, *, states: Sequence[ItemState], after: ItemId | None = None, limit: int = 1000
    ) -> list[ItemRow]:
        """See the contract."""

        def read(connection: apsw.Connection) -> list[ItemRow]:
            # One walk of the queue index per state and route, each in id order, merged.
            walks = [
                connection.execute(
                    "SELECT id FROM item WHERE state = ? AND route = ? AND id > ? ORDER BY id LIMIT ?",
                    (str(state), str(route), after or "", limit),
                ).fetchall()
                for state in dict.fromkeys(states)
                for route in Route
            ]
            ids = [row[0] for row in heapq.merge(*walks)][:limit]
            return [found for item in ids for found in rows.items(connection, "WHERE id = ?", (item,))]

        return await self._read(read)

    async def claim(
        self, owner: str, *, states: Sequence[ItemState], route: Route, now: float, until: float, limit: int
    ) -> list[ItemRow]:
        """See the contract. Not flushed: a power cut ends the owner together with the lease."""

        def run(tx: Tx) -> list[ItemRow]:
            walks = [
                tx.rows(
                    "SELECT id FROM item WHERE state = ? AND route = ? AND next_attempt_at <= ? AND lease_until <= ? "
                    "ORDER BY id LIMIT ?",
                    (str(state), str(route), now, now, limit),
                )
                for state in dict.fromkeys(states)
            ]
            granted: list[ItemRow] = []
            for (item,) in list(heapq.merge(*walks))[:limit]:
                tx.execute(
                    "UPDATE item SET lease_owner = ?, lease_token = lease_token + 1, lease_until = ? WHERE id = ?",
                    (owner, until, item),
                )
                granted += rows.items(tx.connection, "WHERE id = ?", (item,))
            return granted

        return await self._write(run, durable=False)

    async def intend(self, leases: Sequence[Lease], *, now: float) -> None:
        """See the contract."""

        def run(tx: Tx) -> None:
            illegal: IllegalTransition | None = None
            for lease in leases:
                try:
                    items.intend(tx, lease, now)
                except IllegalTransition as error:
                    illegal = error  # a lost lease among the others would say more
            if illegal is not None:
                raise illegal

        # Few lanes wait for it, each with a connection: gathering would bring all of them into step.
        await self._write(run, moment=Moment.INTEND, gathers=False)

    async def renew(self, leases: Sequence[Lease], *, until: float) -> list[Lease]:
        """See the contract."""

        def run(tx: Tx) -> list[Lease]:
            kept: list[Lease] = []
            for lease in leases:
                found = tx.execute(
                    "UPDATE item SET lease_until = ? WHERE id = ? AND lease_token = ? AND lease_owner = ? RETURNING n",
                    (until, lease.item, lease.token, lease.owner),
                ).get
                if found is not None:
                    kept.append(Lease(lease.item, lease.owner, lease.token, until))
            return kept

        return await self._write(run, durable=False)

    async def release(self, leases: Sequence[Lease]) -> None:
        """See the contract. An INTENT keeps its lease."""
        wanted = [(lease.item, lease.token, lease.owner) for lease in leases]

        def run(tx: Tx) -> None:
            tx.connection.executemany(
                "UPDATE item SET lease_owner = NULL, lease_until = 0 "
                "WHERE id = ? AND lease_token = ? AND lease_owner = ? AND state <> 'intent'",
                wanted,
            )

        await self._write(run, durable=False)

    async def settle(self, lease: Lease, outcome: Outcome, *, now: float, patient: bool = False) -> None:
        """See the contract. The note is replaced, by None too."""
        check_target(outcome.state)

        def run(tx: Tx) -> None:
            n = items.settle(tx, lease, outcome, now)
            for result in outcome.recipients:
                tx.execute(
                    "UPDATE recipient SET state = ?, detail = ? WHERE item = ? AND idx = ?",
                    (str(result.state), result.detail, n, result.index),
                )

        patience = self._settings.gather if patient else 0.0
        await self._write(run, moment=Moment.SETTLE, patience=patience, gathers=False)

    async def rescue(self, *, now: float, dead_owners: Sequence[str] = ()) -> list[ItemId]:
        """See the contract."""

        def run(tx: Tx) -> list[ItemId]:
            lost = tx.rows(
                "SELECT id, n, state FROM item INDEXED BY item_leased WHERE lease_owner IS NOT NULL "
                f"AND (lease_until <= ? OR lease_owner IN ({marks(dead_owners)}))",
                (now, *dead_owners),
            )
            unknown: list[ItemId] = []
            for item, n, state in sorted(lost):
                items.end_lease(tx, n)
                if state == ItemState.INTENT:
                    items.step(tx, n, ItemState.UNKNOWN, now)
                    unknown.append(ItemId(item))
            return unknown

        return await self._write(run)

    async def move(
        self, item: ItemId, *, to: ItemState, now: float, note: Sealed | None = None, next_attempt_at: float = 0.0
    ) -> ItemRow:
        """See the contract. The note is replaced, by None too."""
        check_target(to)

        def run(tx: Tx) -> ItemRow:
            n, state, owner, until = items.known(tx, item)
            if owner is not None and until > now and to is not ItemState.QUARANTINED:
                raise lease_lost(Lease(item, owner, 0, until))
            items.step(tx, n, to, now)
            tx.execute(
                "UPDATE item SET next_attempt_at = ?, note = ?, lease_owner = NULL, lease_until = 0 WHERE n = ?",
                (next_attempt_at, note, n),
            )
            if to is ItemState.PENDING and state in (ItemState.HELD, ItemState.QUARANTINED):
                tx.execute("UPDATE recipient SET state = 'waiting' WHERE item = ? AND state = 'refused'", (n,))
            elif to is ItemState.RETURNED:
                tx.execute(
                    f"UPDATE recipient SET state = 'returned' WHERE item = ? AND state IN ({marks(_OPEN)})", (n, *_OPEN)
                )
            return rows.items(tx.connection, "WHERE n = ?", (n,))[0]

        return await self._write(run)

    async def purge(self, *, states: Sequence[ItemState], changed_before: float, now: float, limit: int) -> int:
        """See the contract. Items under a lease in force are left for later."""
        finished = [str(state) for state in dict.fromkeys(states) if state in FINISHED]
        condition = f"state IN ({marks(finished)}) AND changed_at < ? AND lease_until <= ? AND {items.LET_GO}"
        bindings = (*finished, changed_before, now, changed_before)

        def candidates(connection: apsw.Connection) -> list[int]:
            found = connection.execute(f"SELECT n FROM item WHERE {condition} ORDER BY id LIMIT ?", (*bindings, limit))
            return [n for (n,) in found]

        def run(tx: Tx) -> int:
            done = 0
            for n in chosen:
                if tx.execute(f"SELECT 1 FROM item WHERE n = ? AND {condition}", (n, *bindings)).get:
                    items.unshow(tx, n, now)
                    bodies.drop(tx, n)
                    tx.execute("DELETE FROM derived WHERE item = ?", (n,))
                    items.end_lease(tx, n)
                    items.step(tx, n, ItemState.PURGED, now)
                    done += 1
            return done

        # The search may be long and is done where it holds nobody up; the condition is looked at again under the lock.
        chosen = await self._read(candidates)
        return await self._write(run) if chosen else 0
