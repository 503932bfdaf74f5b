"""The mechanisms as a table, and the exchange that runs one of them.

Base64 answers of the client enter; challenges, `Credentials` or a fault leave. A mechanism is data: what it asks, one
prompt after the other, how the answers are read, and how the client answers the news that its token was refused.

1. No answer is longer than LONGEST once decoded: a longer one is Malformed before it is decoded.
2. What was sent is never quoted.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from relay.proto.sasl.bearer import read_oauthbearer, read_xoauth2
from relay.proto.sasl.credentials import Credentials, Proof

LONGEST = 12 * 1024
"""Octets of one decoded answer. Tokens with many group claims reach 8 KiB; an IMAP line before login has 16 KiB."""
LONGEST_LOGIN = 1_000
LONGEST_PASSWORD = 1_024
_LONGEST_TEXT = (LONGEST + 2) // 3 * 4


class Challenge(msgspec.Struct, frozen=True):
    """To be sent to the client, in base 64."""

    data: bytes

    @property
    def text(self) -> bytes:
        """As it goes over the wire."""
        return base64.b64encode(self.data)


class Malformed(msgspec.Struct, frozen=True):
    """The client's answer is none; `text` may be told."""

    text: str


class Cancelled(msgspec.Struct, frozen=True):
    """The client sent `*` (RFC 4422 3.4, RFC 9051 6.2.2, RFC 4954 4)."""


Step: TypeAlias = Challenge | Credentials | Malformed | Cancelled


class Mechanism(msgspec.Struct, frozen=True):
    """One row of the table."""

    name: str
    proof: Proof
    prompts: tuple[bytes, ...]
    """One challenge per answer; the first is skipped when there is an initial response."""
    read: Callable[[Sequence[bytes]], Credentials | None]
    dismissal: bytes = b""
    """What a client answers to the error challenge before it is refused (RFC 7628 3.2.3: ^A; XOAUTH2: nothing)."""


def _plain(answers: Sequence[bytes]) -> Credentials | None:
    """RFC 4616 2: authzid NUL authcid NUL passwd."""
    parts = answers[0].split(b"\0")
    if len(parts) != 3:
        return None
    authzid = _name(parts[0])
    return None if authzid is None else read_password("PLAIN", parts[1], parts[2], authzid)


def _login(answers: Sequence[bytes]) -> Credentials | None:
    """draft-murchison-sasl-login: never a standard, and all that some versions of Outlook can."""
    return read_password("LOGIN", answers[0], answers[1])


def read_password(mechanism: str, login: bytes, password: bytes, authzid: str = "") -> Credentials | None:
    """A name and a password; None where nobody can have them."""
    name = _name(login)
    if not name or not password or len(password) > LONGEST_PASSWORD or b"\0" in password:
        return None
    return Credentials(name, password, authzid, mechanism=mechanism)


def _name(raw: bytes) -> str | None:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if len(name) > LONGEST_LOGIN or any(ord(char) < 32 or ord(char) == 127 for char in name) else name


def _bearer(read: Callable[[bytes], Credentials | None]) -> Callable[[Sequence[bytes]], Credentials | None]:
    def one(answers: Sequence[bytes]) -> Credentials | None:
        found = read(answers[0])
        return None if found is None or _name(found.login.encode()) is None else found

    return one


MECHANISMS: Mapping[str, Mechanism] = MappingProxyType(
    {
        row.name: row
        for row in (
            Mechanism("PLAIN", Proof.PASSWORD, (b"",), _plain),
            Mechanism("LOGIN", Proof.PASSWORD, (b"Username:", b"Password:"), _login),
            Mechanism("XOAUTH2", Proof.TOKEN, (b"",), _bearer(read_xoauth2)),
            Mechanism("OAUTHBEARER", Proof.TOKEN, (b"",), _bearer(read_oauthbearer), dismissal=b"\x01"),
        )
    }
)
"""By name; whether one is offered is for whoever asks."""


class Exchange:
    """One run of a mechanism."""

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism
        self._answers: list[bytes] = []

    def start(self, initial: bytes | None) -> Step:
        """With the initial response as it was sent, or without one; `=` is an empty one (RFC 4959 3, RFC 4954 4)."""
        if initial is None:
            return Challenge(self._mechanism.prompts[0])
        return self.answer(b"" if initial == b"=" else initial)

    def answer(self, text: bytes) -> Step:
        """The client's answer to the last challenge, without its line end."""
        if text == b"*":
            return Cancelled()
        if len(text) > _LONGEST_TEXT:
            return Malformed("Answer too long")
        try:
            self._answers.append(base64.b64decode(text, validate=True))
        except ValueError:  # binascii.Error is one
            return Malformed("Not base 64")
        prompts = self._mechanism.prompts
        if len(self._answers) < len(prompts):
            return Challenge(prompts[len(self._answers)])
        return self._mechanism.read(self._answers) or Malformed("Malformed credentials")
