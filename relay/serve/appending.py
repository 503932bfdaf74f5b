"""APPEND, MULTIAPPEND and REPLACE on the standby (RFC 9051 6.3.12, RFC 3502, RFC 8508): literals stream to the spool.

    LiteralOffered -> head read, room asked -> `+` -> LiteralData... -> LiteralEnd -> LiteralOffered | Frame

1. Whatever can be refused is refused before a synchronising literal is asked for: the mailbox, the quota, the disk
   (and, by the receiver, the size).
2. Never more of a message in memory than a few chunks, and only of so many messages at a time as the settings allow;
   the client sends as fast as the spool takes it.
3. What fails in the middle of a literal is answered once, at the end of the command; the rest is read and dropped.
4. OK is said after the commit, and NO never.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

from relay.core.envelope import Origin
from relay.core.errors import NotNow
from relay.proto.imap import codes, encode, grammar
from relay.proto.imap import commands as c
from relay.proto.imap.framing import LiteralData
from relay.proto.imap.receiver import Event, Frame, LiteralOffered, Rejected
from relay.serve.answers import BAD_NUMBER, DONE, READ_ONLY, Answer, no
from relay.serve.folders import find, seen
from relay.serve.refusals import TRY_CREATE
from relay.spool.appending import AppendDraft, Batch
from relay.spool.folders import NoSuchFolder
from relay.spool.mailboxes import Folder
from relay.store.mailbox_records import Appended, Usage

if TYPE_CHECKING:
    from relay.serve.session import Session

_EMPTY = no("An empty message is not stored")
"""Also how a MULTIAPPEND is given up by its client (RFC 3502 6.3.11)."""
_NO_MESSAGE = no("No such message")
_SELECT_FIRST = Answer("BAD", "Select a mailbox first")


class Upload:
    """One command from its first literal to its end; use it as a context manager, so that nothing is left behind."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._batch: Batch | None = None
        self._folder: Folder | None = None
        self._name = ""
        self._head: tuple[c.AppendHead, int] | None = None
        """Of the first message, and of how many tokens it was read."""
        self._draft: AppendDraft | None = None
        self._replaced: tuple[Folder, int] | None = None
        self._messages = 0
        self._octets = 0
        self._failure: Answer | None = None
        self._admitted = False

    async def __aenter__(self) -> Upload:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._batch is not None:
                await self._batch.discard()
        finally:
            if self._admitted:
                self._session.services.uploads.release()

    async def receive(self, offered: LiteralOffered) -> Frame | Rejected | Answer:
        """All literals: what ends the command, or why it was refused before its end. Gone."""
        session, talk = self._session, self._session.talk
        event: Event = offered
        while True:
            if isinstance(event, LiteralOffered):
                answer = self._failure or await session.guarded("APPEND", self._begin(event))
                if answer.status != "OK":
                    talk.receiver.refuse_literal()
                    return answer
                talk.receiver.accept_literal()
                if event.sync:
                    talk.send(encode.continuation(b"Ready for the message"))
                    talk.flush()
            elif isinstance(event, LiteralData):
                if self._failure is None:
                    answer = await session.guarded("APPEND", self._take(event.data))
                    self._failure = answer if answer.status != "OK" else None
            elif isinstance(event, (Frame, Rejected)):
                return event
            event = talk.poll() or await talk.event(session.services.settings.deadlines.upload)

    async def _begin(self, offered: LiteralOffered) -> Answer:
        """OK: the literal is wanted."""
        session = self._session
        head = grammar.parse_head(offered.tokens, utf8=session.utf8, offers=session.offers)
        if isinstance(head, grammar.Invalid):
            return Answer("BAD", head.text)
        if offered.size == 0:
            return _EMPTY
        if isinstance(head, c.ReplaceHead):
            answer = self._replace(head)
            if answer.status != "OK":
                return answer
            head = head.append
        elif self._head is None:
            self._head = (head, len(offered.tokens))
        if self._batch is None:
            self._name = head.mailbox
            # Who has sent the message already gains nothing by an early answer: the commit decides in any case.
            self._folder = None if offered.sync else session.filed.get(self._name)
            if self._folder is None and await self._find() is None:
                return TRY_CREATE
            assert self._folder is not None
            await self._admit()
            self._batch = session.services.appends.begin(self._folder, _origin(session))
        self._messages += 1
        self._octets += offered.size
        if self._replaced is None:  # what the old message frees is known in the commit
            more = Usage(self._messages, self._octets)
            await session.services.mailboxes.check_room(session.account, more)
        self._draft = await self._batch.message(
            offered.size, flags=int(head.flags.system), keywords=head.flags.keywords, internal_date=head.date
        )
        return DONE

    async def _find(self) -> Folder | None:
        """Which mailbox has the name now; remembered. NotNow."""
        self._folder = await find(self._session, self._name)
        self._session.filed.clear()
        if self._folder is not None:
            self._session.filed[self._name] = self._folder
        return self._folder

    async def _admit(self) -> None:
        """Wait for a place among those that send messages. NotNow."""
        services = self._session.services
        if services.uploads.locked():
            try:
                async with asyncio.timeout(services.settings.deadlines.upload):
                    await services.uploads.acquire()
            except TimeoutError:
                raise NotNow("too many messages are being received") from None
        else:  # at once, without a timer
            await services.uploads.acquire()
        self._admitted = True

    def _replace(self, head: c.ReplaceHead) -> Answer:
        selected = self._session.selected
        if selected is None:
            return _SELECT_FIRST
        if selected.read_only:
            return READ_ONLY
        uids = selected.view.resolve(head.number, by_uid=head.by_uid)
        if not uids:
            return BAD_NUMBER if uids is None else _NO_MESSAGE
        self._replaced = (selected.folder, uids[0])
        return DONE

    async def _take(self, block: bytes) -> Answer:
        assert self._draft is not None
        await self._draft.write(block)
        return DONE

    def parsed(self, frame: Frame) -> grammar.Parsed | None:
        """The command, as far as that is known without reading it again."""
        return None if self._head is None else grammar.completed(*self._head, frame.tokens)

    @property
    def replaced(self) -> list[int]:
        """UID of the message that is replaced."""
        return [] if self._replaced is None else [self._replaced[1]]

    async def commit(self) -> Appended | Answer:
        """Everything, once the command is complete; an answer where something was wrong before. Errors of `Batch`."""
        if self._failure is not None:
            return self._failure
        assert self._batch is not None
        selected = self._session.selected
        known = selected.seen if selected is not None and self._here else seen(self._session)
        appended = await self._batch.commit(known, replaced=self._replaced, search=self._find)
        if selected is not None and self._here:
            await selected.arrived(appended.uids)
        return appended

    @property
    def _here(self) -> bool:
        """Whether the messages go to the selected mailbox."""
        selected, folder = self._session.selected, self._folder
        return selected is not None and folder is not None and selected.folder.row.id == folder.row.id


def _origin(session: Session) -> Origin:
    return Origin(
        session.talk.client,
        0,
        "",
        protocol="IMAP",
        login=session.account.address,
        listener="imap",
        received_at=session.services.appends.clock.now(),
    )


async def append(session: Session, command: c.Append) -> Answer:
    """The whole command has come. OverQuota, TooManyKeywords, NotNow."""
    try:
        done = await session.upload.commit()
    except NoSuchFolder:
        return TRY_CREATE  # somebody deleted it meanwhile
    return done if isinstance(done, Answer) else Answer("OK", "Stored", codes.appenduid(done.uidvalidity, done.uids))


async def replace(session: Session, command: c.Replace) -> Answer:
    """RFC 8508 4: the new UID, what became of the old message, then OK. As `append`, and MessageGone."""
    mailbox, upload = session.mailbox, session.upload
    try:
        done = await upload.commit()
    except NoSuchFolder:
        return TRY_CREATE
    if isinstance(done, Answer):
        return done
    session.talk.ok(None, "Replacement stored", codes.appenduid(done.uidvalidity, done.uids))
    mailbox.view.vanish(upload.replaced)
    # Its own effects are its answer, even when more commands are in the pipe: their sender knows of them.
    for told in mailbox.view.tell_expunged():
        session.talk.untagged(b"%d EXPUNGE" % told.number)
    return Answer("OK", "Replaced")
