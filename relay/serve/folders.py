"""CREATE, DELETE, RENAME, SUBSCRIBE and UNSUBSCRIBE on the standby; `find` is how all commands come by a mailbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.proto.imap import codes
from relay.proto.imap import commands as c
from relay.proto.imap.listing import special_use
from relay.serve.answers import DONE, Answer, no
from relay.spool.mailboxes import Folder, Seen
from relay.spool.names import INBOX

if TYPE_CHECKING:
    from relay.serve.session import Session

_VIRTUAL = frozenset({"\\All", "\\Flagged"})
"""RFC 6154 2: what shows messages of others; no mailbox can be made one."""


def seen(session: Session) -> Seen:
    """Under what knowledge the session changes folders."""
    return Seen(session.name, session.services.feed.seen)


async def find(session: Session, name: str) -> Folder | None:
    """A mailbox by name; a usual one that is only shown yet is made. NotNow."""
    mailboxes = session.services.mailboxes
    found = await mailboxes.folder(session.account, name)
    return found if found is not None else await mailboxes.awaken(session.account, name, seen(session))


async def create(session: Session, command: c.Create) -> Answer:
    """RFC 9051 6.3.4, RFC 6154 3, RFC 8474 4.1."""
    uses = []
    for word in command.special_use:
        use = special_use(word)
        if use is None or use in _VIRTUAL:
            return no("No mailbox can have this special use", codes.USEATTR)
        uses.append(use)
    await find(session, command.mailbox)  # what LIST shows exists
    mailboxes = session.services.mailboxes
    folder = await mailboxes.create(session.account, command.mailbox, seen(session), special_use=uses)
    return Answer("OK", "Created", codes.mailboxid(folder.object_id))


async def delete(session: Session, command: c.Delete) -> Answer:
    """RFC 9051 6.3.5. Whoever has it selected is told BYE, this session too."""
    await find(session, command.mailbox)
    await session.services.mailboxes.delete(session.account, command.mailbox, seen(session))
    _lose(session, command.mailbox)
    return Answer("OK", "Deleted")


async def rename(session: Session, command: c.Rename) -> Answer:
    """RFC 9051 6.3.6, with everything below. Whoever has one of them selected is told BYE, this session too."""
    await find(session, command.mailbox)
    await find(session, command.new_name)
    await session.services.mailboxes.rename(session.account, command.mailbox, command.new_name, seen(session))
    _lose(session, command.mailbox)
    return Answer("OK", "Renamed")


def _lose(session: Session, name: str) -> None:
    """Where it is the selected one: the feed says so too, and of those below, but later."""
    if session.selected is not None and session.selected.folder.name == name != INBOX:
        session.selected.lost = True


async def subscribe(session: Session, command: c.Subscribe) -> Answer:
    """SUBSCRIBE, also to what does not exist, and UNSUBSCRIBE (RFC 9051 6.3.7, 6.3.8)."""
    await find(session, command.mailbox)
    mailboxes = session.services.mailboxes
    change = mailboxes.subscribe if command.on else mailboxes.unsubscribe
    await change(session.account, command.mailbox, seen(session))
    return DONE
