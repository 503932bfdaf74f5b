"""COPY and MOVE on the standby with their UID forms (RFC 9051 6.4.7, 6.4.8, RFC 6851): one commit, all or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.proto.imap import codes
from relay.proto.imap import commands as c
from relay.serve.answers import BAD_NUMBER, READ_ONLY, Answer, no
from relay.serve.folders import find
from relay.serve.refusals import TRY_CREATE
from relay.spool.folders import NoSuchFolder
from relay.store.mailbox_records import Transferred

if TYPE_CHECKING:
    from relay.serve.session import Session

NOTHING = Answer("OK", "No messages found")
SOME_GONE = no("Some of the messages are gone", codes.EXPUNGEISSUED)


async def transfer(session: Session, command: c.Copy) -> Answer:
    """Both. OverQuota, NotNow."""
    mailbox, mailboxes = session.mailbox, session.services.mailboxes
    if command.move and mailbox.read_only:
        return READ_ONLY
    uids = mailbox.view.resolve(command.numbers, by_uid=command.by_uid)
    if uids is None:
        return BAD_NUMBER
    if not command.by_uid and any(map(mailbox.view.is_gone, uids)):
        return SOME_GONE  # RFC 9051 6.4.7: all or none; by UID, what is gone was never named (6.4.9)
    target = await find(session, command.mailbox)
    if target is None:
        return TRY_CREATE
    if not uids:
        return NOTHING
    act = mailboxes.move if command.move else mailboxes.copy
    try:
        done = await act(mailbox.folder, uids, target, mailbox.seen)
    except NoSuchFolder:
        return TRY_CREATE  # somebody deleted it meanwhile; where it was the selected one, BYE follows
    if not done.pairs:
        return NOTHING
    if target.row.id == mailbox.folder.row.id:
        await mailbox.arrived([new for _, new in done.pairs])
    if not command.move:
        return Answer("OK", "Copied", _copyuid(done))
    # RFC 6851 4.3: the new UIDs come first, untagged, because EXPUNGE is what makes a client forget the old ones.
    session.talk.ok(None, "Moved", _copyuid(done))
    mailbox.view.vanish(old for old, _ in done.pairs)
    # Its own effects are its answer, even when more commands are in the pipe: their sender knows of them.
    for told in mailbox.view.tell_expunged():
        session.talk.untagged(b"%d EXPUNGE" % told.number)
    return Answer("OK", "Moved")


def _copyuid(done: Transferred) -> bytes | None:
    return codes.copyuid(done.uidvalidity, [old for old, _ in done.pairs], [new for _, new in done.pairs])
