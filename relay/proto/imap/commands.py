"""Commands as typed values, and the table that says where each may be used (RFC 9051 6).

A new command is a struct here, a row in `TABLE`, a reader in `grammar` and a handler in `serve`; no core changes.
"""

from __future__ import annotations

from enum import Enum, Flag, auto
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from relay.proto.imap.fetch import Item
from relay.proto.imap.flags import Flags
from relay.proto.imap.search import Key, Return
from relay.proto.imap.sequence import SequenceSet
from relay.proto.imap.sorting import Criterion
from relay.proto.imap.threads import Algorithm


class State(Flag):
    """States of a session (RFC 9051 3)."""

    NOT_AUTHENTICATED = auto()
    AUTHENTICATED = auto()
    SELECTED = auto()

    ANY = NOT_AUTHENTICATED | AUTHENTICATED | SELECTED
    LOGGED_IN = AUTHENTICATED | SELECTED


class Capability(msgspec.Struct, frozen=True):
    """RFC 9051 6.1.1."""


class Noop(msgspec.Struct, frozen=True):
    """RFC 9051 6.1.2."""


class Logout(msgspec.Struct, frozen=True):
    """RFC 9051 6.1.3."""


class Id(msgspec.Struct, frozen=True):
    """RFC 2971 3.1; what the client says about itself."""

    pairs: tuple[tuple[bytes, bytes | None], ...]


class StartTls(msgspec.Struct, frozen=True):
    """RFC 9051 6.2.1."""


class Login(msgspec.Struct, frozen=True):
    """RFC 9051 6.2.3."""

    user: bytes
    password: bytes


class Authenticate(msgspec.Struct, frozen=True):
    """RFC 9051 6.2.2; `initial` is the SASL-IR response (RFC 4959), still in base 64."""

    mechanism: str
    initial: bytes | None


class Enable(msgspec.Struct, frozen=True):
    """RFC 9051 6.3.1."""

    names: tuple[str, ...]


class Select(msgspec.Struct, frozen=True):
    """SELECT and EXAMINE (RFC 9051 6.3.2, 6.3.3); `condstore` when CONDSTORE or QRESYNC was among the parameters."""

    mailbox: str
    read_only: bool
    condstore: bool = False


class Create(msgspec.Struct, frozen=True):
    """RFC 9051 6.3.4; `special_use` of RFC 6154 3."""

    mailbox: str
    special_use: tuple[str, ...] = ()


class Delete(msgspec.Struct, frozen=True):
    """RFC 9051 6.3.5."""

    mailbox: str


class Rename(msgspec.Struct, frozen=True):
    """RFC 9051 6.3.6."""

    mailbox: str
    new_name: str


class Subscribe(msgspec.Struct, frozen=True):
    """SUBSCRIBE, or with `on` False UNSUBSCRIBE (RFC 9051 6.3.7, 6.3.8)."""

    mailbox: str
    on: bool


class ListMailboxes(msgspec.Struct, frozen=True):
    """LIST with its extensions (RFC 9051 6.3.9), and LSUB (RFC 3501 6.3.9)."""

    reference: str
    patterns: tuple[str, ...]
    lsub: bool = False
    selection: frozenset[str] = frozenset()
    """SUBSCRIBED, REMOTE, RECURSIVEMATCH, SPECIAL-USE."""
    returns: frozenset[str] = frozenset()
    """SUBSCRIBED, CHILDREN, SPECIAL-USE."""
    status: tuple[str, ...] | None = None
    """STATUS items asked for with RETURN (STATUS (...)) (RFC 5819)."""
    extended: bool = False
    """The client used the extended syntax (RFC 9051 6.3.9.1)."""


class Namespace(msgspec.Struct, frozen=True):
    """RFC 9051 6.3.10."""


class Status(msgspec.Struct, frozen=True):
    """RFC 9051 6.3.11."""

    mailbox: str
    items: tuple[str, ...]


class Idle(msgspec.Struct, frozen=True):
    """RFC 9051 6.3.13."""


class Check(msgspec.Struct, frozen=True):
    """RFC 3501 6.4.1."""


class Close(msgspec.Struct, frozen=True):
    """CLOSE, or UNSELECT when it must not expunge (RFC 9051 6.4.1, 6.4.2)."""

    expunge: bool


class Expunge(msgspec.Struct, frozen=True):
    """EXPUNGE, or UID EXPUNGE with a set (RFC 9051 6.4.3, 6.4.9)."""

    uids: SequenceSet | None = None


class Search(msgspec.Struct, frozen=True):
    """SEARCH and UID SEARCH (RFC 9051 6.4.4)."""

    key: Key
    by_uid: bool
    returns: frozenset[Return] | None = None
    """RETURN options (RFC 4731 3.1, RFC 5182 2.1), `RETURN ()` being ALL; None = asked in the old way."""


class Sort(msgspec.Struct, frozen=True):
    """SORT and UID SORT (RFC 5256 3)."""

    criteria: tuple[Criterion, ...]
    key: Key
    by_uid: bool


class Thread(msgspec.Struct, frozen=True):
    """THREAD and UID THREAD (RFC 5256 3)."""

    algorithm: Algorithm
    key: Key
    by_uid: bool


class Fetch(msgspec.Struct, frozen=True):
    """FETCH and UID FETCH (RFC 9051 6.4.5); `by_uid` implies that UID is among the items."""

    numbers: SequenceSet
    items: tuple[Item, ...]
    by_uid: bool
    changed_since: int | None = None
    """RFC 7162 3.1.4.1; Apple Mail sends 0 where no CONDSTORE was offered."""


class StoreMode(Enum):
    """How STORE combines."""

    SET = auto()
    ADD = auto()
    REMOVE = auto()


class StoreFlags(msgspec.Struct, frozen=True):
    """STORE and UID STORE (RFC 9051 6.4.6)."""

    numbers: SequenceSet
    mode: StoreMode
    flags: Flags
    silent: bool
    by_uid: bool


class Copy(msgspec.Struct, frozen=True):
    """COPY and MOVE with their UID forms (RFC 9051 6.4.7, 6.4.8)."""

    numbers: SequenceSet
    mailbox: str
    by_uid: bool
    move: bool


class AppendHead(msgspec.Struct, frozen=True):
    """What stands before a literal of APPEND (RFC 9051 6.3.12)."""

    mailbox: str
    flags: Flags
    date: float | None
    """Unix seconds; None = now."""
    utf8: bool = False
    """It is in `UTF8 (~{...}` (RFC 6855 4)."""
    index: int = 0
    """Which message of the command it is (RFC 3502 6.3.11), from 0."""


class Appended(msgspec.Struct, frozen=True):
    """One message of a complete APPEND."""

    flags: Flags
    date: float | None
    size: int
    """Octets. 0 asks for the whole command to be given up (RFC 3502 6.3.11)."""
    binary: bool = False
    """It came as literal8 (RFC 3516 4.4)."""
    utf8: bool = False


class Append(msgspec.Struct, frozen=True):
    """APPEND when all its literals have been streamed (RFC 9051 6.3.12, RFC 3502)."""

    mailbox: str
    messages: tuple[Appended, ...]


class ReplaceHead(msgspec.Struct, frozen=True):
    """What stands before the literal of REPLACE and UID REPLACE (RFC 8508 3.3, 3.4)."""

    number: SequenceSet
    """One message."""
    by_uid: bool
    append: AppendHead


class Replace(msgspec.Struct, frozen=True):
    """REPLACE when its literal has been streamed."""

    number: SequenceSet
    by_uid: bool
    mailbox: str
    message: Appended


class GetQuota(msgspec.Struct, frozen=True):
    """RFC 9208 4.1.1."""

    root: str


class GetQuotaRoot(msgspec.Struct, frozen=True):
    """RFC 9208 4.1.2."""

    mailbox: str


class SetQuota(msgspec.Struct, frozen=True):
    """RFC 9208 4.1.3."""

    root: str
    limits: tuple[tuple[str, int], ...]


Command: TypeAlias = (
    Capability
    | Noop
    | Logout
    | Id
    | StartTls
    | Login
    | Authenticate
    | Enable
    | Select
    | Create
    | Delete
    | Rename
    | Subscribe
    | ListMailboxes
    | Namespace
    | Status
    | Idle
    | Check
    | Close
    | Expunge
    | Search
    | Fetch
    | StoreFlags
    | Copy
    | AppendHead
    | Append
    | Replace
    | Sort
    | Thread
    | GetQuota
    | GetQuotaRoot
    | SetQuota
)


class Row(msgspec.Struct, frozen=True):
    """What the session must know about a command before it runs it."""

    states: State
    uses_numbers: bool = False
    """Its arguments or its answer name messages by sequence number."""
    may_expunge: bool = True
    """Whether EXPUNGE may be told before its tagged response (RFC 9051 7.5.1)."""
    needs: str | None = None
    """Understood only where the service offers this extension (`capabilities`); None = the base protocol."""


TABLE: MappingProxyType[str, Row] = MappingProxyType(
    {
        "CAPABILITY": Row(State.ANY),
        "NOOP": Row(State.ANY),
        "LOGOUT": Row(State.ANY),
        "ID": Row(State.ANY, needs="ID"),
        "STARTTLS": Row(State.NOT_AUTHENTICATED),
        "LOGIN": Row(State.NOT_AUTHENTICATED),
        "AUTHENTICATE": Row(State.NOT_AUTHENTICATED),
        "ENABLE": Row(State.AUTHENTICATED, needs="ENABLE"),
        "SELECT": Row(State.LOGGED_IN),
        "EXAMINE": Row(State.LOGGED_IN),
        "CREATE": Row(State.LOGGED_IN),
        "DELETE": Row(State.LOGGED_IN),
        "RENAME": Row(State.LOGGED_IN),
        "SUBSCRIBE": Row(State.LOGGED_IN),
        "UNSUBSCRIBE": Row(State.LOGGED_IN),
        "LIST": Row(State.LOGGED_IN),
        "LSUB": Row(State.LOGGED_IN),
        "NAMESPACE": Row(State.LOGGED_IN, needs="NAMESPACE"),
        "STATUS": Row(State.LOGGED_IN),
        "APPEND": Row(State.LOGGED_IN),
        "IDLE": Row(State.LOGGED_IN, needs="IDLE"),
        "GETQUOTA": Row(State.LOGGED_IN, needs="QUOTA"),
        "GETQUOTAROOT": Row(State.LOGGED_IN, needs="QUOTA"),
        "SETQUOTA": Row(State.LOGGED_IN, needs="QUOTA"),
        "CHECK": Row(State.SELECTED),
        "CLOSE": Row(State.SELECTED),
        "UNSELECT": Row(State.SELECTED, needs="UNSELECT"),
        "EXPUNGE": Row(State.SELECTED),
        "SEARCH": Row(State.SELECTED, uses_numbers=True, may_expunge=False),
        "FETCH": Row(State.SELECTED, uses_numbers=True, may_expunge=False),
        "STORE": Row(State.SELECTED, uses_numbers=True, may_expunge=False),
        "COPY": Row(State.SELECTED, uses_numbers=True),
        "MOVE": Row(State.SELECTED, uses_numbers=True, needs="MOVE"),
        # RFC 5256 3: their answers are numbers, so what RFC 9051 7.5.1 says of SEARCH holds for them.
        "SORT": Row(State.SELECTED, uses_numbers=True, may_expunge=False, needs="SORT"),
        "THREAD": Row(State.SELECTED, uses_numbers=True, may_expunge=False, needs="THREAD=REFERENCES"),
        # RFC 8508 3.5: the removal of the old message is part of the answer.
        "REPLACE": Row(State.SELECTED, uses_numbers=True, needs="REPLACE"),
        "UID EXPUNGE": Row(State.SELECTED, needs="UIDPLUS"),
        "UID SEARCH": Row(State.SELECTED),
        "UID SORT": Row(State.SELECTED, needs="SORT"),
        "UID THREAD": Row(State.SELECTED, needs="THREAD=REFERENCES"),
        "UID REPLACE": Row(State.SELECTED, needs="REPLACE"),
        "UID FETCH": Row(State.SELECTED),
        "UID STORE": Row(State.SELECTED),
        "UID COPY": Row(State.SELECTED),
        "UID MOVE": Row(State.SELECTED, needs="MOVE"),
    }
)
"""Every command that we know by name. A UID form with a sequence-number key in it is governed by the row of the other
form (RFC 9051 6.4.9)."""
