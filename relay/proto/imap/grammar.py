"""Frames of the receiver to typed commands (RFC 9051 6, 9).

Enters: a `Frame`. Leaves: a `Parsed` command, or `Invalid` with the text for BAD (NO, for a charset). Nothing is
raised.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from relay.proto.imap import commands as c
from relay.proto.imap import dates, grammar_fetch, grammar_search
from relay.proto.imap.args import Args, BadArgument
from relay.proto.imap.fetch import Attribute
from relay.proto.imap.flags import Flags
from relay.proto.imap.tokens import List, Quoted, Token

STATUS_ITEMS = ("MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "SIZE", "DELETED")
MOST_ID_PAIRS = 30
"""RFC 2971 3.3 (count)."""


class Parsed(msgspec.Struct, frozen=True):
    """A command with the row of the table that governs it."""

    name: str
    row: c.Row
    command: c.Command


class Invalid(msgspec.Struct, frozen=True):
    """Not a command that we know, or not its arguments."""

    name: str | None
    """None when the command itself is unknown."""
    text: str
    bad_charset: bool = False
    row: c.Row | None = None


def parse(tokens: tuple[Token, ...], *, utf8: bool = False) -> Parsed | Invalid:
    """The command in the tokens behind the tag; `utf8` as in `Args`."""
    args = Args(tokens, utf8=utf8)
    try:
        name = args.word()
        if name == "UID":
            name = "UID " + args.word()
    except BadArgument:
        return Invalid(None, "Missing command")
    row, read = c.TABLE.get(name), _READ.get(name)
    if row is None or read is None:
        return Invalid(None, "Unknown command")
    try:
        command = read(args)
        args.end()
    except BadArgument as error:
        return Invalid(name, str(error), row=row)
    except grammar_search.BadCharset:
        return Invalid(name, "Charset is not supported", bad_charset=True, row=row)
    if isinstance(command, c.Search) and command.by_uid and grammar_search.names_numbers(command.key):
        row = c.TABLE["SEARCH"]
    return Parsed(name, row, command)


def parse_append(tokens: tuple[Token, ...], *, utf8: bool = False) -> c.AppendHead | Invalid:
    """The head of an APPEND whose first literal is offered (RFC 9051 6.3.12)."""
    args = Args(tokens[1:], utf8=utf8)
    row = c.TABLE["APPEND"]
    try:
        mailbox = args.mailbox()
        flags = args.flag_list() if isinstance(args.peek(), List) else Flags()
        date = _date_time(args) if isinstance(args.peek(), Quoted) else None
        args.end()
    except BadArgument as error:
        return Invalid("APPEND", str(error), row=row)
    return c.AppendHead(mailbox, flags, date)


# -- one reader per command ------------------------------------------------------------------------------------------


def _date_time(args: Args) -> float:
    date = dates.parse_date_time(args.string())
    if date is None:
        raise BadArgument("Invalid date-time")
    return date


def _id(args: Args) -> c.Command:
    if args.peek_word() == b"NIL":
        args.token()
        return c.Id(())
    inner = args.nested()
    pairs: list[tuple[bytes, bytes | None]] = []
    while inner.more:
        pairs.append((inner.string(), inner.nstring()))
        if len(pairs) > MOST_ID_PAIRS:
            raise BadArgument("Too many ID fields")
    return c.Id(tuple(pairs))


def _authenticate(args: Args) -> c.Command:
    mechanism = args.word()
    return c.Authenticate(mechanism, args.bare() if args.more else None)


def _enable(args: Args) -> c.Command:
    names = [args.word()]
    while args.more:
        names.append(args.word())
    return c.Enable(tuple(names))


def _select(read_only: bool) -> Callable[[Args], c.Command]:
    def read(args: Args) -> c.Command:
        mailbox, condstore = args.mailbox(), False
        if args.more:  # RFC 4466 2.1
            inner = args.nested()
            while inner.more:
                # We answer NOMODSEQ, so the values need no look; eM Client sends (CONDSTORE QRESYNC (1 1)).
                condstore = inner.word() in ("CONDSTORE", "QRESYNC") or condstore
                if isinstance(inner.peek(), List):
                    inner.nested()
        return c.Select(mailbox, read_only, condstore)

    return read


def _create(args: Args) -> c.Command:
    mailbox, use = args.mailbox(), []
    if args.more:
        inner = args.nested()
        if inner.word() != "USE":
            raise BadArgument("Unknown CREATE parameter")
        uses = inner.nested()
        while uses.more:
            use.append(uses.bare().decode("ascii", "replace"))
        inner.end()
    return c.Create(mailbox, tuple(use))


def _words(args: Args) -> list[str]:
    inner, found = args.nested(), []
    while inner.more:
        found.append(inner.word())
    return found


def _status_items(args: Args) -> tuple[str, ...]:
    items = _words(args)
    if not items or any(item not in STATUS_ITEMS and item != "HIGHESTMODSEQ" for item in items):
        raise BadArgument("Unknown STATUS item")
    return tuple(dict.fromkeys(items))


_SELECTION = frozenset({"SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"})
_RETURN = frozenset({"SUBSCRIBED", "CHILDREN", "SPECIAL-USE"})


def _list(args: Args) -> c.Command:
    selection: list[str] = []
    extended = False
    if isinstance(args.peek(), List):  # RFC 9051 6.3.9.1
        extended, selection = True, _words(args)
        if not _SELECTION.issuperset(selection) or selection == ["RECURSIVEMATCH"]:
            raise BadArgument("Unknown LIST selection option")
    reference = args.pattern()
    if isinstance(args.peek(), List):
        extended, inner, patterns = True, args.nested(), []
        while inner.more:
            patterns.append(inner.pattern())
        if not patterns:
            raise BadArgument("Empty list of patterns")
    else:
        patterns = [args.pattern()]
    returns: list[str] = []
    status: tuple[str, ...] | None = None
    if args.more:
        if args.word() != "RETURN":
            raise BadArgument("Too many arguments")
        extended, inner = True, args.nested()
        while inner.more:
            option = inner.word()
            if option == "STATUS":  # RFC 5819
                status = _status_items(inner)
            elif option in _RETURN:
                returns.append(option)
            else:
                raise BadArgument("Unknown LIST return option")
    return c.ListMailboxes(
        reference,
        tuple(patterns),
        selection=frozenset(selection),
        returns=frozenset(returns),
        status=status,
        extended=extended,
    )


def _lsub(args: Args) -> c.Command:
    return c.ListMailboxes(args.pattern(), (args.pattern(),), lsub=True)


def _search(by_uid: bool) -> Callable[[Args], c.Command]:
    return lambda args: c.Search(grammar_search.key(args), by_uid)


def _fetch(by_uid: bool) -> Callable[[Args], c.Command]:
    def read(args: Args) -> c.Command:
        numbers, items = args.sequence_set(), grammar_fetch.items(args)
        if by_uid:
            # RFC 9051 6.4.9: the UID is always in the answer; Thunderbird wants it first.
            items = (Attribute.UID, *(item for item in items if item is not Attribute.UID))
        changed_since = None
        if args.more:
            inner = args.nested()
            if inner.word() != "CHANGEDSINCE":
                raise BadArgument("Unknown FETCH modifier")
            changed_since = inner.number()
            inner.end()
        return c.Fetch(numbers, items, by_uid, changed_since)

    return read


_STORE_ITEMS: MappingProxyType[str, tuple[c.StoreMode, bool]] = MappingProxyType(
    {
        "FLAGS": (c.StoreMode.SET, False),
        "FLAGS.SILENT": (c.StoreMode.SET, True),
        "+FLAGS": (c.StoreMode.ADD, False),
        "+FLAGS.SILENT": (c.StoreMode.ADD, True),
        "-FLAGS": (c.StoreMode.REMOVE, False),
        "-FLAGS.SILENT": (c.StoreMode.REMOVE, True),
    }
)


def _store(by_uid: bool) -> Callable[[Args], c.Command]:
    def read(args: Args) -> c.Command:
        numbers = args.sequence_set()
        found = _STORE_ITEMS.get(args.word())
        if found is None:
            raise BadArgument("Unknown STORE item")
        return c.StoreFlags(numbers, found[0], args.flag_list(), found[1], by_uid)

    return read


def _copy(by_uid: bool, move: bool) -> Callable[[Args], c.Command]:
    return lambda args: c.Copy(args.sequence_set(), args.mailbox(), by_uid, move)


def _subscribe(on: bool) -> Callable[[Args], c.Command]:
    return lambda args: c.Subscribe(args.mailbox(), on)


def _append_without_literal(args: Args) -> c.Command:
    raise BadArgument("Expected a literal")


_Reader: TypeAlias = Callable[[Args], c.Command]

_READ: MappingProxyType[str, _Reader] = MappingProxyType(
    {
        "CAPABILITY": lambda args: c.Capability(),
        "NOOP": lambda args: c.Noop(),
        "LOGOUT": lambda args: c.Logout(),
        "ID": _id,
        "STARTTLS": lambda args: c.StartTls(),
        "LOGIN": lambda args: c.Login(args.astring(), args.astring()),
        "AUTHENTICATE": _authenticate,
        "ENABLE": _enable,
        "SELECT": _select(read_only=False),
        "EXAMINE": _select(read_only=True),
        "CREATE": _create,
        "DELETE": lambda args: c.Delete(args.mailbox()),
        "RENAME": lambda args: c.Rename(args.mailbox(), args.mailbox()),
        "SUBSCRIBE": _subscribe(on=True),
        "UNSUBSCRIBE": _subscribe(on=False),
        "LIST": _list,
        "LSUB": _lsub,
        "NAMESPACE": lambda args: c.Namespace(),
        "STATUS": lambda args: c.Status(args.mailbox(), _status_items(args)),
        "APPEND": _append_without_literal,
        "IDLE": lambda args: c.Idle(),
        "CHECK": lambda args: c.Check(),
        "CLOSE": lambda args: c.Close(expunge=True),
        "UNSELECT": lambda args: c.Close(expunge=False),
        "EXPUNGE": lambda args: c.Expunge(),
        "UID EXPUNGE": lambda args: c.Expunge(args.sequence_set()),
        "SEARCH": _search(by_uid=False),
        "UID SEARCH": _search(by_uid=True),
        "FETCH": _fetch(by_uid=False),
        "UID FETCH": _fetch(by_uid=True),
        "STORE": _store(by_uid=False),
        "UID STORE": _store(by_uid=True),
        "COPY": _copy(by_uid=False, move=False),
        "UID COPY": _copy(by_uid=True, move=False),
        "MOVE": _copy(by_uid=False, move=True),
        "UID MOVE": _copy(by_uid=True, move=True),
    }
)
