"""Signed tokens (RFC 7519) against a published key set (RFC 7517). Pure: a token, keys and a time in, a verdict out.

1. The algorithm is one that the operator allows and that the key's own type fits; what the token's header says is never
   enough. Keys that a token brings along or points to (`jwk`, `jku`, `x5c`, `x5u`) are not looked at.
2. A verdict other than `Signed` says nothing about users: no name is looked at before the signature is good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import jwt
import msgspec

from relay.accounts.oauth import KEY_TYPES, OAuthSettings

LONGEST_DOCUMENT = 256 * 1024
_MOST_KEYS = 100
_MOST_TRIES = 4
"""Signatures that are checked for a token which does not name its key."""

Fault = Literal["malformed", "algorithm", "signature", "time", "claims", "scope", "nameless"]


class Signed(msgspec.Struct, frozen=True):
    """A good token."""

    name: str
    """Its user, as the issuer calls them."""
    issued_at: float


class Rejected(msgspec.Struct, frozen=True):
    """A token of our issuer that is not good, and will not be."""

    fault: Fault


class UnknownKey(msgspec.Struct, frozen=True):
    """It may be good: its key is not among ours."""


class Foreign(msgspec.Struct, frozen=True):
    """No token that we could judge: opaque, or of another issuer."""


TokenVerdict: TypeAlias = Signed | Rejected | UnknownKey | Foreign


class KeySet:
    """The keys that can verify signatures."""

    def __init__(self, keys: Sequence[dict[str, Any]]) -> None:
        self._keys = keys

    @classmethod
    def parse(cls, document: bytes) -> KeySet:
        """From a JWK Set. ValueError: it is none, or has no key that is of use."""
        try:
            found = msgspec.json.decode(document, type=dict[str, Any]).get("keys")
        except msgspec.MsgspecError:
            raise ValueError("not a JWK set") from None
        listed = found[:_MOST_KEYS] if isinstance(found, list) else []
        keys = [key for key in listed if isinstance(key, dict) and _verifies(key)]
        if not keys:
            raise ValueError("no key of use in the JWK set")
        return cls(keys)

    def fitting(self, kid: str | None, algorithm: str) -> list[dict[str, Any]]:
        """Keys that may have signed: the named one, or a few where none is named."""
        kind, curve = KEY_TYPES[algorithm]
        return [
            key
            for key in self._keys
            if key["kty"] == kind
            and (curve is None or key.get("crv") == curve)
            and key.get("alg", algorithm) == algorithm
            and (kid is None or key.get("kid") == kid)
        ][:_MOST_TRIES]


def _verifies(key: dict[str, Any]) -> bool:
    operations = key.get("key_ops")
    return (
        key.get("kty") in {kind for kind, _ in KEY_TYPES.values()}
        and key.get("use", "sig") == "sig"
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
        and "d" not in key  # a private key in the open is nobody's
    )


def judge(token: bytes, keys: KeySet, settings: OAuthSettings, now: float) -> TokenVerdict:
    """What a token is worth at a time (Unix seconds)."""
    try:
        text = token.decode("ascii")
        header = jwt.get_unverified_header(text)
        claimed = jwt.decode(text, options={"verify_signature": False})
    except (UnicodeDecodeError, jwt.PyJWTError, RecursionError):
        return Foreign()
    if claimed.get("iss") != settings.issuer:
        return Foreign()
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in settings.algorithms or algorithm not in KEY_TYPES:
        return Rejected("algorithm")
    candidates = keys.fitting(kid, algorithm)
    if not candidates:
        return UnknownKey()
    for key in candidates:
        try:
            claims = jwt.decode(
                text,
                key=jwt.PyJWK(key, algorithm),
                algorithms=[algorithm],
                issuer=settings.issuer,
                audience=settings.audiences,
                options={
                    "require": ["exp", "iss", "aud"],
                    "enforce_minimum_key_length": True,
                    # Times are judged below, by our clock.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.InvalidSignatureError, jwt.PyJWKError, jwt.InvalidKeyError):
            continue
        except jwt.PyJWTError:
            return Rejected("claims")
        return _claims(claims, settings, now)
    return Rejected("signature")


def _claims(claims: dict[str, Any], settings: OAuthSettings, now: float) -> Signed | Rejected:
    expires, begins, issued = claims["exp"], claims.get("nbf", 0), claims.get("iat", 0)
    if not (_is_time(expires) and _is_time(begins) and _is_time(issued)):
        return Rejected("claims")
    if expires + settings.leeway <= now or max(begins, issued) - settings.leeway > now:
        return Rejected("time")
    if not set(settings.scopes) <= _scopes(claims):
        return Rejected("scope")
    for claim in settings.user_claims:
        name = claims.get(claim)
        if isinstance(name, str) and name and not (claim == "email" and claims.get("email_verified") is False):
            return Signed(name, float(issued))
    return Rejected("nameless")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _scopes(claims: dict[str, Any]) -> set[str]:
    """`scope` (RFC 8693 4.2) or `scp` (Microsoft, Okta); words or a list."""
    found: set[str] = set()
    for given in (claims.get("scope"), claims.get("scp")):
        if isinstance(given, str):
            found.update(given.split())
        elif isinstance(given, list):
            found.update(word for word in given if isinstance(word, str))
    return found


def expiry(token: bytes) -> float | None:
    """When a token says that it ends, believed by nobody but whoever has just accepted it; None = it does not say."""
    try:
        end = jwt.decode(token.decode("ascii"), options={"verify_signature": False}).get("exp")
    except (UnicodeDecodeError, jwt.PyJWTError, RecursionError):
        return None
    return float(end) if end is not None and _is_time(end) else None
