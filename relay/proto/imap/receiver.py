"""The server's ear: octets of a client to events, without I/O (RFC 9051 2.2.1, 4.3, RFC 7888).

Enters: `feed(bytes)`, in any slicing. Leaves: one event per call of `next()`, None when more octets are needed.
Promises:

1. The events do not depend on how the octets were sliced.
2. Memory: at most `Limits.command` for the command under way plus what was fed and not yet taken (`pending`); the owner
   stops reading from the socket while that is high. A literal that may be streamed is never gathered.
3. Time is linear in the octets fed.
4. Garbage is an event (`Rejected`), never an exception; after a fatal one nothing more is read.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from types import MappingProxyType
from typing import Literal as Only
from typing import TypeAlias

import msgspec

from relay.proto.imap.limits import Limits
from relay.proto.imap.tokens import Atom, BadToken, Literal, LiteralHead, Streamed, Token, Tokeniser, literal_at_end


class Frame(msgspec.Struct, frozen=True):
    """A whole command: its tag and everything behind it."""

    tag: str
    tokens: tuple[Token, ...]


class ContinueWanted(msgspec.Struct, frozen=True):
    """The client waits for `+` before it sends a literal that we will keep."""


class LiteralOffered(msgspec.Struct, frozen=True):
    """A literal to be streamed follows: answer with `accept_literal()` or `refuse_literal()` before `next()`.

    `tokens` is everything since the tag. When `sync` is set, the client sends nothing before it sees `+`.
    """

    tag: str
    tokens: tuple[Token, ...]
    size: int
    sync: bool
    binary: bool


class LiteralData(msgspec.Struct, frozen=True):
    """The next octets of an accepted literal."""

    data: bytes


class LiteralEnd(msgspec.Struct, frozen=True):
    """The accepted literal is complete; the command goes on behind it."""


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


Event: TypeAlias = Frame | ContinueWanted | LiteralOffered | LiteralData | LiteralEnd | Line | Rejected
_Step: TypeAlias = Event | Only[True] | None
"""True = go on with the next step, None = starving."""

_TAG = re.compile(rb'([^\x00-\x20\x7f-\xff(){%*"\\+]{1,128})(?: |\Z)')
_CHUNK = 65_536

STREAMS: MappingProxyType[tuple[bytes, ...], int] = MappingProxyType(
    {(b"APPEND",): 2, (b"REPLACE",): 3, (b"UID", b"REPLACE"): 4}
)
"""Commands whose literals are streamed once this many tokens stand before them (the mailbox name is kept)."""


class _State(Enum):
    LINE = auto()
    KEEP = auto()
    OFFERED = auto()
    STREAM = auto()
    SWALLOW = auto()
    BROKEN = auto()


class Receiver:
    """Sans-IO reader of one client connection."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._scanned = 0
        self._state = _State.LINE
        self._raw = False
        self._left = 0
        self._head = LiteralHead(0, sync=False, binary=False)
        self._begin()

    def _begin(self) -> None:
        self._tokeniser: Tokeniser | None = None
        self._tag = ""
        self._held = 0
        self._poison: str | None = None
        self._state = _State.LINE

    # -- the owner's side ------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Octets fed and not yet taken by an event."""
        return len(self._buffer)

    @property
    def between_commands(self) -> bool:
        """Nothing of a next command has come."""
        return self._state is _State.LINE and self._tokeniser is None and not self._buffer

    def feed(self, data: bytes) -> None:
        """Take octets as they came."""
        if self._state is not _State.BROKEN:
            self._buffer += data

    def discard(self) -> int:
        """Forget what is pending; how much it was (RFC 9051 6.2.1: nothing sent before TLS may count after it)."""
        dropped = len(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return dropped

    def drain(self) -> bytes:
        """Hand over what is pending, for somebody else to read (pass-through)."""
        data = bytes(self._buffer)
        self.discard()
        return data

    def widen(self, limits: Limits) -> None:
        """New limits from the next command on (after login)."""
        self._limits = limits

    def expect_line(self) -> None:
        """The next event is one raw `Line` (IDLE's DONE, an AUTHENTICATE answer)."""
        self._raw = True

    def accept_literal(self) -> None:
        """Take the offered literal in pieces."""
        assert self._state is _State.OFFERED
        self._state = _State.STREAM

    def refuse_literal(self) -> None:
        """Do not take it: a synchronising one ends the command here, any other is read and thrown away.

        The owner answers the command itself; no further event mentions it.
        """
        assert self._state is _State.OFFERED
        if self._head.sync:
            self._begin()
        else:
            self._poison = ""
            self._state = _State.SWALLOW

    def next(self) -> Event | None:
        """The next event, or None when more octets are needed."""
        while True:
            state = self._state
            if state is _State.LINE:
                step = self._on_line()
            elif state is _State.KEEP:
                step = self._on_keep()
            elif state is _State.STREAM:
                return self._on_stream()
            elif state is _State.SWALLOW:
                step = self._on_swallow()
            else:
                return None
            if step is not True:
                return step

    # -- one step each --------------------------------------------------------------------------------------------

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        # A bare LF ends a line too, for people typing into openssl s_client; a bare CR is no character of any token.
        return line[:-1] if line.endswith(b"\r") else line

    def _on_line(self) -> _Step:
        line = self._take_line()
        if line is None:
            return self._break("Line too long") if len(self._buffer) > self._limits.line + 1 else None
        if len(line) > self._limits.line:
            return self._break("Line too long")
        if self._raw:
            self._raw = False
            return Line(line)
        if self._poison is not None:
            return self._after_line(literal_at_end(line))
        self._held += len(line)
        if self._held > self._limits.command:
            return self._break("Command too long")
        if self._tokeniser is None:
            found = _TAG.match(line)
            if found is None:
                return Rejected(None, "Missing or invalid tag")
            self._tag = found[1].decode("ascii")
            self._tokeniser = Tokeniser(self._limits)
            line = line[found.end() :]
            words = line[:32].upper().split(b" ", 2)
            if words[0] == b"FETCH" or words[:2] == [b"UID", b"FETCH"]:
                self._tokeniser.with_sections()
        try:
            head = self._tokeniser.line(line)
        except BadToken as error:
            self._poison = str(error)
            head = literal_at_end(line)
        return self._after_line(head)

    def _after_line(self, head: LiteralHead | None) -> _Step:
        if head is None:
            return self._complete()
        self._head, self._left = head, head.size
        if self._poison is not None:
            return self._give_up(self._poison)
        assert self._tokeniser is not None
        if self._streams(self._tokeniser.seen):
            if head.size > self._limits.stream:
                return self._give_up("Message too big", too_big=True)
            self._state = _State.OFFERED
            return LiteralOffered(self._tag, tuple(self._tokeniser.seen), head.size, head.sync, head.binary)
        if head.size > self._limits.literal or self._held + head.size > self._limits.command:
            return self._give_up("Literal too long")
        self._state = _State.KEEP
        return ContinueWanted() if head.sync else True

    def _streams(self, seen: list[Token]) -> bool:
        names = tuple(token.value.upper() for token in seen[:2] if isinstance(token, Atom))
        before = STREAMS.get(names[:1]) or STREAMS.get(names)
        return before is not None and len(seen) >= before and self._limits.stream > 0

    def _give_up(self, text: str, *, too_big: bool = False) -> _Step:
        """The literal that follows is not wanted (RFC 7888 4)."""
        if self._head.sync:
            tag, silent = self._tag, self._poison == ""
            self._begin()
            return True if silent else Rejected(tag, text, too_big=too_big)
        if self._head.size > max(self._limits.literal, 2 * self._limits.stream):
            return self._break(text, too_big=too_big)
        if self._poison is None:
            self._poison = text
            self._state = _State.SWALLOW
            if too_big:
                # Said at once, so that the sender may stop; the rest of the command is then read in silence.
                self._poison = ""
                return Rejected(self._tag, text, too_big=True)
        self._state = _State.SWALLOW
        return True

    def _complete(self) -> _Step:
        tag, poison, tokeniser = self._tag, self._poison, self._tokeniser
        self._begin()
        if poison is not None:
            return Rejected(tag, poison) if poison else True
        assert tokeniser is not None
        try:
            return Frame(tag, tokeniser.finish())
        except BadToken as error:
            return Rejected(tag, str(error))

    def _on_keep(self) -> _Step:
        if len(self._buffer) < self._left:
            return None
        assert self._tokeniser is not None
        data = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._held += len(data)
        return self._put(Literal(data, self._head.binary))

    def _on_stream(self) -> Event | None:
        if self._left == 0:
            self._put(Streamed(self._head.size, self._head.binary))
            return LiteralEnd()
        data = bytes(self._buffer[: min(self._left, _CHUNK)])
        if not data:
            return None
        del self._buffer[: len(data)]
        self._left -= len(data)
        return LiteralData(data)

    def _on_swallow(self) -> _Step:
        dropped = min(self._left, len(self._buffer))
        del self._buffer[:dropped]
        self._left -= dropped
        if self._left:
            return None
        self._state = _State.LINE
        return True

    def _put(self, token: Literal | Streamed) -> Only[True]:
        assert self._tokeniser is not None
        self._state = _State.LINE
        try:
            self._tokeniser.literal(token)
        except BadToken as error:
            self._poison = str(error)
        return True

    def _break(self, text: str, *, too_big: bool = False) -> Rejected:
        tag = self._tag or None
        self._begin()
        self.discard()
        self._state = _State.BROKEN
        return Rejected(tag, text, fatal=True, too_big=too_big)
