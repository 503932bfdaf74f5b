"""What the operator says about tokens (`[login.oauth]`): values only, so that the configuration can be read quickly."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

import msgspec

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
KEY_TYPES: Mapping[str, tuple[str, str | None]] = MappingProxyType(
    {
        **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
        "ES256": ("EC", "P-256"),
        "ES384": ("EC", "P-384"),
        "ES512": ("EC", "P-521"),
        "EdDSA": ("OKP", "Ed25519"),
    }
)
"""Key type and curve by algorithm (RFC 7518 3.1, RFC 8037 3.1). Only asymmetric ones: with HS* the published key would
be the secret, and `none` is no signature."""


class OAuthSettings(msgspec.Struct, frozen=True):
    """Whose tokens are believed. Times in seconds."""

    issuer: str
    """`iss`, to the letter."""
    audiences: tuple[str, ...]
    """`aud` must name one of them: a token for another service opens nothing here."""
    jwks_url: str = ""
    jwks_file: Path | None = None
    """Neither: asked of the issuer (OpenID Connect Discovery 4)."""
    user_claims: tuple[str, ...] = ("email", "preferred_username", "upn")
    """The first that is there names the user."""
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
    scopes: tuple[str, ...] = ()
    """All of these must have been granted."""
    leeway: float = 60.0
    refresh: float = 3_600.0
    keys_max_age: float = 30 * 86_400.0
    """How long keys are believed that could not be fetched again."""
    timeout: float = 10.0
    again: float = 60.0
    """Shortest time between two fetches, whoever presents unknown keys."""
    ca_file: str | None = None

    @property
    def discovery(self) -> str:
        """Where the issuer describes itself."""
        return f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"

    @property
    def source(self) -> str:
        """What the keys came from: those of another source are not ours."""
        return "\n".join((self.issuer, self.jwks_url, str(self.jwks_file or "")))


def is_trusted_url(url: str) -> bool:
    """Whether what comes from a URL can be believed: https, or this machine itself."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    if parts.scheme != "http":
        return False
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
