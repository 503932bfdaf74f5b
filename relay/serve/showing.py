"""One message as FETCH shows it (RFC 9051 7.5.2): items to words, at once where what they need is at hand.

An item becomes a `Maker`, made once per command. It answers from the row, the summary and (of small messages) the
content; where that is not enough it gives None, and `Response` reads what is missing and streams what is large.

1. A body larger than `WHOLE` is streamed: memory per FETCH is a few chunks.
2. Damage is found before anything of the message is said, except behind a literal that is streamed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from relay.core.errors import Damaged, NotNow
from relay.proto.imap import encode, preview, responses, text
from relay.proto.imap.dates import date_time
from relay.proto.imap.fetch import Attribute, BodyPart, Form, Item
from relay.proto.mime.section import Picker, Text, find, span
from relay.proto.mime.structure import Kind, Part
from relay.serve.selected import Selected
from relay.serve.summary import Summary
from relay.spool.mailboxes import Mailboxes
from relay.spool.read import StoredMessage
from relay.store.records import MessageRow

if TYPE_CHECKING:
    from relay.serve.session import Session

WHOLE = 1024 * 1024
"""Octets of one section that are read at once, so that damage is found before anything of it is said."""
LARGEST_DECODED = 64 * 1024 * 1024
"""Octets of a part that BINARY decodes: unlike BODY it needs them all together."""
_PLENTY = 128 * 1024
"""Octets that are decoded beside the loop."""
_CHOICES = 2
"""Of header fields, that are kept with a summary; each is at most as long as the header."""
_COMBINATIONS = 1_000
"""Of flags, that are put into words once per command."""
_NEEDS_SUMMARY = frozenset({Attribute.ENVELOPE, Attribute.BODY, Attribute.BODYSTRUCTURE, Attribute.PREVIEW})

Maker: TypeAlias = Callable[[MessageRow, Summary | None, bytes | None], bytes | None]


class UnknownEncoding(Exception):
    """BINARY of a part in a transfer encoding that nobody knows (RFC 3516 4.3)."""


class TooLarge(Exception):
    """BINARY of a part larger than `LARGEST_DECODED`."""


def needs_summary(item: Item) -> bool:
    """Whether its makers and readers look at the summary."""
    return not _is_whole(item) if isinstance(item, BodyPart) else item in _NEEDS_SUMMARY


def needs_content(item: Item) -> bool:
    """False for what the row, or the header in a summary, answers."""
    if isinstance(item, BodyPart):
        return bool(item.part) or item.text in (Text.ALL, Text.TEXT)
    return item is Attribute.PREVIEW


def _is_whole(part: BodyPart) -> bool:
    return not part.part and part.text is Text.ALL


def maker(item: Item, mailbox: Selected, mailboxes: Mailboxes) -> Maker:
    """For one item of a FETCH."""
    if item is Attribute.FLAGS:
        return _flags(mailbox)
    if item is Attribute.EMAILID:
        return lambda row, summary, content: responses.object_id(item, mailboxes.email_id(row))
    if not isinstance(item, BodyPart):
        return _ATTRIBUTES[item]
    if item.form is not Form.RAW:
        return _binary(item)
    return _body(item) if needs_content(item) else _header(item)


def _flags(mailbox: Selected) -> Maker:
    shown: dict[tuple[int, tuple[int, ...], bool], bytes] = {}
    plain: dict[int, bytes] = {}
    """Of what most messages are: old, and without keywords."""

    def flags(row: MessageRow, summary: Summary | None, content: bytes | None) -> bytes:
        old = row.uid < mailbox.recent_from
        if old and not row.keywords and (word := plain.get(row.flags)) is not None:
            return word
        key = (row.flags, row.keywords, not old and mailbox.knows_recent)
        word = shown.get(key)
        if word is None:
            word = b"FLAGS (" + mailbox.flags(row).encode(recent=key[2]) + b")"
            if len(shown) < _COMBINATIONS:
                shown[key] = word
        if old and not row.keywords:
            plain[row.flags] = word
        return word

    return flags


def _sure(summary: Summary | None) -> Summary:
    assert summary is not None
    return summary


def _header(part: BodyPart) -> Maker:
    picker, label = Picker(part.section), part.label + b" "

    def make(row: MessageRow, summary: Summary | None, content: bytes | None) -> bytes | None:
        known = _sure(summary)
        word = known.chosen.get(label)
        if word is None and known.header is not None:
            word = label + encode.literal(_cut(part, picker.pick(known.header)))
            if part.partial is None and len(known.chosen) < _CHOICES:  # the label does not tell where a part ends
                known.chosen[label] = word
        return word

    return make


def _body(part: BodyPart) -> Maker:
    picker, label, section, whole = Picker(part.section), part.label + b" ", part.section, _is_whole(part)
    picks = part.text in (Text.FIELDS, Text.FIELDS_NOT)

    def make(row: MessageRow, summary: Summary | None, content: bytes | None) -> bytes | None:
        if content is None:
            return None
        if not whole:
            where = span(_sure(summary).root(), section)
            if where is None:
                return label + b'""'  # a part that does not exist is an empty one, as in Dovecot
            content = _slice(content, *where)
            content = picker.pick(content) if picks else content
        return label + encode.literal(_cut(part, content))

    return make


def _binary(part: BodyPart) -> Maker:
    def make(row: MessageRow, summary: Summary | None, content: bytes | None) -> bytes | None:
        if content is None:
            return None
        if _is_whole(part):
            return _decoded(part, content)
        chosen = find(_sure(summary).root(), part.part)
        if chosen is None:
            return _decoded(part, b"")
        return _decoded(part, _undo(chosen, _slice(content, chosen.body_start, chosen.body_end)))

    return make


def _preview(row: MessageRow, summary: Summary | None, content: bytes | None) -> bytes | None:
    chosen = preview.pick(_sure(summary).root())
    if chosen is None:
        return responses.preview("")  # RFC 8970 3.1: there is no text
    if content is None:
        return None
    end = min(chosen.body_end, chosen.body_start + preview.LOOK)
    return responses.preview(preview.preview(chosen, content[chosen.body_start : end]))


_ATTRIBUTES: MappingProxyType[Attribute, Maker] = MappingProxyType(
    {
        Attribute.UID: lambda row, summary, content: b"UID %d" % row.uid,
        Attribute.INTERNALDATE: lambda row, summary, content: b'INTERNALDATE "%b"' % date_time(row.internal_date),
        Attribute.SIZE: lambda row, summary, content: b"RFC822.SIZE %d" % row.size,
        Attribute.ENVELOPE: lambda row, summary, content: b"ENVELOPE " + _sure(summary).envelope,
        Attribute.BODY: lambda row, summary, content: b"BODY " + _sure(summary).body,
        Attribute.BODYSTRUCTURE: lambda row, summary, content: b"BODYSTRUCTURE " + _sure(summary).bodystructure,
        Attribute.THREADID: lambda row, summary, content: responses.object_id(Attribute.THREADID, None),
        Attribute.SAVEDATE: lambda row, summary, content: responses.save_date(row.saved),
        Attribute.PREVIEW: _preview,
    }
)
"""What a row or a summary says by itself."""


def _undo(part: Part, body: bytes) -> bytes:
    """UnknownEncoding."""
    if part.kind is not Kind.LEAF:
        return body  # RFC 2045 6.4: nothing but an identity encoding is allowed there
    plain = text.untransferred(part.encoding, body)
    if plain is None:
        raise UnknownEncoding
    return plain


def _decoded(part: BodyPart, data: bytes) -> bytes:
    if part.form is Form.DECODED_SIZE:
        return responses.binary_size(part, len(data))
    return responses.binary(part, _cut(part, data))


def _cut(part: BodyPart, data: bytes) -> bytes:
    if part.partial is None:
        return data
    offset, count = part.partial
    return data[offset : offset + count]


def _slice(content: bytes, start: int, end: int) -> bytes:
    if len(content) < end:
        raise Damaged("message is shorter than its structure")
    return content[start:end]


class Response:
    """One `* n FETCH (...)` in the making; kept until it is whole, except for large literals."""

    def __init__(self, session: Session, row: MessageRow, summary: Summary | None, number: int) -> None:
        self._session = session
        self._row = row
        self._summary = summary
        self._number = number
        self._message: StoredMessage | None = None
        self._words: list[bytes] = []
        self.started = False
        """Something of it has been written: it must be finished."""

    def word(self, word: bytes) -> None:
        """An item that is ready."""
        self._words.append(word)

    def finish(self) -> None:
        """Write what has not been written yet."""
        self._write(last=True)

    def _write(self, *, last: bool) -> None:
        words = b" ".join(self._words)
        self._words = []
        head = (b" " if words else b"") if self.started else b"* %d FETCH (" % self._number
        self.started = True
        self._session.talk.send(head + words + (b")\r\n" if last else b""))

    async def read(self, item: Item) -> None:
        """An item for which something must be read. Damaged, NotNow, UnknownEncoding, TooLarge."""
        if not isinstance(item, BodyPart):
            await self._read_preview()
        elif item.form is not Form.RAW:
            await self._read_binary(item)
        else:
            await self._read_body(item)

    async def _read_body(self, part: BodyPart) -> None:
        where = (0, self._row.size) if _is_whole(part) else span(_sure(self._summary).root(), part.section)
        if where is None:
            self.word(part.label + b' ""')
            return
        start, end = where
        if part.text in (Text.FIELDS, Text.FIELDS_NOT):
            picked = Picker(part.section).pick(await self._octets(start, end))
            self.word(part.label + b" " + encode.literal(_cut(part, picked)))
            return
        if part.partial is not None:
            offset, count = part.partial
            start = min(start + offset, end)
            end = min(end, start + count)
        if end - start <= WHOLE:
            self.word(part.label + b" " + encode.literal(await self._octets(start, end)))
        else:
            await self._stream(part, start, end)

    async def _read_binary(self, part: BodyPart) -> None:
        chosen = None if _is_whole(part) else find(_sure(self._summary).root(), part.part)
        if chosen is None:
            end = self._row.size if _is_whole(part) else 0
            body = await self._octets(0, self._affordable(end))
        else:
            encoded = await self._octets(
                chosen.body_start, chosen.body_start + self._affordable(chosen.body_end - chosen.body_start)
            )
            body = await asyncio.to_thread(_undo, chosen, encoded) if len(encoded) > _PLENTY else _undo(chosen, encoded)
        self.word(_decoded(part, body))

    @staticmethod
    def _affordable(octets: int) -> int:
        if octets > LARGEST_DECODED:
            raise TooLarge
        return octets

    async def _read_preview(self) -> None:
        chosen = preview.pick(_sure(self._summary).root())
        assert chosen is not None
        end = min(chosen.body_end, chosen.body_start + preview.LOOK)
        self.word(responses.preview(preview.preview(chosen, await self._octets(chosen.body_start, end))))

    async def _open(self) -> StoredMessage:
        if self._message is None:
            self._message = await self._session.services.mailboxes.open_message(self._row.item)
            if self._message is None:
                raise NotNow("message was purged while it was read")
        return self._message

    async def _octets(self, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        data = await (await self._open()).read(start, end - start)
        if len(data) != end - start:
            raise Damaged("message is shorter than its structure")
        return data

    async def _stream(self, part: BodyPart, start: int, end: int) -> None:
        message, talk = await self._open(), self._session.talk
        left = end - start
        self.word(part.label + b" {%d}\r\n" % left)
        self._write(last=False)
        async for block in message.stream(start):
            piece = block[:left].replace(b"\x00", b"\x80")
            left -= len(piece)
            talk.send(piece)
            await talk.breathe()
            if not left:
                return
        raise Damaged("message is shorter than its structure")
