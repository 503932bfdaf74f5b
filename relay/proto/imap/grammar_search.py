"""SEARCH keys from tokens (RFC 9051 9 search-key, RFC 3501 6.4.4)."""

from __future__ import annotations

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
    HasFlags,
    HasKeyword,
    HeaderHas,
    IsRecent,
    Key,
    Not,
    Numbers,
    Sized,
)
from relay.proto.imap.tokens import List

DEEPEST = 50
"""Nested NOT, OR and parentheses (count)."""
MOST_KEYS = 1_000
"""Keys of one SEARCH (count)."""
CHARSETS = frozenset({"US-ASCII", "UTF-8"})


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
    }
)
_DATES: MappingProxyType[str, tuple[Compare, bool]] = MappingProxyType(
    {
        "BEFORE": (Compare.BEFORE, False),
        "ON": (Compare.ON, False),
        "SINCE": (Compare.SINCE, False),
        "SENTBEFORE": (Compare.BEFORE, True),
        "SENTON": (Compare.ON, True),
        "SENTSINCE": (Compare.SINCE, True),
    }
)
_HEADERS = frozenset({"BCC", "CC", "FROM", "SUBJECT", "TO"})


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
        numbers = sequence.parse(word)
        if numbers is not None:
            return Numbers(numbers, uid=False)
        name = word.decode("ascii", "replace").upper()
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
    def _date(args: Args, compare: Compare, sent: bool) -> Key:
        day = dates.parse_date(args.astring())
        if day is None:
            raise BadArgument("Invalid date")
        return Dated(compare, day, sent)


def key(args: Args) -> Key:
    """`[CHARSET name] key...` to the end."""
    # Clients send UTF-8 without saying so; where it is not, the argument is refused, never misread.
    charset = "utf-8"
    if args.peek_word() == b"CHARSET":
        args.token()
        name = args.astring().decode("ascii", "replace").upper()
        if name not in CHARSETS:
            raise BadCharset(name)
    return _Parser(charset).keys(args, 0)


def names_numbers(found: Key) -> bool:
    """Whether a key names messages by sequence number: then UID SEARCH too must not tell EXPUNGE (RFC 9051 6.4.9)."""
    if isinstance(found, Numbers):
        return not found.uid
    if isinstance(found, All):
        return any(names_numbers(part) for part in found.keys)
    if isinstance(found, AnyOf):
        return names_numbers(found.left) or names_numbers(found.right)
    return isinstance(found, Not) and names_numbers(found.key)
