"""The servers that clients are sent to; the same before, during and after an outage."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Literal

import msgspec

_LONGEST_LOCAL = 64
"""RFC 5321 4.5.3.1.1"""


class Security(StrEnum):
    """How a port is protected."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"


class Server(msgspec.Struct, frozen=True):
    """One port, as clients see it."""

    host: str
    port: int
    security: Security


class ClientSetup(msgspec.Struct, frozen=True):
    """What `node` makes of the configuration."""

    domains: tuple[str, ...]
    """A-labels in lower case."""
    imap: tuple[Server, ...]
    """The better one first (RFC 8314 3: implicit TLS); empty = not served."""
    submission: tuple[Server, ...]
    web_host: str
    """Where the documents are served over HTTPS."""
    display_name: str = ""
    """Of the service; empty = the domain."""
    username: Literal["address", "local"] = "address"
    """What users log in with: the whole address, or what stands before the `@`."""

    def title(self, domain: str) -> str:
        """The service in a person's words."""
        return self.display_name or domain


class Mailbox(msgspec.Struct, frozen=True):
    """An address that somebody typed; whether it exists is not asked."""

    address: str
    local: str
    domain: str

    def login(self, setup: ClientSetup) -> str:
        """The user name to log in with."""
        return self.local if setup.username == "local" else self.address


def mailbox(typed: str, domains: Collection[str]) -> Mailbox | None:
    """An address of one of our domains, as it may be written into a document; else None."""
    local, at, domain = typed.strip().rpartition("@")
    ours = domain_of(domain, domains)
    # Printable excludes every control character and lone surrogate, which XML could not carry.
    well = local.isprintable() and not any(char.isspace() for char in local)
    if not at or not local or not well or ours is None or len(local.encode()) > _LONGEST_LOCAL:
        return None
    return Mailbox(f"{local}@{ours}", local, ours)


def domain_of(typed: str, domains: Collection[str]) -> str | None:
    """One of our domains, in whatever case or script it was written; else None."""
    name = typed.strip().rstrip(".")
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    return name.lower() if name.lower() in domains else None
