"""Octets of a command or response line to tokens that keep their kind (RFC 9051 4, 9).

Enters: the text of one line at a time, literals between the lines. Leaves: a tuple of tokens. Promises:

1. Every octet is looked at once, whatever the number of lines, literals and parentheses.
2. Token count and nesting are bounded by `Limits`; crossing a bound raises `BadToken` and nothing else escapes.
3. A token says what it was on the wire: `NIL`, `"NIL"` and `{3}NIL` are three different things.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import msgspec

from relay.proto.imap.limits import Limits


class BadToken(ValueError):
    """The line is not IMAP or is larger than we take; the text is fixed and may be shown to the peer."""


class Atom(msgspec.Struct, frozen=True):
    """A run of octets without blanks, quotes or parentheses: atom, number, sequence set, flag, `NIL`."""

    value: bytes

    @property
    def is_nil(self) -> bool:
        """The bare word NIL, which stands for "no value" where the grammar says nstring."""
        return self.value.upper() == b"NIL"


class Quoted(msgspec.Struct, frozen=True):
    """A quoted string, its escapes undone."""

    value: bytes


class Literal(msgspec.Struct, frozen=True):
    """A literal that was small enough to keep; `binary` marks a literal8 (RFC 3516 4.4)."""

    value: bytes
    binary: bool = False


class Streamed(msgspec.Struct, frozen=True):
    """The place of a literal that was handed on in pieces."""

    size: int
    binary: bool = False


class List(msgspec.Struct, frozen=True):
    """What stood between parentheses."""

    items: tuple[Token, ...]


class Section(msgspec.Struct, frozen=True):
    """`BODY[...]<...>` and its kin: name in upper case, the tokens between the brackets, the text of `<...>`."""

    name: bytes
    items: tuple[Token, ...]
    partial: bytes | None = None


Token: TypeAlias = Atom | Quoted | Literal | Streamed | List | Section


class LiteralHead(msgspec.Struct, frozen=True):
    """`{size}`, `{size+}` or `~{size}` at the end of a line."""

    size: int
    sync: bool
    binary: bool


_LITERAL = rb"(?P<literal>(?P<tilde>~)?\{(?P<size>[0-9]{1,20})(?P<plus>[+-])?\}\Z)"
_QUOTED = rb'"(?P<quoted>(?:[^"\\\x00\r\n]++|\\[^\x00\r\n])*)"'
_PARENS = rb"(?P<open>\()|(?P<close>\))|(?P<space>\x20+)"
_WORD = rb'(?P<word>[^\x00-\x20\x7f(){"]++)'
_PLAIN = re.compile(b"|".join((_LITERAL, _WORD, _PARENS, _QUOTED)))
# In FETCH only these names open a section; elsewhere `[` is an ordinary ASTRING octet (RFC 9051 9, ATOM-CHAR).
_FETCH = re.compile(
    b"|".join((_LITERAL, rb"(?P<section>(?i:BODY(?:\.PEEK)?|BINARY(?:\.PEEK|\.SIZE)?))\[", _WORD, _PARENS, _QUOTED))
)
_INSIDE = re.compile(
    b"|".join(
        (
            _LITERAL,
            rb'(?P<word>[^\x00-\x20\x7f(){"\[\]]++)',
            _PARENS,
            _QUOTED,
            rb"(?P<end>\](?:<(?P<part>[0-9.]{1,40})>)?)",
        )
    )
)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_LITERAL_AT_END = re.compile(_LITERAL)


def literal_at_end(line: bytes) -> LiteralHead | None:
    """The literal that a line announces, for a reader that has given up on the rest of the line."""
    start = line.rfind(b"{")
    if start < 0:
        return None
    found = _LITERAL_AT_END.match(line, start)
    return _head(found) if found else None


def _head(found: re.Match[bytes]) -> LiteralHead:
    return LiteralHead(int(found["size"]), sync=found["plus"] is None, binary=found["tilde"] is not None)


class _Frame:
    """One open bracket: what it is and what it holds so far."""

    __slots__ = ("items", "section")

    def __init__(self, section: bytes | None = None) -> None:
        self.items: list[Token] = []
        self.section = section


class Tokeniser:
    """Builds the tokens of one command or response, line by line; a stack of open brackets is its whole state."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._top = _Frame()
        self._stack: list[_Frame] = [self._top]
        self._count = 0
        self._separated = True
        self._pattern = _PLAIN

    def with_sections(self) -> None:
        """The line is a FETCH: `BODY[` opens a section from here on."""
        self._pattern = _FETCH

    @property
    def seen(self) -> list[Token]:
        """Top-level tokens so far; not to be changed."""
        return self._top.items

    def line(self, data: bytes) -> LiteralHead | None:
        """Take the text of one line (without CRLF); returns the literal it ends in, if any."""
        position, end = 0, len(data)
        while position < end:
            frame = self._stack[-1]
            pattern = _INSIDE if frame.section is not None else self._pattern
            found = pattern.match(data, position)
            if found is None:
                raise BadToken("Unexpected character")
            position = found.end()
            kind = found.lastgroup
            if kind == "space":
                self._separated = True
            elif kind == "word":
                self._add(Atom(found["word"]))
            elif kind == "quoted":
                value = found["quoted"]
                self._add(Quoted(_ESCAPE.sub(rb"\1", value) if b"\\" in value else value))
            elif kind == "open":
                self._open(_Frame(), glued=True)
            elif kind == "section":
                self._open(_Frame(found["section"].upper()), glued=False)
            elif kind == "close":
                self._close_list()
            elif kind == "literal":
                self._need_separation()
                return _head(found)
            else:  # "end" and its "part"
                self._close_section(frame, found["part"])
        return None

    def literal(self, token: Literal | Streamed) -> None:
        """Put in the literal that the last line announced; the next line goes on behind it."""
        self._add(token)

    def finish(self) -> tuple[Token, ...]:
        """All tokens; `BadToken` when a bracket is still open."""
        if len(self._stack) > 1:
            raise BadToken("Missing closing parenthesis")
        return tuple(self._top.items)

    def _need_separation(self) -> None:
        if not self._separated:
            raise BadToken("Missing space between arguments")

    def _add(self, token: Token) -> None:
        self._need_separation()
        self._bump()
        self._stack[-1].items.append(token)
        self._separated = False

    def _bump(self) -> None:
        self._count += 1
        if self._count > self._limits.tokens:
            raise BadToken("Too many arguments")

    def _open(self, frame: _Frame, *, glued: bool) -> None:
        # RFC 9051 9 body-type-mpart and env-from put lists side by side without a blank.
        items = self._stack[-1].items
        if not self._separated and not (glued and items and isinstance(items[-1], List)):
            raise BadToken("Missing space between arguments")
        self._bump()
        if len(self._stack) > self._limits.depth:
            raise BadToken("Nested too deeply")
        self._stack.append(frame)
        self._separated = True

    def _close_list(self) -> None:
        if len(self._stack) < 2 or self._stack[-1].section is not None:
            raise BadToken("Unexpected closing parenthesis")
        frame = self._stack.pop()
        self._stack[-1].items.append(List(tuple(frame.items)))
        self._separated = False

    def _close_section(self, frame: _Frame, partial: bytes | None) -> None:
        assert frame.section is not None
        self._stack.pop()
        self._stack[-1].items.append(Section(frame.section, tuple(frame.items), partial))
        self._separated = False
