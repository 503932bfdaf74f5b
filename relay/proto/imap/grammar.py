"""Frames of the receiver to typed commands (RFC 9051 6, 9).

Enters: a `Frame`. Leaves: a `Parsed` command, or `Invalid` with the text for BAD (NO, for a charset). Nothing is
raised.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from relay.proto.imap import commands as c
from relay.proto.imap import grammar_append, grammar_fetch, grammar_mailbox, grammar_search
from relay.proto.imap.args import Args, BadArgument
from relay.proto.imap.capabilities import BASIC
from relay.proto.imap.fetch import Attribute
from relay.proto.imap.grammar_search import names_numbers
from relay.proto.imap.tokens import Streamed, Token

MOST_ID_PAIRS = 30
"""RFC 2971 3.3 (count)."""
LONGEST_ID_FIELD = 30
"""RFC 2971 3.3 (octets)."""
LONGEST_ID_VALUE = 1_024


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


def parse(tokens: tuple[Token, ...], *, utf8: bool = False, offers: Set[str] = BASIC) -> Parsed | Invalid:
    """The command in the tokens behind the tag; `utf8` and `offers` as in `Args`."""
    args = Args(tokens, utf8=utf8, offers=offers)
    try:
        name, row = _name(args)
        args.need(row.needs)
    except BadArgument:
        return Invalid(None, "Unknown command")
    try:
        command = _READ[name](args)
        args.end()
    except BadArgument as error:
        return Invalid(name, str(error), row=row)
    except grammar_search.BadCharset:
        return Invalid(name, "Charset is not supported", bad_charset=True, row=row)
    if isinstance(command, (c.Search, c.Sort, c.Thread)) and command.by_uid and names_numbers(command.key):
        row = c.TABLE[name.removeprefix("UID ")]
    return Parsed(name, row, command)


def parse_head(
    tokens: tuple[Token, ...], *, utf8: bool = False, offers: Set[str] = BASIC
) -> c.AppendHead | c.ReplaceHead | Invalid:
    """What stands before a literal that the receiver offers: the head of an APPEND or REPLACE."""
    args = Args(tokens, utf8=utf8, offers=offers)
    name, row = "APPEND", c.TABLE["APPEND"]
    try:
        name, row = _name(args)
        args.need(row.needs)
        head: c.AppendHead | c.ReplaceHead
        if name == "APPEND":
            head = grammar_append.append_head(args)
        else:
            head = grammar_append.replace_head(args, by_uid=name.startswith("UID "))
        args.end()
    except BadArgument as error:
        return Invalid(name, str(error), row=row)
    return head


def completed(head: c.AppendHead, before: int, tokens: tuple[Token, ...]) -> Parsed | None:
    """What `parse` says of an APPEND whose `head` was read from its first `before` tokens, where only the literal has
    come since; None where it has to be read."""
    last = tokens[-1]
    if head.index or head.utf8 or len(tokens) != before + 1 or not isinstance(last, Streamed) or last.binary:
        return None
    message = c.Appended(head.flags, head.date, last.size)
    return Parsed("APPEND", c.TABLE["APPEND"], c.Append(head.mailbox, (message,)))


def parse_append(tokens: tuple[Token, ...], *, utf8: bool = False, offers: Set[str] = BASIC) -> c.AppendHead | Invalid:
    """`parse_head` for a service that has no REPLACE."""
    head = parse_head(tokens, utf8=utf8, offers=offers - {"REPLACE"})
    assert not isinstance(head, c.ReplaceHead)
    return head


def _name(args: Args) -> tuple[str, c.Row]:
    """The command, of two words where the first is UID."""
    name = args.word()
    if name == "UID":
        name = "UID " + args.word()
    row = c.TABLE.get(name)
    if row is None:
        raise BadArgument("Unknown command")
    return name, row


# -- one reader per command ------------------------------------------------------------------------------------------


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
        if len(pairs[-1][0]) > LONGEST_ID_FIELD or len(pairs[-1][1] or b"") > LONGEST_ID_VALUE:
            raise BadArgument("ID field too long")
    return c.Id(tuple(pairs))


def _authenticate(args: Args) -> c.Command:
    mechanism = args.word()
    return c.Authenticate(mechanism, args.bare() if args.more else None)


def _enable(args: Args) -> c.Command:
    names = [args.word()]
    while args.more:
        names.append(args.word())
    return c.Enable(tuple(names))


def _search(by_uid: bool) -> Callable[[Args], c.Command]:
    def read(args: Args) -> c.Command:
        returns = grammar_search.returns(args)
        return c.Search(grammar_search.key(args), by_uid, returns)

    return read


def _sort(by_uid: bool) -> Callable[[Args], c.Command]:
    return lambda args: c.Sort(grammar_search.criteria(args), grammar_search.key_in_charset(args), by_uid)


def _thread(by_uid: bool) -> Callable[[Args], c.Command]:
    return lambda args: c.Thread(grammar_search.algorithm(args), grammar_search.key_in_charset(args), by_uid)


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


def _replace(by_uid: bool) -> Callable[[Args], c.Command]:
    return lambda args: grammar_append.replace(args, by_uid=by_uid)


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
        "SELECT": grammar_mailbox.select(read_only=False),
        "EXAMINE": grammar_mailbox.select(read_only=True),
        "CREATE": grammar_mailbox.create,
        "DELETE": lambda args: c.Delete(args.mailbox()),
        "RENAME": lambda args: c.Rename(args.mailbox(), args.mailbox()),
        "SUBSCRIBE": _subscribe(on=True),
        "UNSUBSCRIBE": _subscribe(on=False),
        "LIST": grammar_mailbox.list_mailboxes,
        "LSUB": grammar_mailbox.lsub,
        "NAMESPACE": lambda args: c.Namespace(),
        "STATUS": grammar_mailbox.status,
        "APPEND": grammar_append.append,
        "GETQUOTA": grammar_mailbox.get_quota,
        "GETQUOTAROOT": lambda args: c.GetQuotaRoot(args.mailbox()),
        "SETQUOTA": grammar_mailbox.set_quota,
        "IDLE": lambda args: c.Idle(),
        "CHECK": lambda args: c.Check(),
        "CLOSE": lambda args: c.Close(expunge=True),
        "UNSELECT": lambda args: c.Close(expunge=False),
        "EXPUNGE": lambda args: c.Expunge(),
        "UID EXPUNGE": lambda args: c.Expunge(args.sequence_set()),
        "SEARCH": _search(by_uid=False),
        "UID SEARCH": _search(by_uid=True),
        "SORT": _sort(by_uid=False),
        "UID SORT": _sort(by_uid=True),
        "THREAD": _thread(by_uid=False),
        "UID THREAD": _thread(by_uid=True),
        "REPLACE": _replace(by_uid=False),
        "UID REPLACE": _replace(by_uid=True),
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
