"""A second opinion: what Dovecot says about a message, as plain Python values.

A blocking client over one socket that speaks just enough IMAP: APPEND, FETCH, and a reader of answers that knows
literals. Strings come as bytes, numbers as int, NIL as None, lists as lists.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from typing import Any, Self

from tests.peers.dovecot import Dovecot

_ATOM = re.compile(rb"[^ ()\r\n\"{\[]+")
_DEADLINE = 30.0


class Oracle:
    """One session in a mailbox of its own."""

    def __init__(self, dovecot: Dovecot, user: str, mailbox: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", dovecot.imap_port), timeout=_DEADLINE)
        self._file = self._socket.makefile("rb")
        self._tag = 0
        self._file.readline()
        self._command(b'LOGIN "%b" "%b"' % (user.encode(), dovecot.password(user).encode()))
        self._mailbox = mailbox.encode()
        self._command(b"CREATE " + self._mailbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
        self._socket.close()

    def put(self, messages: Iterable[bytes]) -> None:
        """Append messages and select the mailbox."""
        for message in messages:
            self._command(b"APPEND %b {%d+}\r\n%b" % (self._mailbox, len(message), message))
        self._command(b"SELECT " + self._mailbox)

    def fetch(self, number: int, *items: str) -> dict[bytes, Any]:
        """The named items of one message, by their name in the answer."""
        found: dict[bytes, Any] = {}
        for line in self._command(b"FETCH %d (%b)" % (number, " ".join(items).encode())):
            match = re.match(rb"\* %d FETCH " % number, line)
            if match:
                values, _ = read(line, match.end())
                found.update(zip(values[::2], values[1::2], strict=True))
        return found

    def _command(self, text: bytes) -> list[bytes]:
        self._tag += 1
        tag = b"t%d " % self._tag
        self._socket.sendall(tag + text + b"\r\n")
        answers: list[bytes] = []
        while True:
            line = self._line()
            if line.startswith(tag):
                if not line.startswith(tag + b"OK"):
                    raise AssertionError(f"{text[:80]!r}: {line!r}")
                return answers
            answers.append(line)

    def _line(self) -> bytes:
        line = self._file.readline()
        while match := re.search(rb"\{(\d+)\}\r\n\Z", line):
            line += self._file.read(int(match[1])) + self._file.readline()
        if not line:
            raise AssertionError("the server hung up")
        return line


def read(line: bytes, at: int) -> tuple[Any, int]:
    """One value at an offset of an answer, and where it ends."""
    here = line[at : at + 1]
    if here == b"(":
        values = []
        at += 1
        while line[at : at + 1] != b")":
            value, at = read(line, at)
            values.append(value)
            if line[at : at + 1] == b" ":
                at += 1
        return values, at + 1
    if here == b'"':
        text = bytearray()
        at += 1
        while line[at : at + 1] != b'"':
            if line[at : at + 1] == b"\\":
                at += 1
            text += line[at : at + 1]
            at += 1
        return bytes(text), at + 1
    if here == b"{":
        end = line.index(b"}\r\n", at)
        start = end + 3
        stop = start + int(line[at + 1 : end])
        return line[start:stop], stop
    match = _ATOM.match(line, at)
    assert match is not None, line[at : at + 40]
    atom, at = match[0], match.end()
    if line[at : at + 1] == b"[":
        end = line.index(b"]", at) + 1
        return atom + line[at:end], end
    return (None if atom == b"NIL" else int(atom) if atom.isdigit() else atom), at
