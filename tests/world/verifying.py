"""Keys that sign, the records that they are verified with, and dkimpy as the verifier."""

from __future__ import annotations

import base64
import types
from unittest import mock

import dkim
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from relay.vault.signing import SigningKey
from relay.world.dkim_signer import DkimKey

Private = rsa.RSAPrivateKey | Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def pem(key: Private, form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


RSA = rsa.generate_private_key(65537, 2048)
ED25519 = Ed25519PrivateKey.generate()
SEED = base64.b64encode(
    ED25519.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
)
KEYS = (
    DkimKey("example.org", "r1", SigningKey.read(pem(RSA), "world.dkim")),
    DkimKey("example.org", "e1", SigningKey.read(SEED, "world.dkim")),
    DkimKey("sub.example.org", "s1", SigningKey.read(pem(RSA), "world.dkim")),
)


class _VerifyKey:
    """As much of PyNaCl, which dkimpy verifies Ed25519 with, as that takes."""

    def __init__(self, key: bytes, encoder: object) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))

    def verify(self, data: bytes, signature: bytes) -> None:
        """Or BadSignatureError."""
        self._key.verify(signature, data)


_NACL = types.SimpleNamespace(
    signing=types.SimpleNamespace(VerifyKey=_VerifyKey),
    encoding=types.SimpleNamespace(Base64Encoder=None),
    exceptions=types.SimpleNamespace(BadSignatureError=InvalidSignature, ValueError=ValueError),
)


def published(name: bytes, timeout: int = 5) -> bytes | None:
    """The TXT records of the keys above."""
    records = {f"{one.selector}._domainkey.{one.domain}.": one.key.public for one in KEYS}
    found = records.get(name.decode())
    return None if found is None else found.encode()


def verifies(message: bytes, index: int = 0) -> bool:
    """Whether the signature with this index, counted from the top, holds."""
    with mock.patch.object(dkim, "nacl", _NACL, create=True):
        try:
            verdict: bool = dkim.DKIM(message).verify(index, dnsfunc=published)  # type: ignore[no-untyped-call]  # untyped
        except dkim.ValidationError:
            return False
    return verdict
