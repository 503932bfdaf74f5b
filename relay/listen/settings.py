"""What listeners can be told; frozen values that `wiring` fills from the configuration. Protocols add their own."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import msgspec

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Name = TypeVar("Name", bound=str)


class Crowd(msgspec.Struct, frozen=True):
    """How many connections, per worker."""

    connections: int
    connections_per_address: int
    """IPv6 clients count by their /64."""


class Arrival(msgspec.Struct, frozen=True):
    """Seconds, from the first octet to the first word and from the last word to the end."""

    goodbye: float
    """For what is under way when the node stops."""
    proxy_header: float = 5.0
    handshake: float = 30.0
    """Of TLS, implicit or by STARTTLS."""


class Port(msgspec.Struct, Generic[Name], frozen=True):
    """One port."""

    name: Name
    host: str
    port: int
    implicit_tls: bool = False
    proxy_from: tuple[Network, ...] = ()
    """Peers in these networks must begin with a PROXY header; nobody else may. Empty = plain connections."""
    reuse_port: bool = False
    """Several workers share the port."""
    backlog: int = 512


class Company(msgspec.Struct, frozen=True):
    """A worker among the others that it shares long connections with."""

    worker: int
    workers: int
    directory: Path
    """For the sockets of all; nobody else may enter it."""

    @property
    def numbers(self) -> Path:
        """Where the supervisor has made `balance.Rows` for them."""
        return self.directory / "connections"
