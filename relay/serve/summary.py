"""What FETCH and SEARCH need of a message without its body: computed once at first touch, kept sealed beside it.

A `Summary` holds ENVELOPE, BODY and BODYSTRUCTURE ready for the wire, the header section, and the structure with its
offsets. Thousands of messages are then decrypt-and-join.

1. A summary that is missing, damaged or of another version is computed again; it never is the reason for an error.
2. Memory is bounded by the parser's limits and by `LONGEST_HEADER`, whatever the message's size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.proto.imap import structure
from relay.proto.mime.structure import Part, StructureParser, parse
from relay.serve import bodies
from relay.spool.mailboxes import Mailboxes
from relay.store.records import MessageRow
from relay.vault.sealing import CHUNK_SIZE

KIND = "imap"
PAGE = 250
"""Summaries that are in memory together; `LONGEST_HEADER` bounds the most of it."""
LONGEST_HEADER = 16 * 1024
"""Octets of a header section that are kept in a summary; a longer one is read from the message."""
_VERSION = 1


class Summary(msgspec.Struct, frozen=True, array_like=True):
    """One message."""

    version: int
    size: int
    envelope: bytes
    body: bytes
    bodystructure: bytes
    header: bytes | None
    """The header section with its empty line; None when it is longer than `LONGEST_HEADER`."""
    parts: bytes
    """`Part`, still packed: most commands have no need of it."""

    def root(self) -> Part:
        """The structure."""
        return _PARTS.decode(self.parts)


_PARTS = msgspec.msgpack.Decoder(Part)
_SUMMARIES = msgspec.msgpack.Decoder(Summary)
_ENCODER = msgspec.msgpack.Encoder()


class Summaries:
    """Reads summaries, making those that are not there."""

    def __init__(self, mailboxes: Mailboxes) -> None:
        self._mailboxes = mailboxes

    async def get(self, rows: Sequence[MessageRow]) -> dict[ItemId, Summary | Damaged]:
        """A summary of each message, or what is wrong with it; those that are gone are left out. NotNow."""
        found: dict[ItemId, Summary | Damaged] = {}
        for item, packed in (await self._mailboxes.derived(KIND, [row.item for row in rows])).items():
            try:
                summary = _SUMMARIES.decode(packed)
            except msgspec.MsgspecError:
                continue
            if summary.version == _VERSION:
                found[item] = summary
        missing = [row for row in rows if row.item not in found]
        for group in bodies.groups(missing):
            made = await self._make(group)
            found.update(made)
            fresh = {item: _ENCODER.encode(value) for item, value in made.items() if isinstance(value, Summary)}
            if fresh:
                await self._mailboxes.put_derived(KIND, fresh)
        return found

    async def _make(self, rows: Sequence[MessageRow]) -> dict[ItemId, Summary | Damaged]:
        made: dict[ItemId, Summary | Damaged] = {}
        small = await bodies.load(self._mailboxes, rows)
        for row in rows:
            content = small.get(row.item)
            if isinstance(content, bytes):
                made[row.item] = summarise(parse(content), content[:LONGEST_HEADER], len(content))
                await asyncio.sleep(0)  # parsing is work: others are served in between
            elif content is not None:
                made[row.item] = content
            elif row.size > CHUNK_SIZE:
                try:
                    streamed = await self._stream(row.item)
                except Damaged as damage:
                    made[row.item] = damage
                    continue
                if streamed is not None:
                    made[row.item] = streamed
        return made

    async def _stream(self, item: ItemId) -> Summary | None:
        message = await self._mailboxes.open_message(item)
        if message is None:
            return None
        parser, head = StructureParser(), bytearray()
        async for block in message.stream():
            parser.feed(block)
            if len(head) < LONGEST_HEADER:
                head += block[: LONGEST_HEADER - len(head)]
        return summarise(parser.finish(), bytes(head), message.size)


def summarise(root: Part, head: bytes, size: int) -> Summary:
    """From a structure and the first octets of the message."""
    assert root.envelope is not None
    return Summary(
        _VERSION,
        size,
        structure.envelope(root.envelope),
        structure.body(root, extended=False),
        structure.body(root, extended=True),
        head[: root.body_start] if root.body_start <= len(head) else None,
        _ENCODER.encode(root),
    )
