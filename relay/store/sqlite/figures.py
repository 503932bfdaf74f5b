"""Queue figures and what key rotation reads and writes (the rest of `store.api.QueueStore`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import apsw

from relay.core.item import OWED, QUEUED, ItemState
from relay.store.records import Histogram, Route, RouteCount, StateCount, WrappedKey
from relay.store.sqlite.jobs import Tx
from relay.store.sqlite.part import Part, marks


class Figures(Part):
    """Counts, distributions, wrapped keys."""

    async def counts(self) -> dict[ItemState, StateCount]:
        """See the contract."""

        def read(connection: apsw.Connection) -> dict[ItemState, StateCount]:
            found = {state: StateCount(0, 0, None) for state in ItemState}
            for state, items, size, oldest in connection.execute(
                "SELECT state, count(*), sum(size), min(received_at) FROM item INDEXED BY item_queue GROUP BY state"
            ):
                found[ItemState(state)] = StateCount(items, size, oldest)
            return found

        return await self._read(read)

    async def owed(self) -> dict[Route, int]:
        """See the contract."""

        def read(connection: apsw.Connection) -> dict[Route, int]:
            found = dict.fromkeys(Route, 0)
            for route, items in connection.execute(
                "SELECT route, count(*) FROM item INDEXED BY item_queue "  # noqa: S608 -- question marks
                f"WHERE state IN ({marks(tuple(OWED))}) GROUP BY route",
                tuple(map(str, OWED)),
            ):
                found[Route(route)] = items
            return found

        return await self._read(read)

    async def routes(self) -> dict[Route, RouteCount]:
        """See the contract."""

        def read(connection: apsw.Connection) -> dict[Route, RouteCount]:
            waiting = marks(tuple(QUEUED))
            found = dict.fromkeys(Route, RouteCount())
            for route, *figures in connection.execute(
                f"SELECT route, count(*), coalesce(sum(state IN ({waiting})), 0), "  # noqa: S608 -- question marks
                f"min(CASE WHEN state IN ({waiting}) THEN received_at END), "
                "min(CASE WHEN state = 'pending' THEN next_attempt_at END) "
                f"FROM item INDEXED BY item_queue WHERE state IN ({marks(tuple(OWED))}) GROUP BY route",
                (*map(str, QUEUED), *map(str, QUEUED), *map(str, OWED)),
            ):
                found[Route(route)] = RouteCount(*figures)
            return found

        return await self._read(read)

    async def histograms(
        self, *, states: Sequence[ItemState], now: float, age_bounds: Sequence[float], size_bounds: Sequence[float]
    ) -> tuple[Histogram, Histogram]:
        """See the contract."""

        def read(connection: apsw.Connection) -> tuple[Histogram, Histogram]:
            return (
                _histogram(connection, "?1 - received_at", now, states, age_bounds),
                _histogram(connection, "size + 0 * ?1", now, states, size_bounds),
            )

        return await self._read(read)

    async def wrapped_keys(self, *, not_key: str, limit: int) -> list[WrappedKey]:
        """See the contract."""

        def read(connection: apsw.Connection) -> list[WrappedKey]:
            found = connection.execute(
                "SELECT id, key_id, wrapped_key FROM item WHERE key_id <> ? ORDER BY n LIMIT ?", (not_key, limit)
            )
            return [WrappedKey(*row) for row in found]

        return await self._read(read)

    async def rewrap(self, keys: Sequence[tuple[WrappedKey, WrappedKey]]) -> int:
        """See the contract."""

        def run(tx: Tx) -> int:
            return sum(
                tx.execute(
                    "UPDATE item SET key_id = ?, wrapped_key = ? WHERE id = ? AND key_id = ? AND wrapped_key = ? "
                    "RETURNING 1",
                    (new.key_id, new.wrapped_key, old.item, old.key_id, old.wrapped_key),
                ).get
                or 0
                for old, new in keys
            )

        return await self._write(run)


def _histogram(
    connection: apsw.Connection, value: str, now: float, states: Sequence[ItemState], bounds: Sequence[float]
) -> Histogram:
    """Cumulated counts from SQL, one column per bound; differences make the buckets."""
    columns = "".join(f", coalesce(sum(v <= ?{number}), 0)" for number in range(2, 2 + len(bounds)))
    first, total, *cumulated = connection.execute(
        f"SELECT count(*), coalesce(sum(v), 0){columns} FROM "  # noqa: S608 -- built from numbers and our own words
        f"(SELECT {value} AS v FROM item INDEXED BY item_queue WHERE state IN ({marks(states)}))",
        (now, *bounds, *map(str, states)),
    ).get
    return Histogram(tuple(b - a for a, b in pairwise((0, *cumulated, first))), float(total))
