"""Reading back: sealed rows in, plain bytes out; damage is found here and nowhere else.

Truncation, swapping and flipped bits all show as `Damaged`: each chunk is authenticated with its number, with whether
it is the last, and with the item's id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.spool.record import Record, decode_record
from relay.store.api import Store
from relay.store.records import ItemRow, Sealed
from relay.vault.sealing import CHUNK_SIZE, MessageKey, Vault

_READ_AHEAD = 4
"""Chunks fetched at a time when streaming (half a megabyte)."""


class Reader:
    """Opens items."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def ahead(self, rows: Sequence[ItemRow]) -> dict[ItemId, Sealed]:
        """The bodies, for `open`, of those that have one chunk: many in one read. StoreUnavailable."""
        small = [row.id for row in rows if row.chunk_count == 1]
        found = await self._store.bodies(small) if small else {}
        return {item: body.first for item, body in found.items() if body.first is not None}

    def open(self, row: ItemRow, only: Sealed | None = None) -> StoredMessage:
        """Unwrap the key and the envelope; Damaged when they do not verify. No I/O.

        `only` is the body where it has one chunk and that was read `ahead`.
        """
        key = self._vault.unwrap(row.key_id, row.wrapped_key, row.id)
        record = decode_record(key.open_blob("envelope", row.envelope))
        return StoredMessage(self._store, key, row, record, only)

    async def open_item(self, item: ItemId) -> StoredMessage | None:
        """The same from an id; None where there is no such item."""
        row = await self._store.item(item)
        return None if row is None else self.open(row)

    async def blocks(self, item: ItemId) -> AsyncIterator[bytes]:
        """The body of an item that is there. Damaged, before the first doubtful byte and where the item is gone."""
        message = await self.open_item(item)
        if message is None:
            raise Damaged("the item is gone")
        async for block in message.stream():
            yield block


class StoredMessage:
    """One message of the spool: its envelope, and its bytes exactly as received."""

    def __init__(self, store: Store, key: MessageKey, row: ItemRow, record: Record, only: Sealed | None) -> None:
        self.row = row
        self.envelope = record.envelope
        self.origin = record.origin
        self._store = store
        self._key = key
        self._only = only

    @property
    def size(self) -> int:
        """Bytes of the message."""
        return self.row.size

    async def stream(self, start: int = 0) -> AsyncIterator[bytes]:
        """The bytes from `start` on, in blocks of at most a chunk. Raises Damaged before the first doubtful byte."""
        index, skip = divmod(start, CHUNK_SIZE)
        position = index * CHUNK_SIZE
        count = self.row.chunk_count
        while index < count:
            batch = await self._chunks(index, min(_READ_AHEAD, count - index))
            for sealed in batch:
                block = self._open_chunk(index, sealed)
                position += len(block)
                index += 1
                if skip:
                    block, skip = block[skip:], 0
                if block:
                    yield block
        if position != self.row.size:
            raise Damaged(f"{position} bytes found, {self.row.size} recorded")

    async def read(self, start: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `start` (to the end when None); fewer past the end. Only the chunks needed are read."""
        end = self.row.size if length is None else min(self.row.size, start + length)
        if start >= end:
            return b""
        first, last = start // CHUNK_SIZE, (end - 1) // CHUNK_SIZE
        sealed = await self._chunks(first, last - first + 1)
        plain = b"".join(self._open_chunk(first + i, chunk) for i, chunk in enumerate(sealed))
        base = first * CHUNK_SIZE
        if len(plain) < end - base:
            raise Damaged(f"chunks {first} to {last} hold fewer bytes than recorded")
        return plain[start - base : end - base]

    async def _chunks(self, first: int, count: int) -> Sequence[Sealed | None]:
        return await self._store.chunks(self.row.id, first, count) if self._only is None else [self._only]

    def _open_chunk(self, index: int, sealed: bytes | None) -> bytes:
        if sealed is None:
            raise Damaged(f"chunk {index} of {self.row.chunk_count} is missing")
        return self._key.open_chunk(index, index == self.row.chunk_count - 1, sealed)
