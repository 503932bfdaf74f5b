"""Small messages read whole and several at a time: what a mailbox is full of.

A message that fits into one sealed chunk costs the same whether a part or all of it is wanted, and the time goes into
asking the store, so it is asked once for many. Larger ones are read by the piece where they are needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.serve.pace import Slices
from relay.serve.recent import Recent
from relay.spool.mailboxes import Mailboxes
from relay.store.records import MessageRow
from relay.vault.sealing import CHUNK_SIZE

WIDTH = 250
"""Messages read at once, at most."""
_OPENED = 64
"""Messages unsealed without a look at what else there is to do."""
MOST_OCTETS = 2 * 1024 * 1024
"""And of their octets."""


def groups(rows: Sequence[MessageRow]) -> Iterator[Sequence[MessageRow]]:
    """Slices whose small messages may be in memory together."""
    start = octets = 0
    for at, row in enumerate(rows):
        size = row.size if row.size <= CHUNK_SIZE else 0
        if at - start >= WIDTH or (octets + size > MOST_OCTETS and at > start):
            yield rows[start:at]
            start, octets = at, 0
        octets += size
    if start < len(rows):
        yield rows[start:]


class Bodies:
    """Reads small messages; one per worker."""

    def __init__(self, mailboxes: Mailboxes, memory: int) -> None:
        """`memory` in octets, for what may be asked for again."""
        self._mailboxes = mailboxes
        self._recent: Recent[bytes] = Recent(memory)

    async def load(self, rows: Sequence[MessageRow]) -> dict[ItemId, bytes | Damaged]:
        """Contents of the small messages in one of the `groups`; those that are gone are left out. NotNow."""
        found: dict[ItemId, bytes | Damaged] = {}
        known, missing = self._recent.split([row.item for row in rows if row.size <= CHUNK_SIZE])
        found.update(known)
        slices = Slices()
        for start in range(0, len(missing), _OPENED):
            opened = await self._mailboxes.contents(missing[start : start + _OPENED])
            for item, content in opened.items():
                found[item] = content
                if isinstance(content, bytes):
                    self._recent.put(item, content, len(content))
            await slices.step()
        return found
