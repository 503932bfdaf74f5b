"""What a client claims to know: the one value that both protocols and `accounts` speak of."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Proof(StrEnum):
    """What kind of secret it is."""

    PASSWORD = "password"  # noqa: S105  # a kind, not a secret
    TOKEN = "token"  # noqa: S105  # the same
    """An OAuth 2.0 bearer token (RFC 6750): short-lived, and its issuer can be asked."""


class Credentials(msgspec.Struct, frozen=True):
    """`login` may be empty with a token, which can name its user itself. `authzid`: whom to act as; empty = itself."""

    login: str
    secret: bytes
    authzid: str = ""
    proof: Proof = Proof.PASSWORD
    mechanism: str = "PLAIN"
    message: bytes = b""
    """With a token: the client's whole message, for a server that shall read it itself."""

    @property
    def for_another(self) -> bool:
        """Whether the client wants to act as somebody else than it proves to be (RFC 4616 2)."""
        return self.authzid not in ("", self.login)

    @property
    def password(self) -> str:
        """The secret of a login that we have ourselves, as text."""
        return self.secret.decode("utf-8")

    def __repr__(self) -> str:
        """Without the secret, wherever this may be printed."""
        return "Credentials(...)"
