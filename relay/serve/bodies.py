"""Small messages read whole and several at a time: what a mailbox is full of.

A message that fits into one sealed chunk costs the same whether a part or all of it is wanted, and the time goes into
asking the store, so it is asked once for many. Larger ones are read by the piece where they are needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.spool.mailboxes import Mailboxes
from relay.store.records import MessageRow
from relay.vault.sealing import CHUNK_SIZE

WIDTH = 250
"""Messages read at once, at most."""
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


async def load(mailboxes: Mailboxes, rows: Sequence[MessageRow]) -> dict[ItemId, bytes | Damaged]:
    """Contents of the small messages in one of the `groups`; those that are gone are left out. NotNow."""
    return await mailboxes.contents([row.item for row in rows if row.size <= CHUNK_SIZE])
