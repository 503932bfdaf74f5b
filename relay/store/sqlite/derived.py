"""Values computed from bodies: a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw

from relay.core.ids import ItemId
from relay.store.records import Sealed
from relay.store.sqlite.jobs import Tx
from relay.store.sqlite.part import Part, listed


class Derived(Part):
    """Reads and lazy writes."""

    async def derived(self, items: Sequence[ItemId], kind: str) -> dict[ItemId, Sealed]:
        """See the contract."""

        def read(connection: apsw.Connection) -> dict[ItemId, Sealed]:
            found = connection.execute(
                "SELECT i.id, d.data FROM json_each(?) wanted CROSS JOIN item i ON i.id = wanted.value "
                "JOIN derived d ON d.item = i.n AND d.kind = ?",
                (listed(items), kind),
            )
            return {ItemId(item): data for item, data in found}

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
