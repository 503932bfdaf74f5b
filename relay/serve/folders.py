"""LIST, LSUB, STATUS, NAMESPACE, SELECT and EXAMINE on the standby."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.proto.imap import commands as c
from relay.proto.imap import encode, names
from relay.proto.imap.flags import SYSTEM_NAMES, System
from relay.proto.imap.names import DELIMITER, Pattern
from relay.serve.answers import DONE, Answer, no
from relay.serve.selected import Selected, keywords_in
from relay.spool.mailboxes import Folder
from relay.store.records import MailboxRow

if TYPE_CHECKING:
    from relay.serve.session import Session

_MOST_PATTERNS = 50
_DELIMITER = encode.quoted(DELIMITER.encode())


async def namespace(session: Session, command: c.Namespace) -> Answer:
    """RFC 9051 6.3.10: one, the user's own."""
    session.talk.untagged(b'NAMESPACE (("" ' + _DELIMITER + b")) NIL NIL")
    return DONE


async def list_mailboxes(session: Session, command: c.ListMailboxes) -> Answer:
    """LIST with RFC 9051's selection and return options, and LSUB."""
    word = b"LSUB" if command.lsub else b"LIST"
    if command.patterns == ("",) and not command.extended:
        # RFC 3501 6.3.8: an empty pattern asks for the delimiter.
        session.talk.untagged(word, b"(\\Noselect)", _DELIMITER, b'""')
        return DONE
    if len(command.patterns) > _MOST_PATTERNS:
        return Answer("BAD", "Too many patterns")
    patterns = [Pattern(command.reference + pattern) for pattern in command.patterns]
    existing = {folder.name: folder for folder in await session.services.mailboxes.folders(session.account)}
    subscribed_only = command.lsub or "SUBSCRIBED" in command.selection
    show_subscribed = "SUBSCRIBED" in command.returns or "SUBSCRIBED" in command.selection
    for name in _with_parents(list(existing)):
        if not any(pattern.matches(name) for pattern in patterns):
            continue
        folder = existing.get(name)
        if subscribed_only and (folder is None or not folder.row.subscribed):
            continue
        if "SPECIAL-USE" in command.selection and (folder is None or folder.row.special_use is None):
            continue
        attributes = _attributes(name, folder, existing, subscribed=show_subscribed)
        wire = encode.astring(names.encode(name))
        session.talk.untagged(word, encode.parens(attributes), _DELIMITER, wire)
        if command.status is not None and folder is not None:
            session.talk.untagged(b"STATUS", wire, _status(folder.row, command.status))
    return DONE


def _with_parents(existing: list[str]) -> list[str]:
    """All names, and the levels above them that are no mailboxes themselves."""
    shown = dict.fromkeys(existing)
    for name in existing:
        levels = name.split(DELIMITER)
        for depth in range(1, len(levels)):
            shown.setdefault(DELIMITER.join(levels[:depth]))
    return list(shown)


def _attributes(name: str, folder: Folder | None, existing: dict[str, Folder], *, subscribed: bool) -> list[bytes]:
    below = name + DELIMITER
    found = [b"\\HasChildren" if any(other.startswith(below) for other in existing) else b"\\HasNoChildren"]
    if folder is None:
        return [b"\\Noselect", *found]
    if subscribed and folder.row.subscribed:
        found.append(b"\\Subscribed")
    if folder.row.special_use:
        found.append(folder.row.special_use.encode("ascii", "replace"))
    return found


async def status(session: Session, command: c.Status) -> Answer:
    """RFC 9051 6.3.11."""
    folder = await session.services.mailboxes.folder(session.account, command.mailbox)
    if folder is None:
        return _no_such_mailbox()
    wire = encode.astring(names.encode(folder.name))
    session.talk.untagged(b"STATUS", wire, _status(folder.row, command.items))
    return DONE


def _status(row: MailboxRow, items: tuple[str, ...]) -> bytes:
    values = {
        "MESSAGES": row.messages,
        "RECENT": 0,
        "UIDNEXT": row.uidnext,
        "UIDVALIDITY": row.uidvalidity,
        "UNSEEN": row.unseen,
        "SIZE": row.size,
        "HIGHESTMODSEQ": 0,  # RFC 7162 3.1.2.2: no persistent mod-sequences
    }
    return encode.parens(b"%b %d" % (item.encode("ascii"), values[item]) for item in items)


def _no_such_mailbox() -> Answer:
    return no("No such mailbox", b"NONEXISTENT")


async def select(session: Session, command: c.Select) -> Answer:
    """SELECT and EXAMINE (RFC 9051 6.3.2, RFC 3501 6.3.1)."""
    session.unselect()  # also where the new one cannot be opened
    mailboxes, talk = session.services.mailboxes, session.talk
    folder = await mailboxes.folder(session.account, command.mailbox)
    if folder is None:
        return _no_such_mailbox()
    selected = Selected(
        folder, mailboxes, read_only=command.read_only, session=session.name, base=session.services.feed.seen
    )
    rows = await selected.load(session.services.feed)
    session.selected = selected
    selected.on_change(talk.stream.poke)
    keywords = "".join(" " + word for word in keywords_in(mailboxes, rows))
    flags = f"{SYSTEM_NAMES}{keywords}"
    talk.untagged(b"FLAGS", b"(" + flags.encode("ascii") + b")")
    permanent = b"" if command.read_only else flags.encode("ascii") + b" \\*"
    talk.ok(None, "Flags kept", b"PERMANENTFLAGS (" + permanent + b")")
    talk.untagged(b"%d EXISTS" % len(rows))
    talk.untagged(b"0 RECENT")
    unseen = next((number for number, row in enumerate(rows, 1) if not row.flags & System.SEEN), None)
    if unseen is not None:
        talk.ok(None, "First unseen", b"UNSEEN %d" % unseen)
    talk.ok(None, "UIDs valid", b"UIDVALIDITY %d" % folder.row.uidvalidity)
    talk.ok(None, "Predicted next UID", b"UIDNEXT %d" % max(folder.row.uidnext, selected.view.newest_uid + 1))
    if command.condstore:
        talk.ok(None, "No mod-sequences", b"NOMODSEQ")  # RFC 7162 3.1.2.2
    return Answer("OK", "Selected", b"READ-ONLY" if command.read_only else b"READ-WRITE")
