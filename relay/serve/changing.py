"""STORE, EXPUNGE and CLOSE on the standby: every effect is journalled in its own commit by the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from relay.proto.imap import commands as c
from relay.proto.imap.flags import System
from relay.serve.answers import BAD_NUMBER, DONE, READ_ONLY, Answer
from relay.serve.selected import PAGE
from relay.spool.mailboxes import FlagStep

if TYPE_CHECKING:
    from relay.serve.session import Session

_ALL = System.SEEN | System.ANSWERED | System.FLAGGED | System.DELETED | System.DRAFT


async def store(session: Session, command: c.StoreFlags) -> Answer:
    """STORE and UID STORE (RFC 9051 6.4.6)."""
    mailbox = session.mailbox
    if mailbox.read_only:
        return READ_ONLY
    uids = mailbox.view.resolve(command.numbers, by_uid=command.by_uid)
    if uids is None:
        return BAD_NUMBER
    gone = False
    for start in range(0, len(uids), PAGE):
        page = uids[start : start + PAGE]
        before = await mailbox.rows(page)
        gone = gone or len(before) < len(page)
        steps = [_step(row.uid, command) for row in before]
        if not steps:
            continue
        after = await session.services.mailboxes.change_flags(mailbox.folder, steps, mailbox.seen)
        if command.silent:
            # Of what somebody else changed meanwhile the client must hear all the same (RFC 9051 6.4.6).
            unseen = {row.uid for row in before if row.changed > mailbox.seen.base}
            mailbox.knows(row for row in after if row.uid not in unseen)
            continue
        mailbox.knows(after)
        for row in after:
            number = mailbox.view.number(row.uid)
            uid = b"UID %d " % row.uid if command.by_uid else b""
            shown = mailbox.flags(row).encode(recent=mailbox.is_recent(row.uid))
            session.talk.untagged(b"%d FETCH (%bFLAGS (%b))" % (number, uid, shown))
        await session.talk.breathe()
    if gone and not command.by_uid:
        return Answer("NO", "Some of the messages are gone", b"EXPUNGEISSUED")  # RFC 5530 3
    return DONE


def _step(uid: int, command: c.StoreFlags) -> FlagStep:
    """Keywords are added and removed one by one, so that two sessions never undo each other's."""
    words, system = command.flags.keywords, command.flags.system
    if command.mode is c.StoreMode.SET:
        return FlagStep(uid, int(system), int(_ALL & ~system), words)
    if command.mode is c.StoreMode.ADD:
        return FlagStep(uid, add=int(system), add_keywords=words)
    return FlagStep(uid, remove=int(system), remove_keywords=words)


async def expunge(session: Session, command: c.Expunge) -> Answer:
    """EXPUNGE, and UID EXPUNGE of a set (RFC 9051 6.4.3, 6.4.9). The removals are told by the session."""
    mailbox = session.mailbox
    if mailbox.read_only:
        return READ_ONLY
    uids: Sequence[int] = mailbox.view.uids()
    if command.uids is not None:
        uids = mailbox.view.resolve(command.uids, by_uid=True) or ()
    removed = await _remove_deleted(session, uids)
    mailbox.view.vanish(removed)
    # Its own effects are its answer, even when more commands are in the pipe: their sender knows of them.
    for told in mailbox.view.tell_expunged():
        session.talk.untagged(b"%d EXPUNGE" % told.number)
    return DONE


async def close(session: Session, command: c.Close) -> Answer:
    """CLOSE removes in silence; UNSELECT removes nothing (RFC 9051 6.4.1, 6.4.2)."""
    mailbox = session.mailbox
    if command.expunge and not mailbox.read_only:
        await _remove_deleted(session, mailbox.view.uids())
    session.unselect()
    return DONE


async def _remove_deleted(session: Session, uids: Sequence[int]) -> list[int]:
    """Those of `uids` that are marked deleted, removed and journalled."""
    mailbox = session.mailbox
    removed: list[int] = []
    uids = list(uids)
    for start in range(0, len(uids), PAGE):
        rows = await mailbox.rows(uids[start : start + PAGE])
        marked = [row.uid for row in rows if row.flags & System.DELETED]
        if marked:
            removed += await session.services.mailboxes.expunge(mailbox.folder, marked, mailbox.seen)
    return removed
