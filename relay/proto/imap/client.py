"""The client's ear: octets of a server to events, without I/O (RFC 9051 7).

For pass-through, mirror, failback and tests.

Enters and leaves as `framing` says. Promises, beside its own:

1. Every line of the server is an event, asked for or not.
2. Garbage is an event (`Malformed`): a line that cannot be read is passed over, and when even its end cannot be known
   the event is `fatal` and nothing more is read.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import msgspec

from relay.proto.imap.framing import Framing, LiteralData, LiteralEnd, State, Step
from relay.proto.imap.limits import RESPONSES, Limits
from relay.proto.imap.tokens import BadToken, LiteralHead, Token, Tokeniser


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
    """A large literal of the response `name` follows (`LiteralData`, then `LiteralEnd`); `tokens` stood before it."""

    name: str
    number: int | None
    tokens: tuple[Token, ...]
    size: int


class Malformed(msgspec.Struct, frozen=True):
    """A line that is no response."""

    reason: str
    fatal: bool = False


_Own: TypeAlias = Data | Status | Continuation | LiteralBegins | Malformed
Event: TypeAlias = _Own | LiteralData | LiteralEnd

_STATUS = re.compile(
    rb"(?P<tag>[^\x00-\x20\x7f-\xff(){%*\"\\+]+|\*) (?P<status>(?i:OK|NO|BAD|BYE|PREAUTH))(?: (?P<rest>.*))?\Z",
    re.DOTALL,
)
_CODE = re.compile(rb'\[(?P<name>[^\x00-\x20\x7f(){"\]]+)(?: (?P<args>(?:[^"\]\r\n]++|"(?:[^"\\]++|\\.)*")*))?\] ?')
_DATA = re.compile(rb"\* (?:(?P<number>[0-9]{1,20}) )?(?P<name>[^\x00-\x20\x7f(){%*\"\\]+)(?: |(?=\()|\Z)")


class ResponseReader(Framing[_Own]):
    """Sans-IO reader of one server connection."""

    _chunk = 262_144

    def __init__(self, limits: Limits = RESPONSES) -> None:
        super().__init__(limits)

    def _begin(self) -> None:
        super()._begin()
        self._name = ""
        self._number: int | None = None

    @property
    def between_responses(self) -> bool:
        """Every octet so far belonged to a complete response: a line of our own may be put in here."""
        return self._at_rest

    def _open(self, line: bytes) -> bytes | _Own:
        if line.startswith(b"+"):
            return Continuation(line[2:] if line.startswith(b"+ ") else line[1:])
        status = _STATUS.match(line)
        if status is not None:
            return self._status(status)
        found = _DATA.match(line)
        if found is None:
            raise BadToken("Not a response")
        self._name = found["name"].decode("ascii", "replace").upper()
        self._number = None if found["number"] is None else int(found["number"])
        self._tokeniser = Tokeniser(self._limits)
        if self._name == "FETCH":
            self._tokeniser.with_sections()
        return line[found.end() :]

    def _literal(self, head: LiteralHead) -> Step[_Own]:
        if self._poison is not None:
            self._state = State.SKIP
            return True
        if self._may_be_kept(head):
            self._state = State.KEEP
            return True
        if head.size > self._limits.stream:
            return self._break(self._last("Literal too long"))
        assert self._tokeniser is not None
        self._state = State.STREAM
        return LiteralBegins(self._name, self._number, tuple(self._tokeniser.seen), head.size)

    def _whole(self, tokens: tuple[Token, ...]) -> Data:
        return Data(self._name, self._number, tokens)

    def _spoilt(self, reason: str) -> Malformed:
        return Malformed(reason)

    def _last(self, reason: str) -> Malformed:
        return Malformed(reason, fatal=True)

    def _status(self, found: re.Match[bytes]) -> Status:
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
