"""The client's ear: octets of a server to events, without I/O (RFC 9051 7).

For pass-through, mirror, failback and tests.

Enters: `feed(bytes)`, in any slicing. Leaves: one event per call of `next()`, None when more octets are needed.
Promises:

1. The events do not depend on how the octets were sliced; every line of the server is an event, asked for or not.
2. A literal above `Limits.literal` is handed on in pieces and never gathered; memory is at most `Limits.command` plus
   what was fed and not yet taken.
3. Time is linear in the octets fed.
4. Garbage is an event (`Malformed`): a line that cannot be read is passed over, and when even its end cannot be known
   the event is `fatal` and nothing more is read.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Literal as Only
from typing import TypeAlias

import msgspec

from relay.proto.imap.limits import RESPONSES, Limits
from relay.proto.imap.tokens import BadToken, Literal, LiteralHead, Streamed, Token, Tokeniser, literal_at_end


class Data(msgspec.Struct, frozen=True):
    """`* [number] NAME ...`: everything untagged that is no status response."""

    name: str
    """Upper case: FETCH, EXISTS, LIST, VANISHED, ..."""
    number: int | None
    tokens: tuple[Token, ...]
    """What follows the name; a streamed literal is a `Streamed` in its place."""


class Status(msgspec.Struct, frozen=True):
    """OK, NO, BAD, BYE or PREAUTH, tagged or (tag None) not."""

    tag: str | None
    status: str
    code: str | None
    """Name of the response code, upper case."""
    arguments: tuple[Token, ...]
    """What follows it between the brackets."""
    text: str


class Continuation(msgspec.Struct, frozen=True):
    """`+ ...`"""

    text: bytes


class LiteralBegins(msgspec.Struct, frozen=True):
    """A large literal of the response `name` follows in `LiteralPiece`s; `tokens` is what stood before it."""

    name: str
    number: int | None
    tokens: tuple[Token, ...]
    size: int


class LiteralPiece(msgspec.Struct, frozen=True):
    """Its next octets."""

    data: bytes


class LiteralEnds(msgspec.Struct, frozen=True):
    """It is complete; the response goes on behind it."""


class Malformed(msgspec.Struct, frozen=True):
    """A line that is no response."""

    reason: str
    fatal: bool = False


Event: TypeAlias = Data | Status | Continuation | LiteralBegins | LiteralPiece | LiteralEnds | Malformed
_Step: TypeAlias = Event | Only[True] | None

_STATUS = re.compile(
    rb"(?P<tag>[^\x00-\x20\x7f-\xff(){%*\"\\+]+|\*) (?P<status>(?i:OK|NO|BAD|BYE|PREAUTH))(?: (?P<rest>.*))?\Z",
    re.DOTALL,
)
_CODE = re.compile(rb'\[(?P<name>[^\x00-\x20\x7f(){"\]]+)(?: (?P<args>(?:[^"\]\r\n]|"(?:[^"\\]|\\.)*+")*+))?\] ?')
_DATA = re.compile(rb"\* (?:(?P<number>[0-9]{1,20}) )?(?P<name>[^\x00-\x20\x7f(){%*\"\\]+)(?: |(?=\()|\Z)")
_CHUNK = 262_144


class _State(Enum):
    LINE = auto()
    KEEP = auto()
    STREAM = auto()
    SKIP = auto()
    BROKEN = auto()


class ResponseReader:
    """Sans-IO reader of one server connection."""

    def __init__(self, limits: Limits = RESPONSES) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._scanned = 0
        self._left = 0
        self._head = LiteralHead(0, sync=False, binary=False)
        self._begin()

    def _begin(self) -> None:
        self._tokeniser: Tokeniser | None = None
        self._name = ""
        self._number: int | None = None
        self._held = 0
        self._poison: str | None = None
        self._state = _State.LINE

    @property
    def pending(self) -> int:
        """Octets fed and not yet taken by an event."""
        return len(self._buffer)

    @property
    def between_responses(self) -> bool:
        """Every octet so far belonged to a complete response: a line of our own may be put in here."""
        return self._state is _State.LINE and self._tokeniser is None and self._poison is None and not self._buffer

    def feed(self, data: bytes) -> None:
        """Take octets as they came."""
        if self._state is not _State.BROKEN:
            self._buffer += data

    def drain(self) -> bytes:
        """Hand over what is pending, for somebody else to read."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return data

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
            elif state is _State.SKIP:
                step = self._on_skip()
            else:
                return None
            if step is not True:
                return step

    def _on_line(self) -> _Step:
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0 or end > self._limits.line:
            self._scanned = len(self._buffer)
            return self._break("Line too long") if len(self._buffer) > self._limits.line else None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        if line.endswith(b"\r"):
            line = line[:-1]
        self._held += len(line)
        if self._held > self._limits.command:
            return self._break("Response too long")
        if self._poison is not None:
            return self._after(literal_at_end(line))
        if self._tokeniser is None:
            if line.startswith(b"+"):
                self._begin()
                return Continuation(line[2:] if line.startswith(b"+ ") else line[1:])
            status = _STATUS.match(line)
            if status is not None:
                self._begin()
                return self._status(status)
            found = _DATA.match(line)
            if found is None:
                self._poison = "Not a response"
                return self._after(literal_at_end(line))
            self._name = found["name"].decode("ascii", "replace").upper()
            self._number = None if found["number"] is None else int(found["number"])
            self._tokeniser = Tokeniser(self._limits)
            if self._name == "FETCH":
                self._tokeniser.with_sections()
            line = line[found.end() :]
        try:
            head = self._tokeniser.line(line)
        except BadToken as error:
            self._poison = str(error)
            head = literal_at_end(line)
        return self._after(head)

    def _after(self, head: LiteralHead | None) -> _Step:
        if head is None:
            return self._complete()
        self._head, self._left = head, head.size
        if self._poison is not None:
            self._state = _State.SKIP
            return True
        if head.size > self._limits.literal or self._held + head.size > self._limits.command:
            if head.size > self._limits.stream:
                return self._break("Literal too long")
            assert self._tokeniser is not None
            self._state = _State.STREAM
            return LiteralBegins(self._name, self._number, tuple(self._tokeniser.seen), head.size)
        self._state = _State.KEEP
        return True

    def _complete(self) -> Event:
        name, number, poison, tokeniser = self._name, self._number, self._poison, self._tokeniser
        self._begin()
        if poison is not None:
            return Malformed(poison)
        assert tokeniser is not None
        try:
            return Data(name, number, tokeniser.finish())
        except BadToken as error:
            return Malformed(str(error))

    def _on_keep(self) -> _Step:
        if len(self._buffer) < self._left:
            return None
        data = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._held += len(data)
        return self._put(Literal(data, self._head.binary))

    def _on_stream(self) -> Event | None:
        if self._left == 0:
            self._put(Streamed(self._head.size, self._head.binary))
            return LiteralEnds()
        data = bytes(self._buffer[: min(self._left, _CHUNK)])
        if not data:
            return None
        del self._buffer[: len(data)]
        self._left -= len(data)
        return LiteralPiece(data)

    def _on_skip(self) -> _Step:
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

    def _break(self, reason: str) -> Malformed:
        self._begin()
        self._buffer.clear()
        self._state = _State.BROKEN
        return Malformed(reason, fatal=True)

    def _status(self, found: re.Match[bytes]) -> Event:
        rest = found["rest"] or b""
        code: str | None = None
        arguments: tuple[Token, ...] = ()
        coded = _CODE.match(rest)
        if coded is not None:
            code = coded["name"].decode("ascii", "replace").upper()
            rest = rest[coded.end() :]
            arguments = self._arguments(coded["args"] or b"")
        tag = None if found["tag"] == b"*" else found["tag"].decode("ascii")
        return Status(tag, found["status"].decode("ascii").upper(), code, arguments, rest.decode("utf-8", "replace"))

    def _arguments(self, text: bytes) -> tuple[Token, ...]:
        tokeniser = Tokeniser(self._limits)
        try:
            tokeniser.line(text)
            return tokeniser.finish()
        except BadToken:
            return ()  # RFC 9051 7.1: codes that are not understood are passed over
