"""A plain IMAP connection whose answers are values, so that two servers' answers can be compared.

Blocking, with a deadline on every wait. Strings come as bytes however they were sent (atom, quoted or literal), numbers
as int, NIL as None, lists as lists; a section (`BODY[1.HEADER.FIELDS (a "B")]<0>`) is one upper-case word, not quoted.
"""

from __future__ import annotations

import dataclasses
import re
import socket
from typing import Any, Final, Self

from tests.peers.ports import LOOPBACK

PATIENCE: Final = 30.0
_ATOM: Final = re.compile(rb"[^ ()\r\n\"{\[]+")
_LITERAL: Final = re.compile(rb"\{(\d+)\}\r\n\Z")
_STATUS: Final = re.compile(rb"(OK|NO|BAD|BYE|PREAUTH)(?: \[([^\]]*)\])? ?(.*)\r\n", re.IGNORECASE | re.DOTALL)


class Hung(AssertionError):
    """The server hung up."""


class Garbled(AssertionError):
    """An answer that is not what it announces, or not IMAP."""


@dataclasses.dataclass(frozen=True)
class Reply:
    """The answer to one command."""

    status: str
    code: bytes
    """What stands in brackets, without them."""
    text: bytes
    untagged: list[list[Any]]
    """Each untagged response as its values; a status response as [status, code]."""

    def named(self, name: bytes) -> list[list[Any]]:
        """Untagged responses of one kind, without its name; numbered ones with their number first."""
        found = []
        for values in self.untagged:
            if values[:1] == [name]:
                found.append(values[1:])
            elif len(values) > 1 and values[1] == name:
                found.append([values[0], *values[2:]])
        return found

    def fetched(self) -> dict[int, dict[bytes, Any]]:
        """FETCH data by message number; later data win."""
        found: dict[int, dict[bytes, Any]] = {}
        for number, values in self.named(b"FETCH"):
            found.setdefault(number, {}).update(zip(values[::2], values[1::2], strict=True))
        return found


class Wire:
    """One connection, greeted."""

    def __init__(self, port: int, *, patience: float = PATIENCE) -> None:
        self.socket = socket.create_connection((LOOPBACK, port), timeout=patience)
        self._file = self.socket.makefile("rb")
        self.port = port
        self._tags = 0
        self._last = self._heard = b""
        try:
            self.greeting = self.line()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Without LOGOUT."""
        self._file.close()
        self.socket.close()

    def login(self, user: str, password: str) -> Reply:
        """LOGIN that must succeed."""
        return self.ok(b'LOGIN "%b" "%b"' % (user.encode(), password.encode()))

    def send(self, raw: bytes) -> None:
        """Bytes as they are."""
        self.socket.sendall(raw)

    def line(self) -> bytes:
        """One response line with its literals. Hung."""
        line = self._file.readline()
        while match := _LITERAL.search(line):
            line += self._file.read(int(match[1])) + self._file.readline()
        if not line.endswith(b"\r\n"):
            raise Hung(f"port {self.port} closed after {self._last[:200]!r}, {self._heard[:200]!r}, {line[:200]!r}")
        self._heard = line
        return line

    def begin(self, text: bytes) -> bytes:
        """Send a command; its tag. `{}` pieces of the text are for the caller to fill."""
        self._tags += 1
        self._last = text
        tag = b"t%d" % self._tags
        self.send(tag + b" " + text + b"\r\n")
        return tag

    def finish(self, tag: bytes) -> Reply:
        """Read up to a tagged answer. Hung, Garbled."""
        untagged: list[list[Any]] = []
        head = tag + b" "
        while True:
            line = self.line()
            if line.startswith(head):
                return Reply(*_status(line[len(head) :]), untagged)
            if not line.startswith(b"+"):
                untagged.append(values(line))

    def command(self, text: bytes) -> Reply:
        """Send a command, read its answer; literals of the text are sent without waiting."""
        return self.finish(self.begin(text))

    def ok(self, text: bytes) -> Reply:
        """A command that must succeed."""
        reply = self.command(text)
        assert reply.status == "OK", (text[:200], reply)
        return reply

    def rest(self) -> bytes:
        """Everything up to the server's closing."""
        found = []
        try:
            while block := self.socket.recv(1 << 16):
                found.append(block)
        except ConnectionError:
            pass
        return b"".join(found)


def literal(data: bytes) -> bytes:
    """A non-synchronising literal (RFC 7888)."""
    return b"{%d+}\r\n%b" % (len(data), data)


def _status(text: bytes) -> tuple[str, bytes, bytes]:
    match = _STATUS.fullmatch(text)
    assert match is not None, text
    return match[1].decode().upper(), match[2] or b"", match[3]


def values(line: bytes) -> list[Any]:
    """An untagged response, without its `*`, as values. Garbled."""
    if not line.startswith(b"* "):
        raise Garbled(line[:200])
    status = _STATUS.fullmatch(line[2:])
    if status is not None:
        return [status[1].upper(), status[2] or b""]
    found: list[Any] = []
    at = 2
    while at < len(line) - 2:
        value, at = read(line, at)
        found.append(value)
        if line[at : at + 1] == b" ":
            at += 1
    return found


def read(line: bytes, at: int) -> tuple[Any, int]:
    """One value at an offset, and where it ends. Garbled."""
    here = line[at : at + 1]
    if here == b"(":
        found = []
        at += 1
        while line[at : at + 1] != b")":
            if at >= len(line) - 2:
                raise Garbled(line[-200:])
            value, at = read(line, at)
            found.append(value)
            if line[at : at + 1] == b" ":
                at += 1
        return found, at + 1
    if here == b'"':
        end = at + 1
        while line[end : end + 1] != b'"':
            end += 2 if line[end : end + 1] == b"\\" else 1
        return re.sub(rb"\\(.)", rb"\1", line[at + 1 : end], flags=re.DOTALL), end + 1
    if here in (b"{", b"~"):
        end = line.index(b"}\r\n", at)
        start = end + 3
        stop = start + int(line[line.index(b"{", at) + 1 : end])
        return line[start:stop], stop
    match = _ATOM.match(line, at)
    if match is None:
        raise Garbled(line[max(0, at - 100) : at + 100])
    atom, at = match[0], match.end()
    if line[at : at + 1] == b"[":
        end = line.index(b"]", at) + 1
        if line[end : end + 1] == b"<":
            end = line.index(b">", end) + 1
        return (atom + line[at:end]).upper().replace(b'"', b""), end
    if atom == b"NIL":
        return None, at
    return (int(atom) if atom.isdigit() else atom), at
