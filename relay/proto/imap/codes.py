"""Response codes of the server (RFC 9051 7.1, RFC 5530 3): what stands between the brackets of a status response."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from relay.proto.imap import encode
from relay.proto.imap.sequence import compact

ALREADYEXISTS: Final = b"ALREADYEXISTS"
AUTHENTICATIONFAILED: Final = b"AUTHENTICATIONFAILED"
CANNOT: Final = b"CANNOT"
"""It can never be done here: a name that no mailbox may have."""
CLIENTBUG: Final = b"CLIENTBUG"
CLOSED: Final = b"CLOSED"
"""The mailbox that was selected no longer is; what follows is about the new one (RFC 9051 7.1)."""
CORRUPTION: Final = b"CORRUPTION"
EXPUNGEISSUED: Final = b"EXPUNGEISSUED"
HASCHILDREN: Final = b"HASCHILDREN"
INUSE: Final = b"INUSE"
LIMIT: Final = b"LIMIT"
NOMODSEQ: Final = b"NOMODSEQ"
"""RFC 7162 3.1.2.2: CONDSTORE and QRESYNC are not to be had in this mailbox."""
NONEXISTENT: Final = b"NONEXISTENT"
NOPERM: Final = b"NOPERM"
NOTSAVED: Final = b"NOTSAVED"
"""The saved result is empty, because the search was not carried through (RFC 5182 2.1)."""
OVERQUOTA: Final = b"OVERQUOTA"
PRIVACYREQUIRED: Final = b"PRIVACYREQUIRED"
READ_ONLY: Final = b"READ-ONLY"
READ_WRITE: Final = b"READ-WRITE"
SERVERBUG: Final = b"SERVERBUG"
TOOBIG: Final = b"TOOBIG"
"""RFC 7889 4."""
TRYCREATE: Final = b"TRYCREATE"
"""Only where APPEND, COPY or MOVE would do after a CREATE (RFC 9051 7.1)."""
UIDNOTSTICKY: Final = b"UIDNOTSTICKY"
UNAVAILABLE: Final = b"UNAVAILABLE"
UNKNOWN_CTE: Final = b"UNKNOWN-CTE"
"""RFC 3516 4.3: no BINARY of a part whose encoding nobody knows."""
USEATTR: Final = b"USEATTR"
"""RFC 6154 3: no mailbox can have this special use."""


def badcharset(charsets: Iterable[str]) -> bytes:
    """RFC 9051 6.4.4."""
    return b"BADCHARSET " + encode.parens(name.encode("ascii") for name in sorted(charsets))


def capability(words: Sequence[str]) -> bytes:
    """For a status response, and behind `* ` a response of its own."""
    return b"CAPABILITY " + " ".join(words).encode("ascii")


def appenduid(uidvalidity: int, uids: Iterable[int]) -> bytes:
    """RFC 4315 3; several UIDs for MULTIAPPEND, ascending as the messages came."""
    return b"APPENDUID %d %b" % (uidvalidity, compact(uids))


def copyuid(uidvalidity: int, sources: Sequence[int], targets: Sequence[int]) -> bytes | None:
    """RFC 4315 3; both ascend, so the nth of one set is the nth of the other. None when nothing was copied."""
    if not sources:
        return None
    return b"COPYUID %d %b %b" % (uidvalidity, compact(sources), compact(targets))


def mailboxid(object_id: str) -> bytes:
    """RFC 8474 4.1, 4.2: said by CREATE and SELECT."""
    return b"MAILBOXID (" + object_id.encode("ascii") + b")"


def permanentflags(flags: bytes) -> bytes:
    """RFC 9051 7.1."""
    return b"PERMANENTFLAGS (" + flags + b")"


def uidvalidity(number: int) -> bytes:
    """RFC 9051 7.1."""
    return b"UIDVALIDITY %d" % number


def uidnext(number: int) -> bytes:
    """RFC 9051 7.1."""
    return b"UIDNEXT %d" % number


def unseen(number: int) -> bytes:
    """The first unseen message, which only rev1 is told (RFC 3501 7.1)."""
    return b"UNSEEN %d" % number


def inprogress(tag: str, done: int | None = None, goal: int | None = None) -> bytes:
    """RFC 9585 4: the command with this tag goes on; `done` may be known without `goal`, never the other way round."""
    if done is None:
        goal = None
    numbers = b" ".join(b"NIL" if number is None else b"%d" % number for number in (done, goal))
    return b"INPROGRESS (" + encode.quoted(tag.encode("ascii")) + b" " + numbers + b")"
