"""Signed tokens against key sets: what is believed, and every way to forge one that we know of."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.accounts.jwks import Foreign, KeySet, Rejected, Signed, TokenVerdict, UnknownKey, expiry, judge
from relay.accounts.oauth import KEY_TYPES, OAuthSettings, is_trusted_url
from tests.peers.issuer import Signer, key_set

NOW = 1_800_000_000.0
SETTINGS = OAuthSettings("https://id.example.org", ("mail", "imap"), algorithms=tuple(KEY_TYPES))
SIGNER = Signer("k1")
KEYS = KeySet.parse(key_set(SIGNER))
GOOD: dict[str, Any] = {
    "iss": "https://id.example.org",
    "aud": "mail",
    "iat": NOW - 10,
    "exp": NOW + 600,
    "email": "bob@example.org",
}


def judged(*, keys: KeySet = KEYS, settings: OAuthSettings = SETTINGS, signer: Signer = SIGNER, **claims: Any) -> Any:
    """The verdict on a good token with other claims; None leaves one out."""
    every = {name: value for name, value in (GOOD | claims).items() if value is not None}
    return judge(signer.sign(every), keys, settings, NOW)


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def forged(header: dict[str, Any], signature: bytes = b"", **claims: Any) -> bytes:
    return b".".join((b64(json.dumps(header).encode()), b64(json.dumps(GOOD | claims).encode()), b64(signature)))


def test_a_good_token() -> None:
    assert judged() == Signed("bob@example.org", NOW - 10)


@pytest.mark.parametrize("algorithm", sorted(KEY_TYPES))
def test_every_algorithm_that_may_be_allowed(algorithm: str) -> None:
    signer = Signer("k", algorithm)
    keys = KeySet.parse(key_set(SIGNER, signer))
    assert isinstance(judged(keys=keys, signer=signer), Signed)
    narrow = msgspec.structs.replace(SETTINGS, algorithms=tuple(set(KEY_TYPES) - {algorithm}))
    assert judged(keys=keys, signer=signer, settings=narrow) == Rejected("algorithm")


@pytest.mark.parametrize(
    ("claims", "verdict"),
    [
        ({"aud": "other"}, Rejected("claims")),
        ({"aud": ["other", "imap"]}, Signed("bob@example.org", NOW - 10)),
        ({"aud": None}, Rejected("claims")),
        ({"aud": []}, Rejected("claims")),
        ({"iss": "https://id.example.org/"}, Foreign()),
        ({"iss": None}, Foreign()),
        ({"iss": ["https://id.example.org"]}, Foreign()),
        ({"exp": None}, Rejected("claims")),
        ({"exp": "soon"}, Rejected("claims")),
        ({"exp": True}, Rejected("claims")),
        ({"exp": float("inf")}, Rejected("claims")),
        ({"exp": float("nan")}, Rejected("claims")),
        ({"exp": NOW - 61}, Rejected("time")),
        ({"exp": NOW - 59}, Signed("bob@example.org", NOW - 10)),
        ({"nbf": NOW + 61}, Rejected("time")),
        ({"nbf": NOW + 59}, Signed("bob@example.org", NOW - 10)),
        ({"iat": NOW + 61}, Rejected("time")),
        ({"iat": None}, Signed("bob@example.org", 0.0)),
        ({"email": None}, Rejected("nameless")),
        ({"email": ""}, Rejected("nameless")),
        ({"email": ["bob@example.org"]}, Rejected("nameless")),
        ({"email_verified": False}, Rejected("nameless")),
        ({"email": None, "preferred_username": "bob"}, Signed("bob", NOW - 10)),
        ({"email": None, "upn": "bob@example.org"}, Signed("bob@example.org", NOW - 10)),
        ({"preferred_username": "eve"}, Signed("bob@example.org", NOW - 10)),
    ],
)
def test_claims(claims: dict[str, Any], verdict: TokenVerdict) -> None:
    assert judged(**claims) == verdict


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({}, False),
        ({"scope": "imap"}, False),
        ({"scope": "imap smtp profile"}, True),
        ({"scp": "smtp imap"}, True),
        ({"scp": ["smtp", "imap"]}, True),
        ({"scope": "imap", "scp": ["smtp", 7]}, True),
        ({"scope": {"imap": 1, "smtp": 1}}, False),
    ],
)
def test_scopes(claims: dict[str, Any], good: bool) -> None:
    settings = msgspec.structs.replace(SETTINGS, scopes=("imap", "smtp"))
    assert judged(settings=settings, **claims) == (Signed("bob@example.org", NOW - 10) if good else Rejected("scope"))


def test_no_signature_is_no_signature() -> None:
    for name in ("none", "None", "NONE", ""):
        assert judge(forged({"alg": name, "kid": "k1"}), KEYS, SETTINGS, NOW) in (Rejected("algorithm"), Foreign())


def test_the_public_key_is_no_shared_secret() -> None:
    header = {"alg": "HS256", "kid": "k1"}
    unsigned = forged(header).rpartition(b".")[0]
    for secret in (SIGNER.pem, json.dumps(SIGNER.jwk).encode(), b""):
        token = unsigned + b"." + b64(hmac.digest(secret, unsigned, "sha256"))
        assert judge(token, KEYS, SETTINGS, NOW) == Rejected("algorithm")
        # not even where somebody managed to allow it
        loose = msgspec.structs.replace(SETTINGS, algorithms=("HS256", "none"))
        assert judge(token, KEYS, loose, NOW) == Rejected("algorithm")


def test_a_key_is_only_used_for_its_own_kind() -> None:
    rsa = Signer("k1", "RS256")
    for alg in ("PS256", "RS512"):
        keys = KeySet.parse(json.dumps({"keys": [rsa.jwk | {"alg": alg}]}).encode())
        assert judged(keys=keys, signer=rsa) == UnknownKey()
    assert judged(signer=rsa) == UnknownKey()  # of the same name, and an EC key
    assert judged(signer=Signer("k1", "ES384")) == UnknownKey()
    assert judged(signer=Signer("k1")) == Rejected("signature")


def test_keys_that_a_token_brings_along_are_not_looked_at() -> None:
    evil = Signer("evil")
    for extra in (
        {"jwk": evil.jwk},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/x"},
        {"jwk": evil.jwk, "kid": "k1"},
    ):
        token = evil.sign(GOOD, extra)
        assert judge(token, KEYS, SETTINGS, NOW) == (Rejected("signature") if "kid" in extra else UnknownKey())


@pytest.mark.parametrize("kid", ["../../../dev/null", "k1' OR '1'='1", "k1\0", "", "K1", "x" * 5_000])
def test_a_key_name_is_only_compared(kid: str) -> None:
    assert judge(SIGNER.sign(GOOD, {"kid": kid}), KEYS, SETTINGS, NOW) == UnknownKey()


def test_critical_headers_that_we_do_not_know() -> None:
    assert judge(SIGNER.sign(GOOD, {"crit": ["exp"], "exp": 1}), KEYS, SETTINGS, NOW) in (
        Foreign(),
        Rejected("claims"),
    )


def test_a_token_without_a_key_name_is_tried_with_a_few() -> None:
    nameless = Signer(None)
    others = [Signer(f"k{n}") for n in range(3)]
    assert isinstance(judged(keys=KeySet.parse(key_set(*others, nameless)), signer=nameless), Signed)
    assert judged(keys=KeySet.parse(key_set(*others)), signer=nameless) == Rejected("signature")


def test_short_rsa_keys_are_not_believed() -> None:
    weak = Signer("weak", "RS256", bits=1024)
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = weak.sign(GOOD)
    assert judge(token, KeySet.parse(key_set(weak)), SETTINGS, NOW) == Rejected("signature")


@pytest.mark.parametrize(
    "token", [b"", b"ya29.opaque", b"a.b.c", b"\xff.\xff.\xff", b"." * 5_000, b64(b"[]") + b"..", b64(b"{" * 5_000)]
)
def test_what_is_no_token_is_somebody_elses(token: bytes) -> None:
    assert judge(token, KEYS, SETTINGS, NOW) == Foreign()
    assert expiry(token) is None


def test_huge_and_deep_tokens() -> None:
    assert judge(SIGNER.sign(GOOD | {"groups": ["g" * 30] * 300}), KEYS, SETTINGS, NOW) == Signed(
        "bob@example.org", NOW - 10
    )
    deep = b64(b'{"alg":"ES256"}') + b"." + b64(b'{"iss":' + b"[" * 4_000) + b".AAAA"
    assert judge(deep, KEYS, SETTINGS, NOW) == Foreign()


@given(st.binary(max_size=200), st.integers(0, 2))
def test_any_octets_in_any_part_are_judged(noise: bytes, part: int) -> None:
    parts = SIGNER.sign(GOOD).split(b".")
    parts[part] = b64(noise)
    assert not isinstance(judge(b".".join(parts), KEYS, SETTINGS, NOW), Signed)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"<html>",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": ["x", 7, {}]}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}]}',
        json.dumps({"keys": [SIGNER.jwk | {"use": "enc"}]}).encode(),
        json.dumps({"keys": [SIGNER.jwk | {"key_ops": ["sign"]}]}).encode(),
        json.dumps({"keys": [SIGNER.jwk | {"d": "AAAA"}]}).encode(),
    ],
)
def test_key_sets_without_a_key(document: bytes) -> None:
    with pytest.raises(ValueError, match="JWK set"):
        KeySet.parse(document)


def test_a_broken_key_beside_a_good_one() -> None:
    broken = SIGNER.jwk | {"x": "AA", "kid": "broken"}
    keys = KeySet.parse(json.dumps({"keys": [broken, SIGNER.jwk]}).encode())
    assert isinstance(judged(keys=keys), Signed)
    assert judge(SIGNER.sign(GOOD, {"kid": "broken"}), keys, SETTINGS, NOW) == Rejected("signature")


def test_expiry_is_read() -> None:
    assert expiry(SIGNER.sign(GOOD)) == NOW + 600
    assert expiry(SIGNER.sign({"exp": "x"} | {})) is None


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://id.example.org/x", True),
        ("http://127.0.0.1:8080/x", True),
        ("http://[::1]/x", True),
        ("http://localhost/x", True),
        ("http://id.example.org/x", False),
        ("http://localhost.evil.example/", False),
        ("http://127.0.0.1@evil.example/", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("http://[::1/", False),
        ("", False),
    ],
)
def test_trusted_urls(url: str, trusted: bool) -> None:
    assert is_trusted_url(url) is trusted
