"""SEARCH over the flags of a whole mailbox at once: what needs no look at a single message costs no loop over them.

A column has an octet for each message: its system flags on the way in, 1 or 0 on the way out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from itertools import compress
from operator import and_, or_

import msgspec

from relay.proto.imap import search as keys
from relay.proto.imap.flags import System


class Sieve(msgspec.Struct, frozen=True):
    """1 for each message that may meet a key; with `exact`, for each that does."""

    column: bytes
    exact: bool


def sieve(key: keys.Key, flags: bytes) -> Sieve | None:
    """What flags alone say of a key; None where that is nothing."""
    if isinstance(key, keys.HasFlags):
        return Sieve(flags.translate(_TABLES[key.flags]), exact=True)
    if isinstance(key, keys.Not):
        inner = sieve(key.key, flags)
        return Sieve(inner.column.translate(_OPPOSITE), exact=True) if inner is not None and inner.exact else None
    if isinstance(key, keys.AnyOf):
        left, right = sieve(key.left, flags), sieve(key.right, flags)
        return None if left is None or right is None else _joined((left, right), either=True)
    if isinstance(key, keys.All):
        parts = [sieve(part, flags) for part in key.keys]
        known = tuple(part for part in parts if part is not None)
        if len(known) < len(parts):
            return Sieve(_joined(known, either=False).column, exact=False) if known else None
        return _joined(known, either=False) if known else Sieve(b"\1" * len(flags), exact=True)
    return None


def _joined(parts: tuple[Sieve, ...], *, either: bool) -> Sieve:
    # Octets of 0 and 1 as one long number: a machine instruction for eight messages.
    numbers = (int.from_bytes(part.column, "big") for part in parts)
    column = reduce(or_ if either else and_, numbers).to_bytes(len(parts[0].column), "big")
    return Sieve(column, all(part.exact for part in parts))


def places(column: bytes) -> Sequence[int]:
    """Where the ones of a column are, from 0, ascending."""
    count = column.count(1)
    if count == len(column):
        return range(count)
    if count > len(column) >> _FEW:
        return list(compress(range(len(column)), column))
    return [found.start() for found in _ONES.finditer(column)]


_FEW = 2
"""Up to this share (as a power of a half) a search for the ones is quicker than a look at every message."""
_ONES = re.compile(b"\1")
_OPPOSITE = bytes(0 if octet else 1 for octet in range(256))
_ALL = int(max(System)) * 2
_TABLES = tuple(bytes(octet & wanted == wanted for octet in range(256)) for wanted in range(_ALL))
"""By the system flags that are wanted."""
