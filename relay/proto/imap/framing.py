"""Lines, literals and the tokens between them: the framing that both ears of an IMAP conversation share, without I/O.

Enters: `feed(bytes)`, in any slicing. Leaves: one event per call of `next()`, None when more octets are needed. What a
line begins, what becomes of a literal and what the tokens mean is said by a subclass (`receiver`, `client`). Promises:

1. The events do not depend on how the octets were sliced.
2. Memory: at most `Limits.command` for what is under way plus what was fed and not yet taken (`pending`); a literal
   above `Limits.literal` is never gathered.
3. Time is linear in the octets fed.
4. Nothing raises for what a peer sends; after `_break` nothing more is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import ClassVar, Generic, TypeAlias, TypeVar
from typing import Literal as Only

import msgspec

from relay.proto.imap.limits import Limits
from relay.proto.imap.tokens import BadToken, Literal, LiteralHead, Streamed, Token, Tokeniser, literal_at_end


class LiteralData(msgspec.Struct, frozen=True):
    """The next octets of a literal that is streamed."""

    data: bytes


class LiteralEnd(msgspec.Struct, frozen=True):
    """It is complete; the command or response goes on behind it."""


class State(Enum):
    """What the next octets are."""

    LINE = auto()
    KEEP = auto()
    """A literal that becomes a token."""
    STREAM = auto()
    """A literal that is handed on in pieces."""
    SKIP = auto()
    """A literal that is thrown away."""
    WAIT = auto()
    """Nothing is read before the owner has said what becomes of a literal."""
    BROKEN = auto()
    """Nothing is read any more."""


E = TypeVar("E", bound=msgspec.Struct)
Step: TypeAlias = E | LiteralData | LiteralEnd | Only[True] | None
"""True = go on with the next step, None = starving."""


class Framing(ABC, Generic[E]):
    """Sans-IO reader of one side of a connection; `E` are the subclass's own events."""

    _chunk: ClassVar[int]
    """Octets of a streamed literal that are handed on at most at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._scanned = 0
        self._left = 0
        self._head = LiteralHead(0, sync=False, binary=False)
        self._begin()

    def _begin(self) -> None:
        """Nothing is under way."""
        self._tokeniser: Tokeniser | None = None
        self._held = 0
        self._poison: str | None = None
        """Why what is under way cannot be understood; its literals are still found and thrown away."""
        self._state = State.LINE

    # -- what a subclass says ---------------------------------------------------------------------------------------

    @abstractmethod
    def _open(self, line: bytes) -> bytes | E:
        """A first line: make the tokeniser and return what is left for it, or the event that the line is. BadToken."""

    @abstractmethod
    def _literal(self, head: LiteralHead) -> Step[E]:
        """What becomes of a literal: set the state. `_poison` may be set."""

    @abstractmethod
    def _whole(self, tokens: tuple[Token, ...]) -> Step[E]:
        """Everything has come."""

    @abstractmethod
    def _spoilt(self, reason: str) -> Step[E]:
        """Everything has come and cannot be understood."""

    @abstractmethod
    def _last(self, reason: str) -> E:
        """The event after which nothing is read any more."""

    # -- the owner's side -------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Octets fed and not yet taken by an event."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take octets as they came."""
        if self._state is not State.BROKEN:
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

    def next(self) -> E | LiteralData | LiteralEnd | None:
        """The next event, or None when more octets are needed."""
        while True:
            state = self._state
            if state is State.LINE:
                step = self._on_line()
            elif state is State.KEEP:
                step = self._on_keep()
            elif state is State.STREAM:
                return self._on_stream()
            elif state is State.SKIP:
                step = self._on_skip()
            else:
                return None
            if step is not True:
                return step

    # -- one step each ----------------------------------------------------------------------------------------------

    @property
    def _at_rest(self) -> bool:
        """Every octet so far belonged to something complete."""
        return self._state is State.LINE and self._tokeniser is None and self._poison is None and not self._buffer

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

    def _on_line(self) -> Step[E]:
        line = self._take_line()
        length = len(self._buffer) - 1 if line is None else len(line)  # the last octet may be the CR of the line's end
        if length > self._limits.line:
            return self._break(self._last("Line too long"))
        if line is None:
            return None
        if self._poison is not None:
            return self._behind(literal_at_end(line))
        self._held += len(line)
        if self._held > self._limits.command:
            return self._break(self._last("Too long"))
        try:
            if self._tokeniser is None:
                opened = self._open(line)
                if not isinstance(opened, bytes):
                    self._begin()
                    return opened
                line = opened
            assert self._tokeniser is not None
            head = self._tokeniser.line(line)
        except BadToken as error:
            self._poison = str(error)
            head = literal_at_end(line)
        return self._behind(head)

    def _behind(self, head: LiteralHead | None) -> Step[E]:
        if head is not None:
            self._head, self._left = head, head.size
            return self._literal(head)
        try:
            if self._poison is not None:
                return self._spoilt(self._poison)
            assert self._tokeniser is not None
            return self._whole(self._tokeniser.finish())
        except BadToken as error:
            return self._spoilt(str(error))
        finally:
            self._begin()

    def _may_be_kept(self, head: LiteralHead) -> bool:
        return head.size <= self._limits.literal and self._held + head.size <= self._limits.command

    def _on_keep(self) -> Step[E]:
        if len(self._buffer) < self._left:
            return None
        data = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._held += len(data)
        self._put(Literal(data, self._head.binary))
        return True

    def _on_stream(self) -> LiteralData | LiteralEnd | None:
        if self._left == 0:
            self._put(Streamed(self._head.size, self._head.binary))
            return LiteralEnd()
        data = bytes(self._buffer[: min(self._left, self._chunk)])
        if not data:
            return None
        del self._buffer[: len(data)]
        self._left -= len(data)
        return LiteralData(data)

    def _on_skip(self) -> Step[E]:
        dropped = min(self._left, len(self._buffer))
        del self._buffer[:dropped]
        self._left -= dropped
        if self._left:
            return None
        self._state = State.LINE
        return True

    def _put(self, token: Literal | Streamed) -> None:
        assert self._tokeniser is not None
        self._state = State.LINE
        try:
            self._tokeniser.literal(token)
        except BadToken as error:
            self._poison = str(error)

    def _break(self, event: E) -> E:
        """Even the end of what is under way cannot be known."""
        self._begin()
        self.discard()
        self._state = State.BROKEN
        return event
