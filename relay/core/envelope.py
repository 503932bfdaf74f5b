"""What SMTP says about a message, as one immutable value (RFC 5321 2.3.1), and where it came from.

Addresses are kept exactly as received; `canonical` is the form that is compared and looked up.
"""

from __future__ import annotations

import functools
from enum import StrEnum

import msgspec


class BodyType(StrEnum):
    """The BODY parameter of MAIL (RFC 6152, RFC 3030)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"
    BINARY = "BINARYMIME"


class Recipient(msgspec.Struct, frozen=True, array_like=True):
    """One forward-path with its DSN wishes (RFC 3461 4.1, 4.2)."""

    address: str
    notify: tuple[str, ...] = ()
    """Subset of NEVER, SUCCESS, FAILURE, DELAY; empty = not said."""
    orcpt: str | None = None


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """The SMTP envelope of one message."""

    reverse_path: str
    """Empty for the null reverse-path `<>`."""
    recipients: tuple[Recipient, ...]
    body: BodyType = BodyType.SEVEN_BIT
    smtputf8: bool = False
    ret: str | None = None
    """FULL or HDRS (RFC 3461 4.3)."""
    envid: str | None = None


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """Where a message came from, as seen by us; feeds Received, XCLIENT and XFORWARD."""

    client_address: str
    """IP literal without brackets."""
    client_port: int
    helo: str
    """As sent, already checked to be printable ASCII without CR or LF; empty before HELO."""
    client_name: str | None = None
    """Forward-confirmed reverse name; None when unknown."""
    protocol: str = "ESMTP"
    """RFC 3848 name: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, UTF8SMTP..."""
    tls: str | None = None
    """`TLSv1.3 TLS_AES_256_GCM_SHA384`; None in clear."""
    login: str | None = None
    """Authenticated user; None for inbound mail."""
    listener: str = "mx"
    """mx, submission or submissions."""
    received_at: float = 0.0
    """Unix seconds at the end of data."""
    client_name_deferred: bool = False
    """The DNS could not say for now: `client_name` is None, and may exist."""


def split_address(address: str) -> tuple[str, str]:
    """Local part and domain at the last `@`; the domain is empty where there is none (`postmaster`)."""
    local, at, domain = address.rpartition("@")
    return (local, domain) if at else (address, "")


@functools.lru_cache(maxsize=1024)
def canonical(address: str) -> str:
    """The form under which an address is compared: case folded, without a trailing dot of the domain.

    RFC 5321 2.4 lets a host treat local parts as case-sensitive; no primary we stand in for does, and a look-up that
    missed `Bob@` would refuse mail that the primary takes.
    """
    local, domain = split_address(address)
    domain = domain.rstrip(".").casefold()
    return f"{local.casefold()}@{domain}" if domain else local.casefold()


def is_postmaster(address: str) -> bool:
    """RFC 5321 4.5.1: `postmaster`, with or without a domain, in any case."""
    return split_address(address)[0].casefold() == "postmaster"
