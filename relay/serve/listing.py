"""LIST, LSUB, STATUS and NAMESPACE on the standby."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.proto.imap import commands as c
from relay.proto.imap import listing, responses
from relay.proto.imap.flags import System
from relay.proto.imap.listing import Box
from relay.serve.answers import DONE, Answer
from relay.serve.folders import find
from relay.serve.refusals import NO_MAILBOX
from relay.spool.folders import Entry
from relay.spool.mailboxes import Folder

if TYPE_CHECKING:
    from relay.serve.session import Session


async def namespace(session: Session, command: c.Namespace) -> Answer:
    """RFC 9051 6.3.10: one, the user's own."""
    session.talk.send(responses.namespace(utf8=session.utf8))
    return DONE


async def list_mailboxes(session: Session, command: c.ListMailboxes) -> Answer:
    """LIST with its extensions, and LSUB (RFC 9051 6.3.9, RFC 3501 6.3.9, RFC 5258, RFC 5819, RFC 6154)."""
    entries = (await session.services.mailboxes.listing(session.account)).entries
    folders = {entry.name: entry.folder for entry in entries}
    boxes = [_box(entry) for entry in entries if entry.folder or entry.subscribed or entry.usual]
    for found in listing.entries(command, boxes):
        session.talk.send(responses.listed(found, lsub=command.lsub, utf8=session.utf8))
        if command.status is not None and found.exists:
            folder = folders[found.name] or await find(session, found.name)
            if folder is not None:  # nobody deleted it meanwhile
                await _status(session, folder, command.status)
        await session.talk.breathe()
    return DONE


def _box(entry: Entry) -> Box:
    if entry.folder is not None:
        return Box(entry.name, entry.subscribed, entry.folder.row.special_use)
    if entry.usual is not None:
        return Box(entry.name, entry.subscribed, entry.usual.special_use)
    return Box(entry.name, entry.subscribed, exists=False)


async def status(session: Session, command: c.Status) -> Answer:
    """RFC 9051 6.3.11."""
    folder = await find(session, command.mailbox)
    if folder is None:
        return NO_MAILBOX
    await _status(session, folder, command.items)
    return DONE


async def _status(session: Session, folder: Folder, items: tuple[str, ...]) -> None:
    row = folder.row
    known: dict[str, int | str | None] = {
        "MESSAGES": row.messages,
        "RECENT": 0,
        "UIDNEXT": row.uidnext,
        "UIDVALIDITY": row.uidvalidity,
        "UNSEEN": row.unseen,
        "SIZE": row.size,
        "HIGHESTMODSEQ": 0,  # RFC 7162 3.1.2.2: no persistent mod-sequences
        "DELETED": row.deleted,
        "MAILBOXID": folder.object_id,
        "APPENDLIMIT": session.services.settings.append_limit,
    }
    if "DELETED-STORAGE" in items:
        known["DELETED-STORAGE"] = await _deleted_storage(session, folder)
    session.talk.send(responses.status(folder.name, {item: known[item] for item in items}, utf8=session.utf8))


async def _deleted_storage(session: Session, folder: Folder) -> int:
    """Octets that EXPUNGE would free (RFC 9208 4.1.4); hardly anybody asks, so nobody counts them beforehand."""
    freed, last = 0, 0
    while folder.row.deleted and (page := await session.services.mailboxes.messages(folder, after_uid=last)):
        freed += sum(row.size for row in page if row.flags & System.DELETED)
        last = page[-1].uid
    return freed
