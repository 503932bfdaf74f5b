"""Capabilities as one table: when each token is shown, and what it follows (RFC 9051 6.1.1, 7.2.2). Pure.

Enters: what the service implements (`offers`), what the primary showed, and where the connection stands. Leaves: the
words of CAPABILITY, in the order of the table. Promises:

1. Nothing is shown that the service does not offer.
2. After login a token is shown only where the primary showed it, or one that means the same, so that a client finds
   on the standby what it knows; where nothing is known of the primary, everything that is offered is shown.
3. What is understood does not depend on what is shown: a client that remembers more than it sees is served.
"""

from __future__ import annotations

from collections.abc import Collection, Set
from enum import Enum, Flag, auto
from types import MappingProxyType

import msgspec


class Login(Flag):
    """On which side of the login a token is shown."""

    BEFORE = auto()
    AFTER = auto()
    ALWAYS = BEFORE | AFTER


class Given(Enum):
    """What of the connection a token depends on."""

    NOTHING = auto()
    TLS_POSSIBLE = auto()
    """No TLS yet, and a certificate is there."""
    LOGIN_POSSIBLE = auto()
    """Passwords may be sent over this connection."""
    LOGIN_FORBIDDEN = auto()


class Shown(msgspec.Struct, frozen=True):
    """One row."""

    login: Login
    given: Given = Given.NOTHING
    own: bool = False
    """Shown whatever the primary shows: it is about this connection, not about what a client finds in it."""
    same_as: tuple[str, ...] = ()
    """Tokens of the primary that say this too."""
    value: bool = False
    """Shown as `TOKEN=value`."""
    enable: bool = False
    """ENABLE switches it on (RFC 5161 3.1)."""


_REV2 = ("IMAP4rev2",)
_A = Login.AFTER

TABLE: MappingProxyType[str, Shown] = MappingProxyType(
    {
        "IMAP4rev1": Shown(Login.ALWAYS, own=True),
        # A setting offers it; a primary that has only rev1 is no reason to hide it then, for ENABLE decides.
        "IMAP4rev2": Shown(Login.ALWAYS, own=True, enable=True),  # RFC 9051 Appendix A
        "STARTTLS": Shown(Login.BEFORE, Given.TLS_POSSIBLE, own=True),  # RFC 9051 6.2.1
        "LOGINDISABLED": Shown(Login.BEFORE, Given.LOGIN_FORBIDDEN, own=True),  # RFC 9051 6.2.3
        "AUTH=PLAIN": Shown(Login.BEFORE, Given.LOGIN_POSSIBLE, own=True),
        "AUTH=LOGIN": Shown(Login.BEFORE, Given.LOGIN_POSSIBLE, own=True),
        "AUTH=XOAUTH2": Shown(Login.BEFORE, Given.LOGIN_POSSIBLE, own=True),
        "AUTH=OAUTHBEARER": Shown(Login.BEFORE, Given.LOGIN_POSSIBLE, own=True),  # RFC 7628 3
        "SASL-IR": Shown(Login.BEFORE, own=True),  # RFC 4959 3
        "LITERAL-": Shown(Login.BEFORE, own=True),  # RFC 7888 5: a stranger's literals are small ones
        "LITERAL+": Shown(_A, own=True),
        "ID": Shown(Login.ALWAYS, own=True),
        "ENABLE": Shown(Login.ALWAYS, own=True),
        "IDLE": Shown(_A, same_as=_REV2),
        "NAMESPACE": Shown(_A, same_as=_REV2),
        "CHILDREN": Shown(_A, same_as=("LIST-EXTENDED", *_REV2)),  # RFC 3348 3
        "UNSELECT": Shown(_A, same_as=_REV2),
        "UIDPLUS": Shown(_A, same_as=_REV2),
        "MOVE": Shown(_A, same_as=_REV2),  # RFC 6851 3
        "SPECIAL-USE": Shown(_A, same_as=("XLIST", *_REV2)),
        "CREATE-SPECIAL-USE": Shown(_A),
        "LIST-EXTENDED": Shown(_A, same_as=_REV2),
        "LIST-STATUS": Shown(_A, same_as=_REV2),
        "STATUS=SIZE": Shown(_A, same_as=_REV2),  # RFC 8438 2
        "ESEARCH": Shown(_A, same_as=_REV2),
        "SEARCHRES": Shown(_A, same_as=_REV2),
        "WITHIN": Shown(_A),
        "SORT": Shown(_A),
        "THREAD=ORDEREDSUBJECT": Shown(_A),
        "THREAD=REFERENCES": Shown(_A, same_as=("THREAD=REFS",)),
        "MULTIAPPEND": Shown(_A),
        "BINARY": Shown(_A),
        "APPENDLIMIT": Shown(_A, own=True, value=True),  # RFC 7889 2: a limit of ours is true whatever the primary says
        "QUOTA": Shown(_A),
        "QUOTA=RES-STORAGE": Shown(_A, same_as=("QUOTA",)),  # RFC 9208 3.1.1
        "OBJECTID": Shown(_A),
        "SAVEDATE": Shown(_A),
        "PREVIEW": Shown(_A),
        "REPLACE": Shown(_A),
        "UTF8=ACCEPT": Shown(_A, same_as=("UTF8=ONLY",), enable=True),
        "INPROGRESS": Shown(_A),
    }
)
"""Every token that a service of ours may show."""

BASIC: frozenset[str] = frozenset(
    {
        "IMAP4rev1", "STARTTLS", "LOGINDISABLED", "AUTH=PLAIN", "SASL-IR", "LITERAL-", "LITERAL+", "ID", "ENABLE",
        "IDLE", "NAMESPACE", "CHILDREN", "UNSELECT", "UIDPLUS", "MOVE", "SPECIAL-USE", "CREATE-SPECIAL-USE",
        "LIST-EXTENDED", "LIST-STATUS", "STATUS=SIZE",
    }
)  # fmt: skip
"""What a service understands that names no others."""

EVERYTHING: frozenset[str] = frozenset(TABLE)


def shown(
    offers: Set[str],
    *,
    logged_in: bool,
    tls_possible: bool = False,
    login_possible: bool = True,
    primary: Collection[str] | None = None,
    append_limit: int | None = None,
) -> tuple[str, ...]:
    """The words of CAPABILITY; `primary` None = nothing is known of it, `append_limit` in octets."""
    side = Login.AFTER if logged_in else Login.BEFORE
    given = {
        Given.NOTHING: True,
        Given.TLS_POSSIBLE: tls_possible,
        Given.LOGIN_POSSIBLE: login_possible,
        Given.LOGIN_FORBIDDEN: not login_possible,
    }
    seen = None if primary is None else {word.upper() for word in primary}
    words = []
    for token, row in TABLE.items():
        if token not in offers or side not in row.login or not given[row.given]:
            continue
        if not (row.own or seen is None or any(name.upper() in seen for name in (token, *row.same_as))):
            continue
        if row.value:
            if append_limit is not None:
                words.append(f"{token}={append_limit}")
        else:
            words.append(token)
    return tuple(words)


def enabled(asked: Collection[str], offers: Set[str]) -> tuple[str, ...]:
    """Those of ENABLE's words that are switched on, as they are named in ENABLED (RFC 5161 3.1, 3.2)."""
    wanted = {word.upper() for word in asked}
    return tuple(token for token, row in TABLE.items() if row.enable and token in offers and token.upper() in wanted)
