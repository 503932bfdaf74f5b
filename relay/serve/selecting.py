"""SELECT and EXAMINE (RFC 9051 6.3.2, 6.3.3, RFC 3501 6.3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.proto.imap import codes, responses
from relay.proto.imap import commands as c
from relay.proto.imap import search as keys
from relay.proto.imap.columns import sieve
from relay.proto.imap.flags import SYSTEM_NAMES, System
from relay.proto.imap.listing import Entry
from relay.serve.answers import Answer, no
from relay.serve.folders import find
from relay.serve.selected import Selected, keywords_in

if TYPE_CHECKING:
    from relay.serve.session import Session

_UNSEEN = keys.Not(keys.HasFlags(System.SEEN))


async def select(session: Session, command: c.Select) -> Answer:
    """Open a mailbox; the one that was open is closed, also where the new one cannot be had."""
    mailboxes, talk, feed = session.services.mailboxes, session.talk, session.services.feed
    if session.selected is not None:
        session.unselect()
        talk.ok(None, "Closed", codes.CLOSED)  # RFC 9051 7.1: what follows is of the new mailbox
    known = await feed.latest()
    folder = await find(session, command.mailbox)
    if folder is None:
        return no("No such mailbox", codes.NONEXISTENT)
    selected = Selected(
        folder, mailboxes, read_only=command.read_only, session=session.name, base=known, rev2=session.rev2
    )
    shelf = await selected.load(feed)
    session.selected = selected
    selected.on_change(talk.stream.poke)
    keywords = "".join(" " + word for word in keywords_in(mailboxes.words(shelf.keywords)))
    flags = f"{SYSTEM_NAMES}{keywords}".encode("ascii")
    talk.untagged(b"FLAGS", b"(" + flags + b")")
    talk.ok(None, "Flags kept", codes.permanentflags(b"" if command.read_only else flags + b" \\*"))
    talk.untagged(b"%d EXISTS" % len(shelf))
    if session.rev2:
        # RFC 9051 6.3.2: LIST instead of RECENT and UNSEEN, so that the client knows the name as it is written here.
        listed = Entry(folder.name, ("\\Subscribed",) if folder.row.subscribed else ())
        talk.send(responses.listed(listed, utf8=session.utf8))
    else:
        talk.untagged(b"0 RECENT")
        unseen = sieve(_UNSEEN, shelf.flags)
        if unseen is not None and (at := unseen.column.find(1)) >= 0:
            talk.ok(None, "First unseen", codes.unseen(at + 1))
    talk.ok(None, "UIDs valid", codes.uidvalidity(folder.row.uidvalidity))
    talk.ok(None, "Predicted next UID", codes.uidnext(max(folder.row.uidnext, selected.view.newest_uid + 1)))
    if "OBJECTID" in session.offers:
        talk.ok(None, "Mailbox id", codes.mailboxid(folder.object_id))  # RFC 8474 4.2
    if command.condstore:
        talk.ok(None, "No mod-sequences", codes.NOMODSEQ)  # RFC 7162 3.1.2.2
    return Answer("OK", "Selected", codes.READ_ONLY if command.read_only else codes.READ_WRITE)
