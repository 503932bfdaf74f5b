"""The messages of XOAUTH2 (Google's, which Microsoft and all clients took over) and OAUTHBEARER (RFC 7628).

Both carry key=value pairs that end in ^A, and one of them is `auth=Bearer TOKEN`. Decoded messages enter; credentials
leave, or None for what is no such message.
"""

from __future__ import annotations

import re

import msgspec

from relay.proto.sasl.credentials import Credentials, Proof

_END = b"\x01"
_PAIRS_MOST = 20
_KEY = re.compile(rb"[A-Za-z]+")
_VALUE = re.compile(rb"[\x21-\x7e \t\r\n]*")
_TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")
"""RFC 6750 2.1."""


def read_xoauth2(message: bytes) -> Credentials | None:
    """`user=NAME^Aauth=Bearer TOKEN^A^A`"""
    pairs = _pairs(message, checked=False)
    user = None if pairs is None else pairs.get(b"user")
    if pairs is None or not user:
        return None
    return _credentials("XOAUTH2", user, pairs, message)


def read_oauthbearer(message: bytes) -> Credentials | None:
    """`n,a=NAME,^Ahost=H^Aport=P^Aauth=Bearer TOKEN^A^A` (RFC 7628 3.1); the name may be left out."""
    header, separator, rest = message.partition(_END)
    flag, _, name = header.partition(b",")
    # RFC 5801 4: no channel binding is offered, so `p=...` cannot be meant; `y` says that the client could bind.
    if not separator or flag not in (b"n", b"y") or not name.endswith(b","):
        return None
    name = name[:-1]
    if name and not name.startswith(b"a="):
        return None
    user = _unescape(name.removeprefix(b"a="))
    pairs = _pairs(rest, checked=True)
    if user is None or pairs is None:
        return None
    return _credentials("OAUTHBEARER", user, pairs, message)


def refusal(*, scopes: tuple[str, ...] = (), discovery: str = "", status: str = "invalid_token") -> bytes:
    """The error that a client gets as a last challenge (RFC 7628 3.2.2), so that it fetches itself a fresh token."""
    told = {"status": status}
    if scopes:
        told["scope"] = " ".join(scopes)
    if discovery:
        told["openid-configuration"] = discovery
    return msgspec.json.encode(told)


def _credentials(mechanism: str, user: bytes, pairs: dict[bytes, bytes], message: bytes) -> Credentials | None:
    scheme, _, token = pairs.get(b"auth", b"").partition(b" ")
    token = token.strip(b" ")
    # RFC 7628 3.2.3 has clients ask with an empty token what the server wants: it is read, and refused.
    if scheme.lower() != b"bearer" or (token and not _TOKEN.fullmatch(token)):
        return None
    try:
        login = user.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return Credentials(login, token, proof=Proof.TOKEN, mechanism=mechanism, message=message)


def _pairs(text: bytes, *, checked: bool) -> dict[bytes, bytes] | None:
    """The pairs by key; None where the form is wrong or a key comes twice."""
    if not text.endswith(_END + _END):
        return None
    parts = text[:-2].split(_END)
    if len(parts) > _PAIRS_MOST:
        return None
    found: dict[bytes, bytes] = {}
    for part in parts:
        key, equals, value = part.partition(b"=")
        if not equals or key in found or not _KEY.fullmatch(key) or (checked and not _VALUE.fullmatch(value)):
            return None
        found[key] = value
    return found


def _unescape(name: bytes) -> bytes | None:
    """RFC 5801 4, `saslname`: `=2C` and `=3D`, and no other use of `=`."""
    plain = name.replace(b"=2C", b"").replace(b"=3D", b"")
    if b"=" in plain or b"," in plain or b"\0" in plain:
        return None
    return name.replace(b"=2C", b",").replace(b"=3D", b"=")
