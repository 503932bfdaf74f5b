"""SEARCH keys from tokens (RFC 9051 9 search-key, RFC 3501 6.4.4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import MappingProxyType

from relay.proto.imap import dates, sequence
from relay.proto.imap.args import Args, BadArgument
from relay.proto.imap.flags import System, parse
from relay.proto.imap.search import (
    All,
    AnyOf,
    BodyHas,
    Compare,
    Dated,
    DateOf,
    HasFlags,
    HasKeyword,
    HeaderHas,
    IsRecent,
    Key,
    Not,
    Numbers,
    ObjectIs,
    Return,
    Sized,
    Within,
)
from relay.proto.imap.sorting import By, Criterion
from relay.proto.imap.threads import Algorithm
from relay.proto.imap.tokens import List

DEEPEST = 50
"""Nested NOT, OR and parentheses (count)."""
MOST_KEYS = 1_000
"""Keys of one SEARCH (count)."""
CHARSETS = frozenset({"US-ASCII", "UTF-8"})
OBJECT_ID = re.compile(rb"[A-Za-z0-9_-]{1,255}\Z")
"""RFC 8474 7 objectid."""


class BadCharset(ValueError):
    """RFC 9051 6.4.4: answer NO [BADCHARSET (...)]."""


_SIMPLE: MappingProxyType[str, Key] = MappingProxyType(
    {
        "ALL": All(()),
        "ANSWERED": HasFlags(System.ANSWERED),
        "UNANSWERED": Not(HasFlags(System.ANSWERED)),
        "DELETED": HasFlags(System.DELETED),
        "UNDELETED": Not(HasFlags(System.DELETED)),
        "DRAFT": HasFlags(System.DRAFT),
        "UNDRAFT": Not(HasFlags(System.DRAFT)),
        "FLAGGED": HasFlags(System.FLAGGED),
        "UNFLAGGED": Not(HasFlags(System.FLAGGED)),
        "SEEN": HasFlags(System.SEEN),
        "UNSEEN": Not(HasFlags(System.SEEN)),
        "RECENT": IsRecent(),
        "OLD": Not(IsRecent()),
        "NEW": All((IsRecent(), Not(HasFlags(System.SEEN)))),
        "SAVEDATESUPPORTED": All(()),  # RFC 8514 4.3: all messages, where it is
    }
)
_DATES: MappingProxyType[str, tuple[Compare, DateOf]] = MappingProxyType(
    {
        "BEFORE": (Compare.BEFORE, DateOf.ARRIVED),
        "ON": (Compare.ON, DateOf.ARRIVED),
        "SINCE": (Compare.SINCE, DateOf.ARRIVED),
        "SENTBEFORE": (Compare.BEFORE, DateOf.SENT),
        "SENTON": (Compare.ON, DateOf.SENT),
        "SENTSINCE": (Compare.SINCE, DateOf.SENT),
        "SAVEDBEFORE": (Compare.BEFORE, DateOf.SAVED),  # RFC 8514 4.3
        "SAVEDON": (Compare.ON, DateOf.SAVED),
        "SAVEDSINCE": (Compare.SINCE, DateOf.SAVED),
    }
)
_HEADERS = frozenset({"BCC", "CC", "FROM", "SUBJECT", "TO"})
_NEEDS: MappingProxyType[str, str] = MappingProxyType(
    {
        "OLDER": "WITHIN",
        "YOUNGER": "WITHIN",
        "SAVEDBEFORE": "SAVEDATE",
        "SAVEDON": "SAVEDATE",
        "SAVEDSINCE": "SAVEDATE",
        "SAVEDATESUPPORTED": "SAVEDATE",
        "EMAILID": "OBJECTID",
        "THREADID": "OBJECTID",
    }
)
"""Keys that belong to an extension."""


class _Parser:
    """Recursive descent with a depth and a budget of keys."""

    def __init__(self, charset: str) -> None:
        self._charset = charset
        self._budget = MOST_KEYS
        self._arguments: dict[str, Callable[[Args], Key]] = {
            "BODY": lambda args: BodyHas(self._text(args), header=False),
            "TEXT": lambda args: BodyHas(self._text(args), header=True),
            "LARGER": lambda args: Sized(args.number(), larger=True),
            "SMALLER": lambda args: Sized(args.number(), larger=False),
            "UID": lambda args: Numbers(args.sequence_set(), uid=True),
            "KEYWORD": self._keyword,
            "UNKEYWORD": lambda args: Not(self._keyword(args)),
            "HEADER": self._header,
            "OLDER": lambda args: Within(_interval(args), younger=False),
            "YOUNGER": lambda args: Within(_interval(args), younger=True),
            "EMAILID": lambda args: ObjectIs(_object_id(args), thread=False),  # RFC 8474 6
            "THREADID": lambda args: ObjectIs(_object_id(args), thread=True),
        }

    def keys(self, args: Args, depth: int) -> Key:
        """One or more keys to the end of `args`, all of which must hold."""
        found = [self.key(args, depth)]
        while args.more:
            found.append(self.key(args, depth))
        return found[0] if len(found) == 1 else All(tuple(found))

    def key(self, args: Args, depth: int) -> Key:
        self._budget -= 1
        if depth > DEEPEST or self._budget < 0:
            raise BadArgument("Search is too complex")
        if isinstance(args.peek(), List):
            return self.keys(args.nested(), depth + 1)
        word = args.bare()
        if word == b"$":  # RFC 5182 2.1
            args.need("SEARCHRES", "IMAP4rev2")
            return Numbers(sequence.SAVED, uid=False)
        numbers = sequence.parse(word)
        if numbers is not None:
            return Numbers(numbers, uid=False)
        name = word.decode("ascii", "replace").upper()
        args.need(_NEEDS.get(name))
        simple = _SIMPLE.get(name)
        if simple is not None:
            return simple
        if name == "NOT":
            return Not(self.key(args, depth + 1))
        if name == "OR":
            return AnyOf(self.key(args, depth + 1), self.key(args, depth + 1))
        if name in _HEADERS:
            return HeaderHas(name.lower(), self._text(args))
        if name in _DATES:
            return self._date(args, *_DATES[name])
        read = self._arguments.get(name)
        if read is None:
            raise BadArgument("Unknown search key")
        return read(args)

    def _text(self, args: Args) -> str:
        try:
            return args.astring().decode(self._charset).casefold()
        except UnicodeDecodeError:
            raise BadArgument("Search text does not match its charset") from None

    def _keyword(self, args: Args) -> Key:
        found = parse([args.bare()])
        if found is None or len(found.keywords) != 1:
            raise BadArgument("Invalid keyword")
        return HasKeyword(found.keywords[0])

    def _header(self, args: Args) -> Key:
        name = args.astring().decode("ascii", "replace").lower()
        return HeaderHas(name, self._text(args))

    @staticmethod
    def _date(args: Args, compare: Compare, of: DateOf) -> Key:
        day = dates.parse_date(args.astring())
        if day is None:
            raise BadArgument("Invalid date")
        return Dated(compare, day, of)


def _interval(args: Args) -> int:
    seconds = args.number32()
    if not seconds:
        raise BadArgument("Expected a number of seconds")  # RFC 5032 2: nz-number
    return seconds


def _object_id(args: Args) -> str:
    found = args.astring()
    if not OBJECT_ID.match(found):
        raise BadArgument("Expected an object identifier")
    return found.decode("ascii")


def key(args: Args) -> Key:
    """`[CHARSET name] key...` to the end."""
    if args.peek_word() == b"CHARSET":
        args.token()
        return key_in_charset(args)
    return _keys(args)


def key_in_charset(args: Args) -> Key:
    """`name key...` to the end, as SORT and THREAD have it (RFC 5256 3)."""
    name = args.astring().decode("ascii", "replace").upper()
    if name not in CHARSETS:
        raise BadCharset(name)
    return _keys(args)


def _keys(args: Args) -> Key:
    # Clients send UTF-8 without saying so; where it is not, the argument is refused, never misread.
    return _Parser("utf-8").keys(args, 0)


def returns(args: Args) -> frozenset[Return] | None:
    """`RETURN (options)`; None where it is absent (RFC 4731 3.1)."""
    if args.peek_word() != b"RETURN":
        return None
    args.token()
    args.need("ESEARCH", "IMAP4rev2")
    found: set[Return] = set()
    for word in args.words():
        try:
            found.add(Return(word))
        except ValueError:
            raise BadArgument("Unknown RETURN option") from None
    if Return.SAVE in found:
        args.need("SEARCHRES", "IMAP4rev2")
    return frozenset(found or {Return.ALL})


def criteria(args: Args) -> tuple[Criterion, ...]:
    """The sort keys of SORT (RFC 5256 5 sort-criteria); a key that comes again can change nothing."""
    found: dict[By, Criterion] = {}
    words = iter(args.words())
    for word in words:
        reverse = word == "REVERSE"
        try:
            by = By(next(words, "") if reverse else word)
        except ValueError:
            raise BadArgument("Unknown sort key") from None
        found.setdefault(by, Criterion(by, reverse))
    if not found:
        raise BadArgument("Empty list of sort keys")
    return tuple(found.values())


def algorithm(args: Args) -> Algorithm:
    """The algorithm of THREAD, where it is offered."""
    try:
        found = Algorithm(args.word())
    except ValueError:
        raise BadArgument("Unknown threading algorithm") from None
    args.need(f"THREAD={found.value}")
    return found


def names_numbers(found: Key) -> bool:
    """Whether a key names messages by sequence number: then UID SEARCH too must not tell EXPUNGE (RFC 9051 6.4.9)."""
    if isinstance(found, Numbers):
        return not found.uid and not found.numbers.saved
    if isinstance(found, All):
        return any(names_numbers(part) for part in found.keys)
    if isinstance(found, AnyOf):
        return names_numbers(found.left) or names_numbers(found.right)
    return isinstance(found, Not) and names_numbers(found.key)
