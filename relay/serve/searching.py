"""SEARCH (RFC 9051 6.4.4): rows decide where they can, then headers from summaries, then bodies, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from relay.core.errors import Damaged
from relay.proto.imap import commands as c
from relay.proto.imap import search as keys
from relay.proto.imap import text
from relay.proto.imap.flags import Flags
from relay.serve import bodies
from relay.serve.answers import DONE, Answer
from relay.serve.selected import PAGE, Selected
from relay.serve.summary import Summary
from relay.store.records import MessageRow

if TYPE_CHECKING:
    from relay.serve.session import Session

_BATCH = 100


async def search(session: Session, command: c.Search) -> Answer:
    """SEARCH and UID SEARCH."""
    mailbox = session.mailbox
    view = mailbox.view
    key = keys.bind(command.key, messages=len(view), largest_uid=view.largest_uid)
    found: list[int] = []
    uids = view.uids()
    for start in range(0, len(uids), PAGE):
        unsure: list[_View] = []
        for row in await mailbox.rows(uids[start : start + PAGE]):
            message = _View(mailbox, row)
            answer = keys.evaluate(key, message)
            if answer is None:
                unsure.append(message)
            elif answer:
                found.append(row.uid)
        for batch in range(0, len(unsure), _BATCH):
            found += await _look_inside(session, key, unsure[batch : batch + _BATCH])
    found.sort()
    numbers = found if command.by_uid else [view.number(uid) for uid in found]
    session.talk.untagged(b"SEARCH", *(b"%d" % number for number in numbers))
    return DONE


async def _look_inside(session: Session, key: keys.Key, messages: list[_View]) -> list[int]:
    """UIDs of those that match once their text is looked at; a damaged one has none, and does not match."""
    found: list[int] = []
    summaries = await session.summaries.get([message.row for message in messages])
    unsure: list[tuple[_View, Summary]] = []
    for message in messages:
        summary = summaries.get(message.row.item)
        if isinstance(summary, Summary):
            with_header = await _guarded(session, message, message.load_header(session, summary))
            if with_header and keys.evaluate(key, message) is None:
                unsure.append((message, summary))
                continue
        elif isinstance(summary, Damaged):
            await session.services.damaged(message.row.item, summary)
        if message.settle(key):
            found.append(message.row.uid)
        await asyncio.sleep(0)  # decoding is work: others are served in between
    for start in range(0, len(unsure), bodies.WIDTH):
        group = unsure[start : start + bodies.WIDTH]
        contents = await bodies.load(session.services.mailboxes, [message.row for message, _ in group])
        for message, summary in group:
            content = contents.get(message.row.item)
            if isinstance(content, Damaged):
                await session.services.damaged(message.row.item, content)
            else:
                await _guarded(session, message, message.load_body(session, summary, content))
            if message.settle(key):
                found.append(message.row.uid)
            await asyncio.sleep(0)
    return found


async def _guarded(session: Session, message: _View, loading: Awaitable[None]) -> bool:
    """Whether it could be loaded; damage is reported."""
    try:
        await loading
    except Damaged as damage:
        await session.services.damaged(message.row.item, damage)
        return False
    return True


class _View:
    """`proto.imap.search.MessageView` of one row."""

    def __init__(self, mailbox: Selected, row: MessageRow) -> None:
        self.row = row
        self._mailbox = mailbox
        self._fields: dict[str, list[str]] | None = None
        self._body: str | None = None
        self._inner = ""
        """Headers of parts and embedded messages, which TEXT looks at too (as Dovecot does)."""

    @property
    def number(self) -> int:
        return self._mailbox.view.number(self.row.uid)

    @property
    def uid(self) -> int:
        return self.row.uid

    @property
    def flags(self) -> Flags:
        return self._mailbox.flags(self.row)

    @property
    def recent(self) -> bool:
        return self._mailbox.is_recent(self.row.uid)

    @property
    def internal_date(self) -> float:
        return self.row.internal_date

    @property
    def size(self) -> int:
        return self.row.size

    def header(self, name: str) -> Sequence[str] | None:
        return None if self._fields is None else self._fields.get(name, ())

    def header_text(self) -> str | None:
        if self._fields is None:
            return None
        own = "\n".join(f"{name}: {value}" for name, values in self._fields.items() for value in values)
        return f"{own}\n{self._inner}".casefold()

    def body_text(self) -> str | None:
        return self._body

    async def load_header(self, session: Session, summary: Summary) -> None:
        """Damaged, NotNow."""
        header = summary.header
        if header is None:
            header = await self._read(session, 0, summary.root().body_start)
        self._fields = text.fields(header)

    async def load_body(self, session: Session, summary: Summary, content: bytes | None) -> None:
        """Text parts and inner headers, within limits, from the content where it is at hand. Damaged, NotNow."""
        left = session.services.settings.limits.search_octets

        async def piece(start: int, end: int) -> bytes:
            nonlocal left
            end = min(end, start + max(left, 0))
            left -= end - start
            return content[start:end] if content is not None else await self._read(session, start, end)

        root, found, headers = summary.root(), [], []
        for part in text.parts(root):
            if left <= 0:
                break
            if part is not root and part.header_start < part.body_start:
                headers.append(await piece(part.header_start, part.body_start))
            if part.is_text:
                found.append(text.part_text(part, await piece(part.body_start, part.body_end)))
        self._body = "\n".join(found).casefold()
        self._inner = "\n".join(value for raw in headers for values in text.fields(raw).values() for value in values)

    async def _read(self, session: Session, start: int, end: int) -> bytes:
        message = await session.services.mailboxes.open_message(self.row.item)
        return b"" if message is None else await message.read(start, end - start)

    def settle(self, key: keys.Key) -> bool:
        """The answer; what could not be loaded counts as empty. The text is let go of."""
        self._fields = self._fields if self._fields is not None else {}
        self._body = self._body if self._body is not None else ""
        answer = keys.evaluate(key, self)
        self._fields = self._body = None
        return answer is True
