"""What the IMAP front can be told; frozen values that `node` fills from the configuration."""

from __future__ import annotations

import ipaddress
from typing import Literal, TypeAlias

import msgspec

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
ListenerName = Literal["imap", "imaps"]


class Limits(msgspec.Struct, frozen=True):
    """How much of everything, per worker."""

    connections: int = 10_000
    connections_per_address: int = 500
    """A whole office may sit behind one address, and a client opens five to ten. IPv6 counts by its /64."""
    errors: int = 20
    """Answers BAD before a connection is closed."""
    logins: int = 5
    """Failed logins per connection."""
    search_octets: int = 2 * 1024 * 1024
    """Of one message's text that SEARCH BODY and TEXT look at."""


class Deadlines(msgspec.Struct, frozen=True):
    """Seconds."""

    login: float = 60.0
    """From connection to login, everything included."""
    idle: float = 1800.0
    """Without a command (RFC 9051 5.4: 30 minutes at least)."""
    write: float = 60.0
    """For the client to take what fills our send buffer."""
    handshake: float = 30.0
    proxy_header: float = 5.0
    failure: float = 1.5
    """A failed login is answered this long after it was tried, whatever the reason, so that time tells nothing."""
    goodbye: float = 5.0
    """For commands under way when the node stops."""
    watch: float = 0.5
    """How often the mode is looked at for the sake of passed-through sessions."""


class ServeSettings(msgspec.Struct, frozen=True):
    """For all IMAP listeners of a worker."""

    hostname: str
    plaintext_auth: Literal["never", "loopback"] = "loopback"
    version: str = ""
    """Said in ID; empty = not said."""
    limits: Limits = Limits()
    deadlines: Deadlines = Deadlines()


class ListenerSettings(msgspec.Struct, frozen=True):
    """One port."""

    name: ListenerName
    host: str
    port: int
    implicit_tls: bool = False
    proxy_from: tuple[Network, ...] = ()
    """Peers in these networks must begin with a PROXY header; nobody else may. Empty = plain connections."""
    reuse_port: bool = False
    """Several workers share the port."""
    backlog: int = 512
