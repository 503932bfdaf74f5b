"""A body on its way into the store: plain blocks in, sealed chunks out, staged as they gather.

1. Memory is a few chunks, whatever the size of the message.
2. Nothing is promised here: what was staged counts only once a commit names it, and is swept otherwise.
"""

from __future__ import annotations

import msgspec

from relay.core.clock import Clock
from relay.core.ids import ItemId
from relay.store.api import Store
from relay.vault.sealing import CHUNK_SIZE, MessageKey, Vault

_STAGE_CHUNKS = 4
"""Sealed chunks that gather before they are staged: up to this size a message is one transaction."""
HEAD = 64 * 1024
"""Octets of a body that are kept for who looks into its header."""


class SealedBody(msgspec.Struct, frozen=True):
    """The end of a body: what is not staged yet, and the numbers of its item."""

    size: int
    chunks: tuple[bytes, ...]
    chunk_count: int


class SealedStream:
    """One body being received."""

    __slots__ = ("_clock", "_open", "_sealed", "_staged", "_store", "head", "item", "key", "size")

    def __init__(self, store: Store, vault: Vault, clock: Clock, item: ItemId) -> None:
        self.item = item
        self.key: MessageKey = vault.new_message_key(item)
        self.size = 0
        self.head = b""
        """The first octets."""
        self._store = store
        self._clock = clock
        self._open = bytearray()
        self._sealed: list[bytes] = []
        self._staged = 0

    def add(self, block: bytes | bytearray | memoryview) -> bool:
        """Append message bytes; whether `stage` is due. The caller bounds the block."""
        self.size += len(block)
        if len(self.head) < HEAD:
            self.head += bytes(block[: HEAD - len(self.head)])
        self._open += block
        # The last chunk is sealed differently, so at least one byte stays open until the end is known.
        while len(self._open) > CHUNK_SIZE:
            full = bytes(self._open[:CHUNK_SIZE])
            del self._open[:CHUNK_SIZE]
            self._sealed.append(self.key.seal_chunk(self._staged + len(self._sealed), False, full))
        return len(self._sealed) >= _STAGE_CHUNKS

    async def write(self, block: bytes | bytearray | memoryview) -> None:
        """`add`, and `stage` where that is due. StoreUnavailable when the bytes cannot be kept."""
        if self.add(block):
            await self.stage()

    def finish(self) -> SealedBody:
        """Seal the last chunk; no more blocks."""
        self._sealed.append(self.key.seal_chunk(self._staged + len(self._sealed), True, bytes(self._open)))
        self._open.clear()
        return self.body()

    def body(self) -> SealedBody:
        """What a commit needs, after `finish`."""
        return SealedBody(self.size, tuple(self._sealed), self._staged + len(self._sealed))

    async def stage(self) -> None:
        """Hand what is sealed to the store. StoreUnavailable."""
        if self._sealed:
            sealed, self._sealed = self._sealed, []
            await self._store.put_chunks(self.item, self._staged, sealed, now=self._clock.now())
            self._staged += len(sealed)

    def release(self) -> None:
        """Let go of the memory."""
        self._open.clear()
        self._sealed.clear()

    async def discard(self) -> None:
        """Drop what was received. StoreUnavailable: the sweep drops it later."""
        self.release()
        if self._staged:
            await self._store.discard(self.item)
