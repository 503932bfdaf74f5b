"""Which messages meet a SEARCH key (RFC 9051 6.4.4): rows decide where they can, then headers, then bodies.

1. Only what is still undecided is loaded, in pages: memory is a page of summaries and a few small bodies.
2. A damaged message is reported and has no text: it may be found by its flags, never by its words.
3. Work goes in slices (`pace`): no mailbox and no key keeps other sessions waiting.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import compress
from typing import TYPE_CHECKING

from relay.core.errors import Damaged
from relay.proto.imap import search as keys
from relay.proto.imap import text
from relay.proto.imap.columns import places, sieve
from relay.proto.imap.flags import Flags
from relay.proto.imap.plain import may_have
from relay.proto.imap.seqview import SeqView
from relay.proto.mime.header import FieldFinder
from relay.serve import bodies
from relay.serve.pace import Pace
from relay.serve.selected import Selected
from relay.serve.summary import PAGE as SUMMARIES
from relay.serve.summary import Summary
from relay.store.records import MessageRow

if TYPE_CHECKING:
    from relay.serve.session import Session

_PAGE = 1000
"""Rows looked at together."""
_UNKNOWN = b"=?"
"""For a header that is not at hand: what it says has to be decoded in any case."""
_Fields = dict[str, list[str]]


class Found:
    """Messages that meet a key, in ascending order."""

    __slots__ = ("_places", "_uids", "_view")

    def __init__(self, view: SeqView, *, places: Sequence[int] | None = None, uids: list[int] | None = None) -> None:
        """Either is enough; `places` are numbers that begin with 0."""
        self._view = view
        self._places = places
        self._uids = uids

    @property
    def uids(self) -> list[int]:
        """Their UIDs."""
        if self._uids is None:
            known = self._view.uids()
            self._uids = [known[place] for place in self._places or ()]
        return self._uids

    @property
    def numbers(self) -> list[int]:
        """Their message numbers."""
        if self._places is not None:
            return [place + 1 for place in self._places]
        return self._view.numbers(self.uids)


async def find(session: Session, wanted: keys.Key) -> Found:
    """The messages that meet a key. NotNow, Gone."""
    mailbox, view = session.mailbox, session.mailbox.view
    key = keys.bind(
        wanted,
        messages=len(view),
        largest_uid=view.largest_uid,
        now=session.services.clock.now(),
        saved=view.saved,
    )
    shelf = await session.services.mailboxes.shelf(mailbox.folder)
    column = None
    if shelf is not None and (
        shelf.uids is view.uids() or shelf.uids == view.uids()
    ):  # nothing is there that is yet to be told
        column = sieve(key, shelf.flags)
        if column is not None and column.exact:
            return Found(view, places=places(column.column))
    candidates = _candidates(key, mailbox)
    if column is not None:
        kept = set(compress(view.uids(), column.column))
        candidates = [uid for uid in candidates if uid in kept]
    pace = Pace(session, len(candidates))
    finder = _Finder(session, key, pace)
    found: list[int] = []
    for start in range(0, len(candidates), _PAGE):
        found += await finder.page(candidates[start : start + _PAGE], start)
    found.sort()
    return Found(view, uids=found)


def _candidates(key: keys.Key, mailbox: Selected) -> Sequence[int]:
    """UIDs that the numbers among the keys leave over."""
    uids = mailbox.view.uids()
    parts = key.keys if isinstance(key, keys.All) else (key,)
    chosen: set[int] | None = None
    for part in parts:
        if isinstance(part, keys.Among):
            spans = zip(part.lows, part.highs, strict=True)
            named = mailbox.view.within(spans, by_uid=part.uid)
            chosen = set(named) if chosen is None else chosen.intersection(named)
    return uids if chosen is None else sorted(chosen)


class _Needs:
    """What a key asks of messages."""

    def __init__(self, key: keys.Key) -> None:
        names: set[bytes] = set()
        self.every_field = False
        """Of the header and of all parts."""
        self.kept = False
        for leaf in keys.leaves(key):
            if isinstance(leaf, keys.HeaderHas):
                names.add(leaf.name.encode("latin-1", "replace"))
            elif isinstance(leaf, keys.BodyHas):
                self.every_field = self.every_field or leaf.header
            elif isinstance(leaf, keys.Dated):
                if leaf.of is keys.DateOf.SENT:
                    names.add(b"date")
                self.kept = self.kept or leaf.of is keys.DateOf.SAVED
            elif isinstance(leaf, keys.ObjectIs):
                self.kept = True
        self._finder = FieldFinder(names) if names else None
        self.rows = any(not isinstance(leaf, (keys.HeaderHas, keys.BodyHas)) for leaf in keys.leaves(key))
        """Whether a row can decide anything."""
        self._words = _words(key)

    def may_meet(self, headers: Sequence[bytes | None]) -> Sequence[int]:
        """Places of those that do not show at once, in their bare octets, that the message is not meant."""
        if not self._words:
            return range(len(headers))
        return may_have(self._words, [_UNKNOWN if header is None else header for header in headers])

    def fields(self, header: bytes) -> _Fields:
        """Decoded values of those fields that matter."""
        if self.every_field:
            return text.fields(header)
        found: _Fields = {}
        if self._finder is not None:
            for field in self._finder.find(header, text.MOST_FIELDS):
                value = text.value(header[field.value : field.end]).strip()
                found.setdefault(field.name.decode("latin-1"), []).append(value)
        return found


def _words(key: keys.Key) -> tuple[bytes, ...]:
    """Words without blanks, where lines may be folded, that a header of plain ASCII must have in it to be meant."""
    if isinstance(key, keys.All):
        return tuple(word for part in key.keys for word in _words(part))
    if isinstance(key, keys.HeaderHas):
        return tuple(word.encode() for word in key.text.split())
    return ()


class _Finder:
    """One search under way."""

    def __init__(self, session: Session, key: keys.Key, pace: Pace) -> None:
        self._session = session
        self._key = key
        self._pace = pace
        self._needs = _Needs(key)

    async def page(self, uids: Sequence[int], done: int) -> list[int]:
        """Those of a page that match."""
        unsure = await self._session.mailbox.rows(uids)
        found: list[int] = []
        if self._needs.rows:
            answers = [(row, self._message(row).evaluate(self._key)) for row in unsure]
            found = [row.uid for row, answer in answers if answer]
            unsure = [row for row, answer in answers if answer is None]
        await self._pace.step(done)
        for start in range(0, len(unsure), SUMMARIES):
            found += await self._inside(unsure[start : start + SUMMARIES], done)
        return found

    def _message(self, row: MessageRow) -> _Message:
        return _Message(self._session, row, kept=self._needs.kept)

    async def _inside(self, candidates: Sequence[MessageRow], done: int) -> list[int]:
        """UIDs of those that match once their text is looked at."""
        found: list[int] = []
        summaries = await self._session.summaries.get(candidates)
        unsure: list[tuple[_Message, Summary]] = []
        known = [(row, summaries.get(row.item)) for row in candidates]
        headers = [summary.header if isinstance(summary, Summary) else None for _, summary in known]
        for row, summary in [known[place] for place in self._needs.may_meet(headers)]:
            message = self._message(row)
            if isinstance(summary, Summary):
                if await self._guarded(message, message.load_header(summary, self._needs.fields)):
                    answer = message.evaluate(self._key)
                    if answer is None:
                        unsure.append((message, summary))
                    elif answer:
                        found.append(message.row.uid)
                    await self._pace.step(done)
                    continue
            elif isinstance(summary, Damaged):
                await self._session.services.damaged(message.row.item, summary)
            if message.settle(self._key):
                found.append(message.row.uid)
        inside = {message.row.uid: (message, summary) for message, summary in unsure}
        for rows in bodies.groups([message.row for message, _ in unsure]):
            contents = await self._session.services.bodies.load(rows)
            for message, summary in (inside[row.uid] for row in rows):
                content = contents.get(message.row.item)
                if isinstance(content, Damaged):
                    await self._session.services.damaged(message.row.item, content)
                else:
                    await self._guarded(message, message.load_body(summary, content))
                if message.settle(self._key):
                    found.append(message.row.uid)
                await self._pace.step(done)
        return found

    async def _guarded(self, message: _Message, loading: Awaitable[None]) -> bool:
        """Whether it could be loaded; damage is reported."""
        try:
            await loading
        except Damaged as damage:
            await self._session.services.damaged(message.row.item, damage)
            return False
        return True


class _Message:
    """`proto.imap.search.MessageView` of one row."""

    __slots__ = ("_body", "_fields", "_inner", "_kept", "_mailbox", "_session", "row")

    def __init__(self, session: Session, row: MessageRow, *, kept: bool) -> None:
        self.row = row
        self._session = session
        self._mailbox = session.mailbox
        self._fields: _Fields | None = None
        self._body: str | None = None
        self._inner = ""
        """Headers of parts and embedded messages, which TEXT looks at too (as Dovecot does)."""
        self._kept: keys.Kept | None = None
        if kept:
            self._kept = keys.Kept(row.saved, session.services.mailboxes.email_id(row))

    def evaluate(self, key: keys.Key) -> bool | None:
        """Whether it matches, as far as it is loaded."""
        return keys.evaluate(key, self) if self._kept is None else keys.evaluate(key, self, self._kept)

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

    async def load_header(self, summary: Summary, read: Callable[[bytes], _Fields]) -> None:
        """Damaged, NotNow."""
        header = summary.header
        if header is None:
            header = await self._read(0, summary.root().body_start)
        self._fields = read(header)

    async def load_body(self, summary: Summary, content: bytes | None) -> None:
        """Text parts and inner headers, within limits, from the content where it is at hand. Damaged, NotNow."""
        left = self._session.services.settings.limits.search_octets

        async def piece(start: int, end: int) -> bytes:
            nonlocal left
            end = min(end, start + max(left, 0))
            left -= end - start
            return content[start:end] if content is not None else await self._read(start, end)

        root, found, headers = summary.root(), [], []
        for part in text.parts(root):
            if left <= 0:
                break
            if part is not root and part.header_start < part.body_start:
                headers.append(await piece(part.header_start, part.body_start))
            if part.is_text:
                found.append(text.part_text(part, await piece(part.body_start, part.body_end)))
        self._body = "\n".join(found).casefold()
        self._inner = "\n".join(_values(headers))

    async def _read(self, start: int, end: int) -> bytes:
        message = await self._session.services.mailboxes.open_message(self.row.item)
        return b"" if message is None else await message.read(start, end - start)

    def settle(self, key: keys.Key) -> bool:
        """The answer; what could not be loaded counts as empty. The text is let go of."""
        self._fields = self._fields if self._fields is not None else {}
        self._body = self._body if self._body is not None else ""
        answer = self.evaluate(key)
        self._fields = self._body = None
        return answer is True


def _values(headers: Iterable[bytes]) -> Iterable[str]:
    """All values of all fields."""
    return (value for raw in headers for values in text.fields(raw).values() for value in values)
