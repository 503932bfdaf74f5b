"""FETCH (RFC 9051 6.4.5): rows, summaries and bodies joined into responses.

1. Messages go out in pages; what a page needs is read once for all of it: nothing for FLAGS, summaries for ENVELOPE
   and its kind, bodies only for the octets asked for.
2. A body larger than `WHOLE` is streamed: memory per FETCH is a few chunks.
3. A damaged message is passed over, its item reported, and the command ends in NO; the others are answered.
4. A literal that cannot be finished breaks the connection: there is no other way to say so (`HalfSaid`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from relay.core.errors import Damaged, NotNow
from relay.core.ids import ItemId
from relay.proto.imap import commands as c
from relay.proto.imap import encode
from relay.proto.imap.dates import date_time
from relay.proto.imap.fetch import Attribute, BodyPart, Item
from relay.proto.imap.flags import System
from relay.proto.mime.section import Text, pick, span
from relay.serve import bodies
from relay.serve.answers import BAD_NUMBER, DONE, Answer, HalfSaid, no
from relay.serve.summary import Summary
from relay.spool.mailboxes import FlagStep
from relay.spool.read import StoredMessage
from relay.store.records import MessageRow

if TYPE_CHECKING:
    from relay.serve.session import Session

_PAGE = 100
"""Messages whose summaries are in memory together."""
_PAGE_OF_FLAGS = 1000
WHOLE = 1024 * 1024
"""Octets of one section that are read at once, so that damage is found before anything of it is said."""

_NEEDS_SUMMARY = frozenset({Attribute.ENVELOPE, Attribute.BODY, Attribute.BODYSTRUCTURE})


async def fetch(session: Session, command: c.Fetch) -> Answer:
    """FETCH and UID FETCH."""
    mailbox = session.mailbox
    if command.changed_since is not None and command.changed_since > 0:
        return Answer("BAD", "No mod-sequences here")  # RFC 7162 3.1.2.2; Apple Mail's 0 means everything
    uids = mailbox.view.resolve(command.numbers, by_uid=command.by_uid)
    if uids is None:
        return BAD_NUMBER
    return await _Fetching(session, command).run(uids)


class _Fetching:
    """One FETCH under way."""

    def __init__(self, session: Session, command: c.Fetch) -> None:
        items = command.items
        self._session = session
        self._mailbox = session.mailbox
        self._items: Sequence[Item] = items
        self._by_uid = command.by_uid
        self._bodies = [item for item in items if isinstance(item, BodyPart)]
        self._summaries_needed = bool(self._bodies) or not _NEEDS_SUMMARY.isdisjoint(items)
        self._contents_needed = any(_needs_content(body) for body in self._bodies)
        self._marks_seen = not self._mailbox.read_only and any(not body.peek for body in self._bodies)
        self._missing = False

    async def run(self, uids: list[int]) -> Answer:
        size = _PAGE if self._summaries_needed else _PAGE_OF_FLAGS
        damaged = False
        for start in range(0, len(uids), size):
            page = uids[start : start + size]
            rows = await self._mailbox.rows(page)
            self._missing = self._missing or len(rows) < len(page)
            summaries: dict[ItemId, Summary | Damaged] = {}
            if self._summaries_needed:
                summaries = await self._session.summaries.get(rows)
            told: set[int] = set()
            if self._marks_seen:
                rows, told = await self._mark_seen(rows, summaries)
            for group in bodies.groups(rows):
                contents: dict[ItemId, bytes | Damaged] = {}
                if self._contents_needed:
                    contents = await bodies.load(self._session.services.mailboxes, group)
                for row in group:
                    summary, content = summaries.get(row.item), contents.get(row.item)
                    damaged = not await self._one(row, summary, content, row.uid in told) or damaged
                    await self._session.talk.breathe()
        if damaged:
            return no("Some messages are not available", b"UNAVAILABLE")
        if self._missing and not self._by_uid:
            return no("Some of the messages are gone", b"EXPUNGEISSUED")
        return DONE

    async def _mark_seen(
        self, rows: list[MessageRow], summaries: dict[ItemId, Summary | Damaged]
    ) -> tuple[list[MessageRow], set[int]]:
        r"""RFC 9051 6.4.5.1: reading a body sets \Seen; what could not be read stays unseen."""
        fresh = [
            row.uid for row in rows if not row.flags & System.SEEN and isinstance(summaries.get(row.item), Summary)
        ]
        if not fresh:
            return rows, set()
        steps = [FlagStep(uid, add=int(System.SEEN)) for uid in fresh]
        changed = await self._session.services.mailboxes.change_flags(self._mailbox.folder, steps, self._mailbox.seen)
        self._mailbox.knows(changed)
        by_uid = {row.uid: row for row in changed}
        return [by_uid.get(row.uid, row) for row in rows], set(by_uid)

    async def _one(
        self, row: MessageRow, summary: Summary | Damaged | None, content: bytes | Damaged | None, told: bool
    ) -> bool:
        """One response; False when the message is damaged."""
        number = self._mailbox.view.number(row.uid)
        if self._summaries_needed and not isinstance(summary, Summary):
            if summary is None:
                self._missing = True
                return True
            await self._report(row.item, summary)
            return False
        if isinstance(content, Damaged):
            await self._report(row.item, content)
            return False
        answer = _Response(self._session, row, summary if isinstance(summary, Summary) else None, content)
        try:
            for item in self._items:
                if isinstance(item, BodyPart):
                    await answer.body(item)
                else:
                    answer.attribute(item, self._mailbox.is_recent(row.uid))
            if told and Attribute.FLAGS not in self._items:
                answer.attribute(Attribute.FLAGS, self._mailbox.is_recent(row.uid))
        except (Damaged, NotNow) as problem:
            if answer.started:
                raise HalfSaid from problem
            if not isinstance(problem, Damaged):
                raise
            await self._report(row.item, problem)
            return False
        answer.send(number)
        return True

    async def _report(self, item: ItemId, damage: Damaged) -> None:
        await self._session.services.damaged(item, damage)


class _Response:
    """One `* n FETCH (...)` in the making; kept until it is whole, except for large literals."""

    def __init__(self, session: Session, row: MessageRow, summary: Summary | None, content: bytes | None) -> None:
        self._session = session
        self._row = row
        self._summary = summary
        self._content = content
        """The whole message, where it is small."""
        self._message: StoredMessage | None = None
        self._words: list[bytes] = []
        self.started = False
        """Something of it has been written: it must be finished."""

    def send(self, number: int) -> None:
        """Write what has not been written yet."""
        self._write(number, last=True)

    def _write(self, number: int, *, last: bool) -> None:
        head = b" " if self.started else b"* %d FETCH (" % number
        self.started = True
        tail = b")\r\n" if last else b""
        if last and not self._words and head == b" ":
            head = b""
        self._session.talk.send(head + b" ".join(self._words) + tail)
        self._words = []

    def attribute(self, item: Attribute, recent: bool) -> None:
        """An item without parameters."""
        row, summary = self._row, self._summary
        if item is Attribute.FLAGS:
            value = b"(" + self._session.mailbox.flags(row).encode(recent=recent) + b")"
        elif item is Attribute.UID:
            value = b"%d" % row.uid
        elif item is Attribute.INTERNALDATE:
            value = b'"' + date_time(row.internal_date) + b'"'
        elif item is Attribute.SIZE:
            value = b"%d" % row.size
        else:
            assert summary is not None
            if item is Attribute.ENVELOPE:
                value = summary.envelope
            else:
                value = summary.body if item is Attribute.BODY else summary.bodystructure
        self._words.append(item.value + b" " + value)

    async def body(self, part: BodyPart) -> None:
        """`BODY[...]`. Damaged, NotNow."""
        assert self._summary is not None
        if not _needs_content(part) and self._summary.header is not None:
            self._literal(part, pick(self._summary.header, part.section))
            return
        where = span(self._summary.root(), part.section)
        if where is None:
            self._words.append(part.label + b' ""')  # a part that does not exist is an empty one, as in Dovecot
            return
        start, end = where
        if part.text in (Text.FIELDS, Text.FIELDS_NOT):
            self._literal(part, pick(await self._read(start, end), part.section))
            return
        if part.partial is not None:
            offset, count = part.partial
            start = min(start + offset, end)
            end = min(end, start + count)
        if end - start <= WHOLE:
            self._words.append(part.label + b" " + encode.literal(await self._read(start, end)))
        else:
            await self._stream(part, start, end)

    def _literal(self, part: BodyPart, data: bytes) -> None:
        if part.partial is not None:
            offset, count = part.partial
            data = data[offset : offset + count]
        self._words.append(part.label + b" " + encode.literal(data))

    async def _open(self) -> StoredMessage:
        if self._message is None:
            self._message = await self._session.services.mailboxes.open_message(self._row.item)
            if self._message is None:
                raise NotNow("message was purged while it was read")
        return self._message

    async def _read(self, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        if self._content is not None:
            data = self._content[start:end]
        else:
            data = await (await self._open()).read(start, end - start)
        if len(data) != end - start:
            raise Damaged("message is shorter than its structure")
        return data

    async def _stream(self, part: BodyPart, start: int, end: int) -> None:
        message, talk = await self._open(), self._session.talk
        left = end - start
        self._words.append(part.label + b" {%d}\r\n" % left)
        self._write(self._session.mailbox.view.number(self._row.uid), last=False)
        async for block in message.stream(start):
            piece = block[:left].replace(b"\x00", b"\x80")
            left -= len(piece)
            talk.send(piece)
            await talk.breathe()
            if not left:
                return
        raise Damaged("message is shorter than its structure")


def _needs_content(part: BodyPart) -> bool:
    """False for what the header in a summary answers."""
    return bool(part.part) or part.text in (Text.ALL, Text.TEXT)
