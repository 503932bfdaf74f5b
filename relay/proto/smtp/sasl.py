"""Credentials as AUTH PLAIN (RFC 4616) and AUTH LOGIN carry them (RFC 4954 for the exchange).

Base64 text enters, UTF-8 strings leave. Errors never quote what was sent.
"""

from __future__ import annotations

import base64

import msgspec

from relay.proto.smtp.parameters import fault


class Credentials(msgspec.Struct, frozen=True):
    """What a client claims to know. `authzid` is whom it wants to act as; empty = itself."""

    login: str
    password: str
    authzid: str = ""

    def __repr__(self) -> str:
        """Without the secret, wherever this may be printed."""
        return "Credentials(...)"


def decode_plain(text: str) -> Credentials:
    """The message of PLAIN: authzid NUL authcid NUL passwd."""
    parts = _decode(text).split("\0")
    if len(parts) != 3 or not parts[1] or not parts[2]:
        raise fault(501, "5.5.2 Malformed credentials")
    return Credentials(login=parts[1], password=parts[2], authzid=parts[0])


def decode_login(login: str, password: str) -> Credentials:
    """The two answers of LOGIN."""
    credentials = Credentials(login=_decode(login), password=_decode(password))
    if not credentials.login or not credentials.password or "\0" in credentials.login + credentials.password:
        raise fault(501, "5.5.2 Malformed credentials")
    return credentials


def _decode(text: str) -> str:
    # RFC 4954 4: `=` is an empty initial response
    if text == "=":
        return ""
    try:
        return base64.b64decode(text, validate=True).decode("utf-8")
    except ValueError:  # binascii.Error and UnicodeDecodeError are both
        raise fault(501, "5.5.2 Malformed credentials") from None
