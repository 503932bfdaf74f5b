"""The server's ear: octets of a client to events, without I/O (RFC 9051 2.2.1, 4.3, RFC 7888).

Enters and leaves as `framing` says. Promises, beside its own:

1. A literal that may be streamed is never gathered; the owner stops reading from the socket while `pending` is high.
2. Garbage is an event (`Rejected`), never an exception; after a fatal one nothing more is read.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from relay.proto.imap.framing import Framing, LiteralData, LiteralEnd, State, Step
from relay.proto.imap.limits import Limits
from relay.proto.imap.tokens import Atom, LiteralHead, Token, Tokeniser


class Frame(msgspec.Struct, frozen=True):
    """A whole command: its tag and everything behind it."""

    tag: str
    tokens: tuple[Token, ...]


class ContinueWanted(msgspec.Struct, frozen=True):
    """The client waits for `+` before it sends a literal that we will keep."""


class LiteralOffered(msgspec.Struct, frozen=True):
    """A literal to be streamed follows: answer with `accept_literal()` or `refuse_literal()` before `next()`.

    An accepted one comes as `LiteralData`, then `LiteralEnd`. `tokens` is everything since the tag. When `sync`
    is set, the client sends nothing before it sees `+`.
    """

    tag: str
    tokens: tuple[Token, ...]
    size: int
    sync: bool
    binary: bool


class Line(msgspec.Struct, frozen=True):
    """A line asked for by `expect_line()`: DONE, or a SASL answer; without CRLF."""

    data: bytes


class Rejected(msgspec.Struct, frozen=True):
    """Not a command that we can take: answer BAD (with the tag, or `*`), and BYE when `fatal`.

    `too_big` says that the client may be told [TOOBIG] (RFC 7889 4) instead.
    """

    tag: str | None
    text: str
    fatal: bool = False
    too_big: bool = False


_Own: TypeAlias = Frame | ContinueWanted | LiteralOffered | Line | Rejected
Event: TypeAlias = _Own | LiteralData | LiteralEnd

_TAG = re.compile(rb'([^\x00-\x20\x7f-\xff(){%*"\\+]{1,128})(?: |\Z)')

STREAMS: MappingProxyType[tuple[bytes, ...], int] = MappingProxyType(
    {(b"APPEND",): 2, (b"REPLACE",): 3, (b"UID", b"REPLACE"): 4}
)
"""Commands whose literals are streamed once this many tokens stand before them (the mailbox name is kept)."""


class Receiver(Framing[_Own]):
    """Sans-IO reader of one client connection."""

    _chunk = 65_536

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._raw = False

    def _begin(self) -> None:
        super()._begin()
        self._tag = ""

    # -- the owner's side ------------------------------------------------------------------------------------------

    @property
    def between_commands(self) -> bool:
        """Nothing of a next command has come."""
        return self._at_rest

    def widen(self, limits: Limits) -> None:
        """New limits from the next command on (after login)."""
        self._limits = limits

    def expect_line(self) -> None:
        """The next event is one raw `Line` (IDLE's DONE, an AUTHENTICATE answer)."""
        self._raw = True

    def accept_literal(self) -> None:
        """Take the offered literal in pieces."""
        assert self._state is State.WAIT
        self._state = State.STREAM

    def refuse_literal(self) -> None:
        """Do not take it: a synchronising one ends the command here, any other is read and thrown away.

        The owner answers the command itself; no further event mentions it.
        """
        assert self._state is State.WAIT
        if self._head.sync:
            self._begin()
        else:
            self._poison = ""
            self._state = State.SKIP

    # -- what a line and a literal are here -------------------------------------------------------------------------

    def _open(self, line: bytes) -> bytes | _Own:
        if self._raw:
            self._raw = False
            return Line(line)
        found = _TAG.match(line)
        if found is None:
            return Rejected(None, "Missing or invalid tag")
        self._tag = found[1].decode("ascii")
        self._tokeniser = Tokeniser(self._limits)
        line = line[found.end() :]
        words = line[:32].upper().split(b" ", 2)
        if words[0] == b"FETCH" or words[:2] == [b"UID", b"FETCH"]:
            self._tokeniser.with_sections()
        return line

    def _literal(self, head: LiteralHead) -> Step[_Own]:
        if self._poison is not None:
            return self._give_up(self._poison)
        assert self._tokeniser is not None
        if self._streams(self._tokeniser.seen):
            if head.size > self._limits.stream:
                return self._give_up("Message too big", too_big=True)
            self._state = State.WAIT
            return LiteralOffered(self._tag, tuple(self._tokeniser.seen), head.size, head.sync, head.binary)
        if not self._may_be_kept(head):
            return self._give_up("Literal too long")
        self._state = State.KEEP
        return ContinueWanted() if head.sync else True

    def _streams(self, seen: list[Token]) -> bool:
        names = tuple(token.value.upper() for token in seen[:2] if isinstance(token, Atom))
        before = STREAMS.get(names[:1]) or STREAMS.get(names)
        return before is not None and len(seen) >= before and self._limits.stream > 0

    def _give_up(self, text: str, *, too_big: bool = False) -> Step[_Own]:
        """The literal that follows is not wanted (RFC 7888 4)."""
        if self._head.sync:
            tag, silent = self._tag, self._poison == ""
            self._begin()
            return True if silent else Rejected(tag, text, too_big=too_big)
        if self._head.size > max(self._limits.literal, 2 * self._limits.stream):
            return self._break(Rejected(self._tag or None, text, fatal=True, too_big=too_big))
        self._state = State.SKIP
        if self._poison is None:
            # The size is said at once, so that the sender may stop; the rest of the command is then read in silence.
            self._poison = "" if too_big else text
            if too_big:
                return Rejected(self._tag, text, too_big=True)
        return True

    def _whole(self, tokens: tuple[Token, ...]) -> Frame:
        return Frame(self._tag, tokens)

    def _spoilt(self, reason: str) -> Step[_Own]:
        return Rejected(self._tag, reason) if reason else True

    def _last(self, reason: str) -> Rejected:
        return Rejected(self._tag or None, reason, fatal=True)
