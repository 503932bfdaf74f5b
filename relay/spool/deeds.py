"""What of a user's action could be read (names), sealed into its journal record; all else is in the record's effects.

`encode` makes the body of a record, `decode` is for whoever brings the actions to the primary.
"""

from __future__ import annotations

import msgspec

from relay.core.errors import Damaged
from relay.store.records import JournalEntry, JournalRow
from relay.vault.sealing import Vault

_PURPOSE = "journal"


class Seen(msgspec.Struct, frozen=True):
    """Who changes something, and what they had seen of the feed when they did."""

    session: str
    base: int


class Renamed(msgspec.Struct, frozen=True, array_like=True):
    """One mailbox of a renamed subtree."""

    mailbox: int
    old: str
    new: str


class Details(msgspec.Struct, frozen=True, omit_defaults=True):
    """Names as they were when it was done."""

    name: str
    """The mailbox, or the name that was (un)subscribed."""
    target: str | None = None
    """copy, move: the other mailbox. rename: the new name."""
    special_use: str | None = None
    """create: the attributes asked for."""
    renamed: tuple[Renamed, ...] = ()
    """rename: every mailbox whose name changed, by id."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Details)


def encode(vault: Vault, kind: str, seen: Seen, details: Details) -> JournalEntry:
    """The record to be committed with its effect."""
    return JournalEntry(kind, seen.session, seen.base, vault.seal(_PURPOSE, _ENCODER.encode(details)))


def decode(vault: Vault, row: JournalRow) -> Details:
    """The details of a stored record. Damaged."""
    try:
        return _DECODER.decode(vault.open(_PURPOSE, row.body))
    except msgspec.MsgspecError as error:
        raise Damaged("a journal record does not decode") from error
