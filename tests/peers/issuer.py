"""A tiny identity provider: signs tokens, publishes its keys, rotates them, goes down, and lies when told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.peers.ports import LOOPBACK

AUDIENCE = "mail"
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


_CURVES: Mapping[str, ec.EllipticCurve] = MappingProxyType(
    {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
)


class Signer:
    """One key pair."""

    def __init__(self, kid: str | None, algorithm: str = "ES256", bits: int = 2048) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private: PrivateKey
        if algorithm[:2] in ("RS", "PS"):
            self.private = rsa.generate_private_key(65_537, bits)
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = ec.generate_private_key(_CURVES[algorithm])

    @property
    def pem(self) -> bytes:
        """The public key."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key as it is published."""
        found: dict[str, Any]
        if isinstance(self.private, rsa.RSAPrivateKey):
            found = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        elif isinstance(self.private, ec.EllipticCurvePrivateKey):
            found = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        else:
            found = OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return found | {"use": "sig"} | ({"kid": self.kid} if self.kid is not None else {})

    def sign(self, claims: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> bytes:
        """A token with exactly these claims."""
        headers = ({"kid": self.kid} if self.kid is not None else {}) | dict(header or {})
        return jwt.PyJWS().encode(json.dumps(claims).encode(), self.private, self.algorithm, headers).encode()


def key_set(*signers: Signer) -> bytes:
    """A JWK set."""
    return json.dumps({"keys": [signer.jwk for signer in signers]}).encode()


class TestIssuer:
    """The server; made by `issuer()`."""

    __test__ = False

    def __init__(self, url: str) -> None:
        self.url = url
        self.signers = [Signer("one")]
        self.answers: dict[str, bytes] = {}
        """Whole HTTP answers by path, instead of the right ones."""
        self.asked: list[str] = []
        self.down = False

    def rotate(self, kid: str) -> None:
        """From now on another key signs."""
        self.signers = [Signer(kid)]

    def token(self, user: str, *, now: float | None = None, life: float = 3_600.0, **claims: Any) -> bytes:
        """A good token, but for `claims`; None leaves one out."""
        at = int(time.time() if now is None else now)
        every = {"iss": self.url, "aud": AUDIENCE, "iat": at, "exp": int(at + life), "email": user, **claims}
        return self.signers[0].sign({name: value for name, value in every.items() if value is not None})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            self.asked.append(path)
            if not self.down:
                writer.write(self.answers.get(path) or self._answer(path))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, path: str) -> bytes:
        if path == "/.well-known/openid-configuration":
            return answer(json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode())
        return answer(key_set(*self.signers)) if path == "/keys" else answer(b"", "404 Not Found")


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def issuer(tls: ssl.SSLContext | None = None) -> AsyncIterator[TestIssuer]:
    """A running identity provider."""
    made: list[TestIssuer] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await made[0].serve(reader, writer)

    server = await asyncio.start_server(serve, LOOPBACK, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    made.append(TestIssuer(f"http://{LOOPBACK}:{port}" if tls is None else f"https://localhost:{port}"))
    try:
        yield made[0]
    finally:
        server.close()
        await server.wait_closed()
