"""Sealing of bodies, of what belongs to a message, and of everything else that could be read.

A body is cut into chunks of CHUNK_SIZE plain bytes (the last may be shorter, and is empty for an empty body), so a
byte offset finds its chunk by division. Layout of a sealed chunk: AES-256-GCM over `flag byte + payload`; flag 0 =
payload as it is, 1 = one zstd frame. Nonce: 7 zero bytes, chunk index (4, big endian), last flag (1). AAD: domain
and item id. This is the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizar 2015) under a key per message.

1. A fresh message key seals each index at most once, in ascending order; an unwrapped one opens but never seals
   chunks. So no nonce is used twice.
2. Reordering, swapping between messages, cutting and extending are all `Damaged`.
3. Decompression never makes more than CHUNK_SIZE bytes.
4. Chunks, blobs by purpose, metadata by purpose and look-ups by purpose are separate domains: a value of one is
   `Damaged` in (or unequal to) another.
"""

from __future__ import annotations

import os
import threading

from backports import zstd
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.vault.aead import KEY_BYTES, TAG_BYTES, Keyed, LongLivedKey, derive
from relay.vault.keys import KeyRing

CHUNK_SIZE = 128 * 1024
"""Plain bytes per chunk, all but the last."""
MAC_BYTES = 16
_WORTH_COMPRESSING = 256
"""Below this a frame's head eats what compression saves."""
_STORED, _ZSTD = b"\x00", b"\x01"
_KEY_AAD = b"relay 1 message key "
_CHUNK_AAD = b"relay 1 chunk "
_BLOB_AAD = b"relay 1 blob "
_META_AAD = b"relay 1 meta "


class _Squeeze(threading.local):
    """zstd contexts cost more to make than to use, and are not shared between threads."""

    def __init__(self) -> None:
        self.compressor = zstd.ZstdCompressor(level=1)

    def pack(self, data: bytes) -> bytes:
        """Flag byte and payload, compressed only where that saves at least an eighth."""
        if len(data) >= _WORTH_COMPRESSING:
            packed = self.compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)
            if len(packed) < len(data) - (len(data) >> 3):
                return _ZSTD + packed
        return _STORED + data


def _unpack(packed: bytes) -> bytes:
    flag, payload = packed[:1], packed[1:]
    if flag == _STORED:
        if len(payload) > CHUNK_SIZE:
            raise Damaged("chunk is too long")
        return payload
    if flag != _ZSTD:
        raise Damaged("chunk has an unknown form")
    frame = zstd.ZstdDecompressor()
    try:
        data = frame.decompress(payload, CHUNK_SIZE)
    except zstd.ZstdError:
        raise Damaged("chunk does not decompress") from None
    if not frame.eof or frame.unused_data:
        raise Damaged("chunk is too long")
    return data


def _nonce(index: int, last: bool) -> bytes:
    return b"\0\0\0\0\0\0\0" + index.to_bytes(4, "big") + (b"\1" if last else b"\0")


class MessageKey:
    """The key of one message, and its wrapped form for the item's row."""

    __slots__ = ("_aad", "_blobs", "_chunks", "_key", "_next", "_squeeze", "item", "key_id", "wrapped")

    def __init__(
        self, item: ItemId, key: bytes, *, key_id: str, wrapped: bytes, fresh: bool, squeeze: _Squeeze
    ) -> None:
        self.item = item
        self.key_id = key_id
        self.wrapped = wrapped
        self._key = key
        self._aad = item.encode("ascii")
        self._next = 0 if fresh else None
        self._squeeze = squeeze
        self._chunks: AESGCM | None = None
        self._blobs: AESGCM | None = None

    def __repr__(self) -> str:
        return f"MessageKey(item={self.item!r}, key_id={self.key_id!r})"

    def _chunk_cipher(self) -> AESGCM:
        if self._chunks is None:
            self._chunks = AESGCM(derive(self._key, _CHUNK_AAD))
        return self._chunks

    def _blob_cipher(self) -> AESGCM:
        if self._blobs is None:
            self._blobs = AESGCM(derive(self._key, _BLOB_AAD))
        return self._blobs

    def seal_chunk(self, index: int, last: bool, data: bytes) -> bytes:
        """Seal chunk `index` (CHUNK_SIZE bytes, or fewer in the last); only in order, only with a fresh key."""
        if self._next != index:
            raise ValueError("chunks are sealed once, in order, by the key that was made for them")
        if len(data) > CHUNK_SIZE or (len(data) < CHUNK_SIZE and not last):
            raise ValueError("every chunk but the last is full")
        self._next = None if last else index + 1
        cipher = self._chunk_cipher()
        return cipher.encrypt(_nonce(index, last), self._squeeze.pack(data), _CHUNK_AAD + self._aad)

    def open_chunk(self, index: int, last: bool, sealed: bytes) -> bytes:
        """Plain bytes of chunk `index`; `last` must be what it was sealed with. Damaged."""
        if len(sealed) < TAG_BYTES:
            raise Damaged("chunk is cut short")
        try:
            packed = self._chunk_cipher().decrypt(_nonce(index, last), sealed, _CHUNK_AAD + self._aad)
        except InvalidTag:
            raise Damaged("chunk does not verify") from None
        data = _unpack(packed)
        if len(data) < CHUNK_SIZE and not last:
            raise Damaged("chunk is too short")
        return data

    def seal_blob(self, purpose: str, data: bytes) -> bytes:
        """Seal a value that belongs to this message (envelope, note, parsed structure)."""
        nonce = os.urandom(12)  # few per key: plain random nonces are far from their limit
        return nonce + self._blob_cipher().encrypt(nonce, data, self._blob_aad(purpose))

    def open_blob(self, purpose: str, sealed: bytes) -> bytes:
        """What `seal_blob` was given for the same item and purpose; Damaged."""
        if len(sealed) < 12 + TAG_BYTES:
            raise Damaged("blob is cut short")
        try:
            return self._blob_cipher().decrypt(sealed[:12], sealed[12:], self._blob_aad(purpose))
        except InvalidTag:
            raise Damaged("blob does not verify") from None

    def _blob_aad(self, purpose: str) -> bytes:
        return _BLOB_AAD + self._aad + b" " + purpose.encode()


class Vault:
    """Everything that seals, opens and looks up. Safe to use from several threads."""

    __slots__ = ("_lookup", "_meta", "_ring", "_squeeze")

    def __init__(self, ring: KeyRing, lookup_key: bytes, meta_key: bytes) -> None:
        if len(lookup_key) != KEY_BYTES:
            raise ValueError("a key has 32 bytes")
        self._ring = ring
        self._lookup = Keyed(lookup_key)
        self._meta = LongLivedKey(meta_key)
        self._squeeze = _Squeeze()

    def __repr__(self) -> str:
        return f"Vault({self._ring!r})"

    @property
    def active_key(self) -> str:
        """Name of the key that wraps from now on."""
        return self._ring.active

    @property
    def key_names(self) -> tuple[str, ...]:
        """Names of all keys that unwrap."""
        return self._ring.names

    def refresh(self) -> tuple[str, ...]:
        """`KeyRing.refresh`: read the key file again; names of keys that left it. ConfigFault: all is as it was."""
        return self._ring.refresh()

    def new_message_key(self, item: ItemId) -> MessageKey:
        """A random key for a message about to be received."""
        key = os.urandom(KEY_BYTES)
        key_id, wrapped = self._ring.wrap(key, _KEY_AAD + item.encode("ascii"))
        return MessageKey(item, key, key_id=key_id, wrapped=wrapped, fresh=True, squeeze=self._squeeze)

    def unwrap(self, key_id: str, wrapped: bytes, item: ItemId) -> MessageKey:
        """The key of a stored message; Damaged (MissingKey where the key file lacks `key_id`)."""
        key = self._ring.unwrap(key_id, wrapped, _KEY_AAD + item.encode("ascii"))
        if len(key) != KEY_BYTES:
            raise Damaged("message key has the wrong length")
        return MessageKey(item, key, key_id=key_id, wrapped=wrapped, fresh=False, squeeze=self._squeeze)

    def rewrap(self, key_id: str, wrapped: bytes, item: ItemId) -> tuple[str, bytes]:
        """The same message key under the active key; for rotation. Damaged."""
        aad = _KEY_AAD + item.encode("ascii")
        return self._ring.wrap(self._ring.unwrap(key_id, wrapped, aad), aad)

    def seal(self, purpose: str, data: bytes) -> bytes:
        """Seal a value that belongs to no message (address, folder name, credential)."""
        return self._meta.seal(data, _META_AAD + purpose.encode())

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """What `seal` was given for the same purpose; Damaged."""
        return self._meta.open(sealed, _META_AAD + purpose.encode())

    def mac(self, purpose: str, data: bytes | str) -> bytes:
        """16 bytes that stand for `data` in an index; equal only for equal purpose and data."""
        plain = data.encode() if isinstance(data, str) else data
        head = purpose.encode()
        return self._lookup.digest(len(head).to_bytes(2, "big") + head + plain)[:MAC_BYTES]
