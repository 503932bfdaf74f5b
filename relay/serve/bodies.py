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

WIDTH = 16
"""Messages read at once; memory is at most so many chunks."""


def groups(rows: Sequence[MessageRow]) -> Iterator[Sequence[MessageRow]]:
    """Slices of `WIDTH`."""
    return (rows[at : at + WIDTH] for at in range(0, len(rows), WIDTH))


async def load(mailboxes: Mailboxes, rows: Sequence[MessageRow]) -> dict[ItemId, bytes | Damaged]:
    """Contents of the small messages among (at most `WIDTH`) rows; those that are gone are left out. NotNow."""
    return await mailboxes.contents([row.item for row in rows if row.size <= CHUNK_SIZE])
