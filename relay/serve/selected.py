"""A mailbox as one session has it selected: message numbers, and what of the change feed is yet to be told.

1. The feed is joined before the mailbox is read, so no change falls in between; repetitions are harmless (`seqview`).
2. A session is not told of flag changes that it made itself with .SILENT, and of others once.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Iterable, Sequence

from relay.core.errors import NotNow
from relay.proto.imap import flags
from relay.proto.imap.flags import Flags, System
from relay.proto.imap.seqview import SeqView
from relay.spool.feed import Feed
from relay.spool.mailboxes import Folder, Mailboxes, Seen
from relay.spool.names import INBOX
from relay.spool.shelf import Shelf
from relay.store.records import Change, ChangeKind, MessageRow, SystemFlag

PAGE = 500
"""Rows per query."""
_ALL = max(SystemFlag) * 2 - 1
_SYSTEM_FLAGS = tuple(Flags(System(bits)) for bits in range(_ALL + 1))
"""Most messages have no keywords, and thousands of them one of these."""


class Selected:
    """Made by `select`."""

    def __init__(
        self, folder: Folder, mailboxes: Mailboxes, *, read_only: bool, session: str, base: int, rev2: bool = False
    ) -> None:
        """`base`: the last change before the mailbox was looked up by its name."""
        self.folder = folder
        self.read_only = read_only
        self.view = SeqView(array("I"))
        self.lost = False
        """The mailbox was deleted, or has another name now: the session ends with BYE, as Dovecot ends it."""
        self.knows_recent = not rev2
        r"""RFC 9051 has no `\Recent` any more."""
        self._mailboxes = mailboxes
        self._session = session
        self._base = self._named_at = base
        self._flagged: set[int] = set()
        self._own: dict[int, int] = {}
        """UID -> `seq` up to which this session knows the flags, for changes that the feed has yet to bring."""
        self._early: list[Change] | None = []
        self.recent_from = 0
        """The first UID that is new to this session."""
        self._leave: Callable[[], None] = lambda: None
        self._on_change: Callable[[], None] = lambda: None

    async def load(self, feed: Feed) -> Shelf:
        """Join the feed, read the mailbox. NotNow."""
        self._leave = feed.on_mailbox(self.folder.row.id, self._heard)
        try:
            shelf = await self._mailboxes.whole(self.folder)
        except BaseException:
            self._leave()
            raise
        self._base = max(self._base, shelf.seen)
        self.view = SeqView(shelf.uids)
        self.recent_from = max(self.view.largest_uid + 1, self.folder.row.uidnext)
        early, self._early = self._early or [], None
        for change in early:
            self._heard(change)
        return shelf

    def on_change(self, call: Callable[[], None]) -> None:
        """`call()` whenever something is there to tell (IDLE)."""
        self._on_change = call

    def close(self) -> None:
        """Leave the feed. Idempotent."""
        self._leave()
        self._leave = lambda: None
        self._on_change = lambda: None

    @property
    def seen(self) -> Seen:
        """Under what knowledge this session changes something."""
        return Seen(self._session, self._base)

    def is_recent(self, uid: int) -> bool:
        """New since this session selected the mailbox: nobody knows who else was told (RFC 3501 2.3.2)."""
        return uid >= self.recent_from and self.knows_recent

    def recent(self) -> int:
        """How many are."""
        return sum(1 for uid in self.view.uids()[-1000:] if self.is_recent(uid))

    # --- the feed ---

    def _heard(self, change: Change) -> None:
        if self._early is not None:
            self._early.append(change)
            return
        self._base = max(self._base, change.seq)
        uid = change.uid
        if uid is None:
            # A RENAME that gave it the name it was selected by is old news. INBOX is never lost: what a RENAME took
            # out of it is told message by message.
            if change.new in ("deleted", "renamed") and change.seq > self._named_at and self.folder.name != INBOX:
                self.lost = True
            self._on_change()
            return
        if change.kind is ChangeKind.ARRIVED:
            self.view.arrive([uid])
        elif change.kind is ChangeKind.EXPUNGED:
            self.view.vanish([uid])
            self._flagged.discard(uid)
            self._own.pop(uid, None)
        elif change.kind is ChangeKind.FLAGS:
            if change.seq > self._own.get(uid, 0):
                self._own.pop(uid, None)
                self._flagged.add(uid)
            elif change.seq == self._own[uid]:
                del self._own[uid]
        self._on_change()

    async def arrived(self, uids: Sequence[int]) -> None:
        """This session has put messages here (UIDs ascend): to be told now, not when the feed brings them."""
        newest = self.view.newest_uid
        if uids[0] == newest + 1:
            self.view.arrive(uids)
            return
        # What others put in between must be known first: UIDs arrive in their order.
        with contextlib.suppress(NotNow):  # then the feed brings them
            while page := await self._mailboxes.messages(self.folder, after_uid=newest, up_to=uids[-1]):
                self.view.arrive(row.uid for row in page)
                newest = page[-1].uid

    def knows(self, rows: Iterable[MessageRow]) -> None:
        """The session has been told (or has itself made) the flags in these rows."""
        for row in rows:
            if row.changed > self._base:
                self._own[row.uid] = row.changed
            self._flagged.discard(row.uid)

    def take_flagged(self) -> list[int]:
        """UIDs whose flags changed behind this session's back; they count as told."""
        known = sorted(uid for uid in self._flagged if self.view.number(uid) and not self.view.is_gone(uid))
        self._flagged.clear()
        return known

    @property
    def dirty(self) -> bool:
        """Whether there is something to tell."""
        return self.view.dirty or bool(self._flagged)

    async def share(self) -> None:
        """Once all is told, one list of UIDs is enough for all who see the same: thousands may idle here."""
        with contextlib.suppress(NotNow):
            shelf = await self._mailboxes.shelf(self.folder)
            if shelf is not None:
                self.view.share(shelf.uids)

    # --- rows ---

    async def rows(self, uids: Sequence[int]) -> list[MessageRow]:
        """Rows of up to `PAGE` messages. NotNow."""
        return await self._mailboxes.message_rows(self.folder, uids)

    def flags(self, row: MessageRow) -> Flags:
        """Flags of a row."""
        if row.keywords:
            return Flags(System(row.flags), self._mailboxes.keywords(row))
        return _SYSTEM_FLAGS[row.flags & _ALL]


def keywords_in(words: Iterable[str]) -> list[str]:
    """Every keyword once, for the FLAGS response."""
    found: dict[str, str] = {}
    for word in words:
        if flags.parse([word.encode("ascii", "replace")]) is not None:
            found.setdefault(word.lower(), word)
    return sorted(found.values())
