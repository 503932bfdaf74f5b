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
from relay.proto.imap.search import Key
from relay.proto.imap.sequence import SequenceSet


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
    """What stands before the first literal of APPEND (RFC 9051 6.3.12)."""

    mailbox: str
    flags: Flags
    date: float | None
    """Unix seconds; None = now."""


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
)


class Row(msgspec.Struct, frozen=True):
    """What the session must know about a command before it runs it."""

    states: State
    uses_numbers: bool = False
    """Its arguments or its answer name messages by sequence number."""
    may_expunge: bool = True
    """Whether EXPUNGE may be told before its tagged response (RFC 9051 7.5.1)."""


TABLE: MappingProxyType[str, Row] = MappingProxyType(
    {
        "CAPABILITY": Row(State.ANY),
        "NOOP": Row(State.ANY),
        "LOGOUT": Row(State.ANY),
        "ID": Row(State.ANY),
        "STARTTLS": Row(State.NOT_AUTHENTICATED),
        "LOGIN": Row(State.NOT_AUTHENTICATED),
        "AUTHENTICATE": Row(State.NOT_AUTHENTICATED),
        "ENABLE": Row(State.AUTHENTICATED),
        "SELECT": Row(State.LOGGED_IN),
        "EXAMINE": Row(State.LOGGED_IN),
        "CREATE": Row(State.LOGGED_IN),
        "DELETE": Row(State.LOGGED_IN),
        "RENAME": Row(State.LOGGED_IN),
        "SUBSCRIBE": Row(State.LOGGED_IN),
        "UNSUBSCRIBE": Row(State.LOGGED_IN),
        "LIST": Row(State.LOGGED_IN),
        "LSUB": Row(State.LOGGED_IN),
        "NAMESPACE": Row(State.LOGGED_IN),
        "STATUS": Row(State.LOGGED_IN),
        "APPEND": Row(State.LOGGED_IN),
        "IDLE": Row(State.LOGGED_IN),
        "CHECK": Row(State.SELECTED),
        "CLOSE": Row(State.SELECTED),
        "UNSELECT": Row(State.SELECTED),
        "EXPUNGE": Row(State.SELECTED),
        "SEARCH": Row(State.SELECTED, uses_numbers=True, may_expunge=False),
        "FETCH": Row(State.SELECTED, uses_numbers=True, may_expunge=False),
        "STORE": Row(State.SELECTED, uses_numbers=True, may_expunge=False),
        "COPY": Row(State.SELECTED, uses_numbers=True),
        "MOVE": Row(State.SELECTED, uses_numbers=True),
        "UID EXPUNGE": Row(State.SELECTED),
        "UID SEARCH": Row(State.SELECTED),
        "UID FETCH": Row(State.SELECTED),
        "UID STORE": Row(State.SELECTED),
        "UID COPY": Row(State.SELECTED),
        "UID MOVE": Row(State.SELECTED),
    }
)
"""Every command that we know by name. `UID SEARCH` with a sequence-number key is the one exception (RFC 9051 6.4.9)."""
