"""Which response code says why something was refused (RFC 9051 7.1, RFC 5530 3): one row per error."""

from __future__ import annotations

from types import MappingProxyType

from relay.core.errors import Refused
from relay.proto.imap import codes
from relay.serve.answers import Answer, no
from relay.spool.folders import (
    FolderExists,
    FolderRefused,
    NoSuchFolder,
    OnlyALevel,
    SpecialUseTaken,
    TooManyFolders,
)
from relay.store.mailbox_api import MessageGone, OverQuota, TooManyKeywords

CODES: MappingProxyType[type[Refused], bytes] = MappingProxyType(
    {
        NoSuchFolder: codes.NONEXISTENT,
        FolderExists: codes.ALREADYEXISTS,
        SpecialUseTaken: codes.USEATTR,  # RFC 6154 3
        TooManyFolders: codes.LIMIT,
        OnlyALevel: codes.HASCHILDREN,
        FolderRefused: codes.CANNOT,
        OverQuota: codes.OVERQUOTA,
        TooManyKeywords: codes.LIMIT,
        MessageGone: codes.EXPUNGEISSUED,
        Refused: codes.CANNOT,
    }
)
"""By the nearest class."""

NO_MAILBOX = no(NoSuchFolder.public, codes.NONEXISTENT)
TRY_CREATE = no(NoSuchFolder.public, codes.TRYCREATE)
"""For the mailbox that a message would have gone to (RFC 9051 6.3.12, 6.4.7)."""


def refused(refusal: Refused) -> Answer:
    """NO with its code."""
    return no(refusal.public, next(CODES[kind] for kind in type(refusal).__mro__ if kind in CODES))
