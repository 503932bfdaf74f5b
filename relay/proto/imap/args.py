"""A cursor over tokens that reads arguments by their grammatical name (RFC 9051 9).

What does not fit raises `BadArgument`, which `grammar` catches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

from relay.proto.imap import flags, names, sequence
from relay.proto.imap.sequence import LARGEST, SequenceSet
from relay.proto.imap.tokens import Atom, List, Literal, Quoted, Section, Token

_ASTRING = re.compile(rb'[^\x00-\x20\x7f(){%*"\\]+\Z')
_LIST_MAILBOX = re.compile(rb'[^\x00-\x20\x7f(){"\\]+\Z')
_ATOM = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+\Z')
_NUMBER = re.compile(rb"[0-9]{1,19}\Z")


class BadArgument(ValueError):
    """The arguments are not what the command takes; the text is fixed and may be shown to the client."""


class Args:
    """Reads from the left; every method takes exactly one argument and raises `BadArgument` when it is another."""

    def __init__(self, tokens: Sequence[Token], *, utf8: bool = False, offers: Set[str] = frozenset()) -> None:
        self._tokens = tokens
        self._next = 0
        self.utf8 = utf8
        """UTF8=ACCEPT or rev2 is enabled: mailbox names are UTF-8."""
        self.offers = offers
        """Extensions that are understood, as `capabilities` names them."""

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self._next < len(self._tokens)

    def end(self) -> None:
        """Nothing may be left."""
        if self.more:
            raise BadArgument("Too many arguments")

    def need(self, *any_of: str | None) -> None:
        """What was just read belongs to one of these extensions; None is the base protocol."""
        if None not in any_of and self.offers.isdisjoint(any_of):
            raise BadArgument("Needs an extension that is not offered")

    def token(self) -> Token:
        """Whatever comes next."""
        if not self.more:
            raise BadArgument("Missing argument")
        token = self._tokens[self._next]
        self._next += 1
        return token

    def peek(self) -> Token | None:
        """What comes next, without taking it."""
        return self._tokens[self._next] if self.more else None

    def peek_word(self) -> bytes | None:
        """The next argument in upper case if it is an atom."""
        token = self.peek()
        return token.value.upper() if isinstance(token, Atom) else None

    def nested(self) -> Args:
        """A parenthesised list."""
        token = self.token()
        if not isinstance(token, List):
            raise BadArgument("Expected a list")
        return Args(token.items, utf8=self.utf8, offers=self.offers)

    def inside(self, section: Section) -> Args:
        """What stands between the brackets of a section."""
        return Args(section.items, utf8=self.utf8, offers=self.offers)

    def atom(self) -> bytes:
        """A strict atom."""
        token = self.token()
        if isinstance(token, Atom) and _ATOM.match(token.value):
            return token.value
        raise BadArgument("Expected an atom")

    def word(self) -> str:
        """An atom that names something of the protocol, in upper case."""
        return self.atom().decode("ascii").upper()

    def bare(self) -> bytes:
        """Any bare word: a flag, a set, a pattern."""
        token = self.token()
        if isinstance(token, Atom):
            return token.value
        raise BadArgument("Expected a word")

    def string(self) -> bytes:
        """A quoted string or literal."""
        token = self.token()
        if isinstance(token, Quoted) or (isinstance(token, Literal) and not token.binary):
            return token.value
        raise BadArgument("Expected a string")

    def astring(self) -> bytes:
        """An atom, in which `]` is allowed, or a string."""
        token = self.peek()
        if isinstance(token, Atom):
            self._next += 1
            if _ASTRING.match(token.value):
                return token.value
            raise BadArgument("Character not allowed in an atom")
        return self.string()

    def nstring(self) -> bytes | None:
        """A string or NIL."""
        token = self.peek()
        if isinstance(token, Atom) and token.is_nil:
            self._next += 1
            return None
        return self.string()

    def mailbox(self) -> str:
        """A mailbox name."""
        try:
            name = names.decode(self.astring(), utf8=self.utf8)
        except names.BadName as error:
            raise BadArgument(str(error)) from None
        if not name:
            raise BadArgument("Empty mailbox name")
        return name

    def pattern(self) -> str:
        """A LIST pattern: a mailbox name with wildcards, perhaps empty."""
        token = self.peek()
        if isinstance(token, Atom):
            self._next += 1
            wire = token.value
            if not _LIST_MAILBOX.match(wire):
                raise BadArgument("Character not allowed in a pattern")
        else:
            wire = self.string()
        try:
            return names.decode(wire, utf8=self.utf8)
        except names.BadName as error:
            raise BadArgument(str(error)) from None

    def number(self) -> int:
        """A number of up to 63 bits."""
        word = self.bare()
        if not _NUMBER.match(word) or int(word) >= 1 << 63:
            raise BadArgument("Expected a number")
        return int(word)

    def number32(self) -> int:
        """A number of 32 bits."""
        number = self.number()
        if number > LARGEST:
            raise BadArgument("Number too large")
        return number

    def sequence_set(self) -> SequenceSet:
        """A sequence set, or `$`."""
        word = self.bare()
        if word == b"$":  # RFC 5182 2.1
            self.need("SEARCHRES", "IMAP4rev2")
            return sequence.SAVED
        found = sequence.parse(word)
        if found is None:
            raise BadArgument("Expected a sequence set")
        return found

    def words(self) -> list[str]:
        """A list of words of the protocol, in upper case, perhaps empty."""
        inner, found = self.nested(), []
        while inner.more:
            found.append(inner.word())
        return found

    def flag_list(self) -> flags.Flags:
        """Flags in parentheses, or bare to the end (RFC 9051 9 store-att-flags)."""
        inner = self.nested() if isinstance(self.peek(), List) else self
        words: list[bytes] = []
        while inner.more:
            words.append(inner.bare())
        found = flags.parse(words)
        if found is None:
            raise BadArgument("Invalid flag")
        return found
