"""What FETCH and SEARCH need of a message without its body: computed once at first touch, kept sealed beside it.

A `Summary` holds ENVELOPE, BODY and BODYSTRUCTURE ready for the wire, the header section, and the structure with its
offsets. Thousands of messages are then decrypt-and-join.

1. A summary that is missing, damaged or of another version is computed again; it never is the reason for an error.
2. Memory is bounded by the parser's limits and by `LONGEST_HEADER`, whatever the message's size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import msgspec

from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.proto.imap import structure
from relay.proto.mime.structure import Part, StructureParser, parse
from relay.serve.bodies import Bodies, groups
from relay.serve.pace import Slices
from relay.serve.recent import Recent
from relay.spool.mailboxes import Mailboxes
from relay.store.records import MessageRow
from relay.vault.sealing import CHUNK_SIZE

KIND = "imap"
PAGE = 250
"""Summaries that are in memory together; `LONGEST_HEADER` bounds the most of it."""
LONGEST_HEADER = 16 * 1024
"""Octets of a header section that are kept in a summary; a longer one is read from the message."""
_OPENED = 125
"""Summaries unsealed without a look at what else there is to do."""
_VERSION = 1


class Summary(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """One message. `chosen` is not packed: it goes when the summary leaves memory."""

    version: int
    size: int
    envelope: bytes
    body: bytes
    bodystructure: bytes
    header: bytes | None
    """The header section with its empty line; None when it is longer than `LONGEST_HEADER`."""
    parts: bytes
    """`Part`, still packed: most commands have no need of it."""

    @cached_property
    def chosen(self) -> dict[bytes, bytes]:
        """By FETCH item, the header fields that somebody has asked for: clients of one kind all ask for the same."""
        return {}

    def root(self) -> Part:
        """The structure."""
        return _PARTS.decode(self.parts)


_PARTS = msgspec.msgpack.Decoder(Part)
_SUMMARIES = msgspec.msgpack.Decoder(Summary)
_ENCODER = msgspec.msgpack.Encoder()


class Summaries:
    """Reads summaries, making those that are not there; one per worker."""

    def __init__(self, mailboxes: Mailboxes, bodies: Bodies, memory: int) -> None:
        """`memory` in octets, for what may be asked for again."""
        self._mailboxes = mailboxes
        self._bodies = bodies
        self._recent: Recent[Summary] = Recent(memory)

    async def get(self, rows: Sequence[MessageRow]) -> dict[ItemId, Summary | Damaged]:
        """A summary of each message, or what is wrong with it; those that are gone are left out. NotNow."""
        found: dict[ItemId, Summary | Damaged] = {}
        known, unknown = self._recent.split([row.item for row in rows])
        found.update(known)
        missing: list[MessageRow] = []
        if unknown:
            found.update(await self._kept([row for row in rows if row.item not in found]))
            missing = [row for row in rows if row.item not in found]
        for group in groups(missing):
            made = await self._make(group)
            found.update(made)
            await self._keep({item: value for item, value in made.items() if isinstance(value, Summary)})
        return found

    async def _kept(self, rows: Sequence[MessageRow]) -> dict[ItemId, Summary]:
        """What was made earlier."""
        found: dict[ItemId, Summary] = {}
        slices = Slices()
        for start in range(0, len(rows), _OPENED):
            items = [row.item for row in rows[start : start + _OPENED]]
            for item, packed in (await self._mailboxes.derived(KIND, items)).items():
                try:
                    summary = _SUMMARIES.decode(packed)
                except msgspec.MsgspecError:
                    continue
                if summary.version == _VERSION:
                    found[item] = summary
                    self._recent.put(item, summary, len(packed))
            await slices.step()
        return found

    async def _keep(self, made: Mapping[ItemId, Summary]) -> None:
        packed = {item: _ENCODER.encode(summary) for item, summary in made.items()}
        for item, summary in made.items():
            self._recent.put(item, summary, len(packed[item]))
        if packed:
            await self._mailboxes.put_derived(KIND, packed)

    async def _make(self, rows: Sequence[MessageRow]) -> dict[ItemId, Summary | Damaged]:
        made: dict[ItemId, Summary | Damaged] = {}
        small = await self._bodies.load(rows)
        slices = Slices()
        for row in rows:
            content = small.get(row.item)
            if isinstance(content, bytes):
                made[row.item] = summarise(parse(content), content[:LONGEST_HEADER], len(content))
                await slices.step()
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
