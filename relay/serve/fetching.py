"""FETCH (RFC 9051 6.4.5): rows, summaries and bodies joined into responses.

1. Messages go out in pages; what a page needs is read once for all of it: nothing for FLAGS, summaries for ENVELOPE
   and its kind, bodies only for the octets asked for.
2. A damaged message is passed over, its item reported, and the command ends in NO; the others are answered.
3. A literal that cannot be finished breaks the connection: there is no other way to say so (`HalfSaid`).
4. Work goes in slices (`pace`), and no faster than the client reads (`talk`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from functools import cached_property
from typing import TYPE_CHECKING, cast

from relay.core.errors import Damaged, NotNow
from relay.core.ids import ItemId
from relay.proto.imap import codes
from relay.proto.imap import commands as c
from relay.proto.imap.fetch import Attribute, BodyPart
from relay.proto.imap.flags import System
from relay.serve import bodies
from relay.serve.answers import BAD_NUMBER, DONE, Answer, HalfSaid, no
from relay.serve.pace import Pace
from relay.serve.showing import Maker, Response, TooLarge, UnknownEncoding, maker, needs_content, needs_summary
from relay.serve.summary import PAGE, Summary
from relay.spool.mailboxes import FlagStep
from relay.store.records import MessageRow

if TYPE_CHECKING:
    from relay.serve.session import Session

_PAGE_OF_ROWS = 1000
_BETWEEN = 32
"""Messages between two looks at the clock and at what waits to be written."""
_BETWEEN_CONTENTS = 4
"""The same where their contents are worked on (decoded, previewed)."""

_DAMAGED = no("Some messages are not available", codes.UNAVAILABLE)
_GONE = no("Some of the messages are gone", codes.EXPUNGEISSUED)  # RFC 5530 3
_UNKNOWN = no("Nobody knows this transfer encoding", codes.UNKNOWN_CTE)  # RFC 3516 4.3
_LARGE = no("Too large to be decoded", codes.LIMIT)


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
        items, mailboxes = command.items, session.services.mailboxes
        self._session = session
        self._mailbox = session.mailbox
        self._by_uid = command.by_uid
        self._items = [(item, maker(item, self._mailbox, mailboxes)) for item in items]
        self._makers = [make for _, make in self._items]
        self._shows_flags = Attribute.FLAGS in items
        self._summaries_needed = any(needs_summary(item) for item in items)
        self._contents_needed = any(needs_content(item) for item in items)
        self._marks_seen = not self._mailbox.read_only and any(
            isinstance(item, BodyPart) and not item.peek for item in items
        )
        self._problem: Answer | None = None
        """The first thing that went wrong with a message."""

    @cached_property
    def _told_flags(self) -> Maker:
        """For those whose flags change by being read."""
        return maker(Attribute.FLAGS, self._mailbox, self._session.services.mailboxes)

    async def run(self, uids: Sequence[int]) -> Answer:
        size = PAGE if self._summaries_needed or self._contents_needed else _PAGE_OF_ROWS
        pace = Pace(self._session, len(uids))
        for start in range(0, len(uids), size):
            page = uids[start : start + size]
            rows = await self._mailbox.rows(page)
            if len(rows) < len(page):
                self._missing()
            summaries: Mapping[ItemId, Summary | Damaged] = {}
            if self._summaries_needed:
                summaries = await self._session.summaries.get(rows)
            for group in bodies.groups(rows) if self._contents_needed else (rows,):
                await self._group(group, summaries, pace, start)
        return self._problem or DONE

    async def _group(
        self, rows: Sequence[MessageRow], summaries: Mapping[ItemId, Summary | Damaged], pace: Pace, done: int
    ) -> None:
        contents: Mapping[ItemId, bytes | Damaged] = {}
        if self._contents_needed:
            contents = await self._session.services.bodies.load(rows)
        if summaries or contents or self._summaries_needed:
            rows = await self._readable(rows, summaries, contents)
        told: frozenset[int] = frozenset()
        if self._marks_seen:
            rows, told = await self._mark_seen(rows)
        talk, numbers = self._session.talk, self._mailbox.view.numbers([row.uid for row in rows])
        step = _BETWEEN_CONTENTS if self._contents_needed else _BETWEEN
        for at in range(0, len(rows), step):
            some = slice(at, at + step)
            if self._summaries_needed or self._contents_needed:
                await self._some(rows[some], numbers[some], summaries, contents, told)
            else:
                talk.send(self._at_hand(rows[some], numbers[some]))
            if talk.full:
                await talk.settle()
            await pace.step(done)

    def _at_hand(self, rows: Sequence[MessageRow], numbers: Sequence[int]) -> bytes:
        """Responses of which the rows know everything."""
        columns = [[make(row, None, None) or b"" for row in rows] for make in self._makers]
        words = columns[0] if len(columns) == 1 else map(b" ".join, zip(*columns, strict=True))
        return b"".join([b"* %d FETCH (%b)\r\n" % pair for pair in zip(numbers, words, strict=True)])

    async def _some(
        self,
        rows: Sequence[MessageRow],
        numbers: Sequence[int],
        summaries: Mapping[ItemId, Summary | Damaged],
        contents: Mapping[ItemId, bytes | Damaged],
        told: Set[int],
    ) -> None:
        """Responses of messages that can be read; what is at hand goes into one piece."""
        talk, makers, lines = self._session.talk, self._makers, list[bytes]()
        for row, number in zip(rows, numbers, strict=True):
            summary = cast(Summary | None, summaries.get(row.item))
            content = cast(bytes | None, contents.get(row.item))
            words: list[bytes | None] = [None]
            if row.uid not in told:
                try:
                    words = [make(row, summary, content) for make in makers]
                except (Damaged, UnknownEncoding):
                    words = [None]  # `_one` meets it again, and says so
            if None in words:
                talk.send(b"".join(lines))
                lines = []
                await self._one(row, number, summary, content, row.uid in told)
            else:
                lines.append(b"* %d FETCH (%b)\r\n" % (number, b" ".join(cast(list[bytes], words))))
        talk.send(b"".join(lines))

    async def _readable(
        self,
        rows: Sequence[MessageRow],
        summaries: Mapping[ItemId, Summary | Damaged],
        contents: Mapping[ItemId, bytes | Damaged],
    ) -> list[MessageRow]:
        """Those of which something can be said; the others are reported."""
        whole: list[MessageRow] = []
        for row in rows:
            summary, content = summaries.get(row.item), contents.get(row.item)
            if isinstance(summary, Damaged):
                await self._damaged(row.item, summary)
            elif isinstance(content, Damaged):
                await self._damaged(row.item, content)
            elif summary is None and self._summaries_needed:
                self._missing()
            else:
                whole.append(row)
        return whole

    async def _mark_seen(self, rows: Sequence[MessageRow]) -> tuple[Sequence[MessageRow], frozenset[int]]:
        r"""RFC 9051 6.4.5.1: reading a body sets \Seen; what could not be read stays unseen."""
        fresh = [row.uid for row in rows if not row.flags & System.SEEN]
        if not fresh:
            return rows, frozenset()
        steps = [FlagStep(uid, add=int(System.SEEN)) for uid in fresh]
        changed = await self._session.services.mailboxes.change_flags(self._mailbox.folder, steps, self._mailbox.seen)
        self._mailbox.knows(changed)
        by_uid = {row.uid: row for row in changed}
        return [by_uid.get(row.uid, row) for row in rows], frozenset(by_uid)

    async def _one(
        self, row: MessageRow, number: int, summary: Summary | None, content: bytes | None, told: bool
    ) -> None:
        """One response with everything that may happen; none where the message turns out to be damaged."""
        response = Response(self._session, row, summary, number)
        try:
            for item, make in self._items:
                word = make(row, summary, content)
                if word is None:
                    await response.read(item)
                else:
                    response.word(word)
            if told and not self._shows_flags:
                response.word(self._told_flags(row, summary, content) or b"")
        except (UnknownEncoding, TooLarge, Damaged, NotNow) as problem:
            if response.started:
                raise HalfSaid from problem
            if isinstance(problem, NotNow):
                raise
            if isinstance(problem, Damaged):
                await self._damaged(row.item, problem)
            else:
                self._problem = self._problem or (_LARGE if isinstance(problem, TooLarge) else _UNKNOWN)
            if told:  # it is marked all the same
                flags = self._told_flags(row, summary, content) or b""
                self._session.talk.send(b"* %d FETCH (UID %d %b)\r\n" % (number, row.uid, flags))
        else:
            response.finish()

    async def _damaged(self, item: ItemId, damage: Damaged) -> None:
        self._problem = self._problem or _DAMAGED
        await self._session.services.damaged(item, damage)

    def _missing(self) -> None:
        if not self._by_uid:  # RFC 9051 6.4.9: a UID that is not there is no error
            self._problem = self._problem or _GONE
