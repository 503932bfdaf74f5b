"""What the standby understands and what it shows (RFC 9051 6.1.1): what it does, and of that what the primary showed.

Which token is shown when is a table of `proto.imap.capabilities`; here is which of them this service keeps.
"""

from __future__ import annotations

from collections.abc import Collection, Set

from relay.proto.imap import capabilities, codes
from relay.serve.settings import ServeSettings

_TRANSPORT = frozenset({"STARTTLS", "LOGINDISABLED", "SASL-IR", "LITERAL-", "LITERAL+"})
_SESSION = frozenset({"IMAP4rev1", "ID", "ENABLE", "IDLE", "UTF8=ACCEPT", "INPROGRESS"})
_READING = frozenset(
    {"ESEARCH", "SEARCHRES", "WITHIN", "SORT", "THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES", "BINARY", "PREVIEW"}
)
_IDENTITY = frozenset({"OBJECTID", "SAVEDATE"})
_FOLDERS = frozenset(
    {
        "NAMESPACE",
        "CHILDREN",
        "UNSELECT",
        "LIST-EXTENDED",
        "LIST-STATUS",
        "STATUS=SIZE",
        "SPECIAL-USE",
        "CREATE-SPECIAL-USE",
    }
)
_WRITING = frozenset({"UIDPLUS", "MOVE", "MULTIAPPEND", "REPLACE", "APPENDLIMIT", "QUOTA", "QUOTA=RES-STORAGE"})

OFFERS: frozenset[str] = _TRANSPORT | _SESSION | _READING | _IDENTITY | _FOLDERS | _WRITING
"""What every standby understands; each word has its code, and a test that asks for it."""


def understood(settings: ServeSettings) -> frozenset[str]:
    """What a session of this service understands."""
    return OFFERS | {"IMAP4rev2"} if settings.rev2 else OFFERS


def before_login(offers: Set[str], *, starttls: bool, mechanisms: tuple[str, ...]) -> bytes:
    """For the greeting and for CAPABILITY before login, as `CAPABILITY ...`; no mechanisms = nobody logs in here."""
    words = capabilities.shown(
        offers | {f"AUTH={name}" for name in mechanisms},
        logged_in=False,
        tls_possible=starttls,
        login_possible=bool(mechanisms),
    )
    return codes.capability(words)


def after_login(settings: ServeSettings, primary: Collection[str] | None) -> bytes:
    """After login, as `CAPABILITY ...`; `primary` is what it showed its users last, None = not known."""
    return codes.capability(
        capabilities.shown(understood(settings), logged_in=True, primary=primary, append_limit=settings.append_limit)
    )
