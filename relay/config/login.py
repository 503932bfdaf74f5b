"""The sections about who may log in while the primary cannot be asked."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, field_validator

from relay.accounts.oauth import Algorithm
from relay.config.faults import wrong
from relay.config.types import REQUIRED, Duration, File, Networks, Section, key, split_list

Words: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(split_list)]
Algorithms: TypeAlias = Annotated[tuple[Algorithm, ...], BeforeValidator(split_list)]


class OAuthSection(Section):
    """Signed tokens (XOAUTH2, OAUTHBEARER): judged by the issuer's keys, which are kept for when the issuer is down."""

    issuer: str = key(REQUIRED, "The iss of its tokens, to the letter.", example="https://id.example.org/realms/mail")
    audience: Words = key(REQUIRED, "A token must be meant for one of these (aud).", example=["mail"])
    jwks_url: str = key(
        "",
        "Its keys. Empty, and no jwks_file: asked of the issuer (/.well-known/openid-configuration).",
        example="https://id.example.org/realms/mail/keys",
    )
    jwks_file: File | None = key(
        None, "Its keys from a file instead; read again on HUP.", example="/etc/relay/issuer-keys.json"
    )
    user_claims: Words = key(
        ["email", "preferred_username", "upn"],
        "The first of these that a token has names its user; they must be the issuer's word, not the user's.",
    )
    algorithms: Algorithms = key(["RS256", "PS256", "ES256", "ES384", "EdDSA"], "Signatures that are believed.")
    scopes: Words = key([], "A token must have been granted all of these.", example=["imap"])
    leeway: Duration = key("60s", "How far its clock may be from ours.")
    refresh: Duration = key(
        "1h", "How often the keys are fetched; also, once a minute at most, for an unknown key.", least="1m"
    )
    keys_max_age: Duration = key("30d", "How long keys are believed that could not be fetched again.", least="1h")
    timeout: Duration = key("10s", "For one whole fetch.", least="100ms")
    ca_file: File | None = key(
        None, "Trust this authority instead of the system's.", example="/etc/relay/issuer-ca.pem"
    )

    @field_validator("audience", "user_claims", "algorithms")
    @classmethod
    def _some(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            problem = "is empty; audience, user_claims and algorithms name one thing at least"
            raise wrong(problem, "Ask your identity provider")
        return names


class LoginSection(Section):
    """Passwords and tokens of users, for the time when the primary cannot be asked."""

    remember: bool = key(True, "Keep a verifier (Argon2id, sealed) of each password that the primary accepted.")
    max_age: Duration = key("30d", "How long after the last login on the primary it is good for.", least="1m")
    token_max_age: Duration = key(
        "1h",
        "The same of a token that worked on the primary and cannot be judged here; 0s = not remembered.",
        most="24h",
    )
    failures: int = key(10, "Wrong passwords per client address or account and window; then logins wait.", ge=1)
    window: Duration = key("10m", "See failures. Counted per worker.", least="1s")
    exempt_networks: Networks = key(
        [],
        "Failures from here count for their account alone: webmail and gateways that log in for many.",
        example=["10.0.0.25/32"],
    )
    verify_concurrency: int = key(2, "Password checks at a time; each takes 19 MiB and about 50 ms.", ge=1, le=64)
    delayed: int = key(500, "Clients per worker that wait at a time for the answer to a wrong password.", ge=0)
    oauth: OAuthSection | None = None
