"""Names of things: 128 bits, sortable by time, safe in a Received line, a log and a URL.

The text form is 26 characters of Crockford's base 32 in lower case (the layout of a ULID): 48 bits of Unix
milliseconds, 80 random bits. Two nodes may mint ids without talking to each other.
"""

from __future__ import annotations

from typing import NewType

ItemId = NewType("ItemId", str)
"""One accepted message in the spool: 26 characters, `[0-9a-hjkmnp-tv-z]`."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {c: i for i, c in enumerate(_ALPHABET)}
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
ITEM_ID_LENGTH = 26
ITEM_ID_BYTES = 16


def item_id(unix_ms: int, entropy: bytes) -> ItemId:
    """Make an id from a time in Unix milliseconds and 10 random bytes."""
    if len(entropy) != 10:
        raise ValueError("entropy must be 10 bytes")
    if not 0 <= unix_ms < 1 << 48:
        raise ValueError("time out of range")
    return from_bytes(unix_ms.to_bytes(6, "big") + entropy)


def from_bytes(raw: bytes) -> ItemId:
    """Text form of 16 bytes."""
    if len(raw) != ITEM_ID_BYTES:
        raise ValueError("an item id is 16 bytes")
    n = int.from_bytes(raw, "big")
    return ItemId("".join([_PAIRS[(n >> shift) & 1023] for shift in range(120, -1, -10)]))


def to_bytes(item: ItemId) -> bytes:
    """The 16 bytes of a text form; ValueError when it is not one."""
    if len(item) != ITEM_ID_LENGTH:
        raise ValueError("an item id has 26 characters")
    n = 0
    for c in item:
        value = _VALUES.get(c)
        if value is None:
            raise ValueError("an item id has only base 32 characters")
        n = n << 5 | value
    if n >> 128:
        raise ValueError("an item id is at most 128 bits")
    return n.to_bytes(ITEM_ID_BYTES, "big")


def parse(text: str) -> ItemId:
    """Accept what an operator typed (any case); ValueError when it is not an id."""
    item = ItemId(text.strip().lower())
    to_bytes(item)
    return item


def minted_ms(item: ItemId) -> int:
    """When the id was made, in Unix milliseconds."""
    return int.from_bytes(to_bytes(item)[:6], "big")
