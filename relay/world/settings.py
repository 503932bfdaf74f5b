"""What the way to the world is told; frozen values that `wiring` fills from the configuration."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

import msgspec

from relay.primary.settings import Deadlines, Endpoint, PoolSettings
from relay.proto.sasl.credentials import Credentials

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_NOWHERE = (
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
    "::/127", "fe80::/10", "ff00::/8",
)  # fmt: skip


class DnsSettings(msgspec.Struct, frozen=True):
    """How the DNS is asked."""

    servers: tuple[str, ...] = ()
    """IP addresses; empty = the system's."""
    port: int = 53
    validates: bool = False
    """The servers validate DNSSEC, and the way to them is trusted: their AD flag is believed (RFC 7672 2.1)."""
    seconds: float = 10.0
    """For one question, retries included."""
    remembered: int = 10_000
    """Answers that are kept."""
    most_kept: float = 3600.0
    """Seconds that an answer is kept at most, whatever its TTL."""
    failure_kept: float = 5.0


class Smarthost(msgspec.Struct, frozen=True):
    """Everything goes through this server."""

    endpoint: Endpoint
    credentials: Credentials | None = None


class WorldSettings(msgspec.Struct, frozen=True):
    """The way out."""

    hostname: str
    """How we greet, and a name that is never delivered to."""
    smarthost: Smarthost | None = None
    """None = by MX."""
    own_names: tuple[str, ...] = ()
    """More names that MX records may call us by."""
    own_addresses: tuple[str, ...] = ()
    nowhere: tuple[Network, ...] = tuple(map(ipaddress.ip_network, _NOWHERE))
    """Addresses that the DNS may name and that are never connected to."""
    port: int = 25
    mta_sts: bool = True
    dane: bool = True
    ca_file: str | None = None
    """Trust this instead of the system's authorities, for MTA-STS."""
    deadlines: Deadlines = Deadlines(open=60.0, command=120.0, block=180.0, final=600.0)
    """RFC 5321 4.5.3.2, a little shorter: a queue waits behind each."""
    pool: PoolSettings = PoolSettings(connections=4, wait=60.0, idle=5.0, age=300.0, uses=100)
    """Connections to one server; with a smarthost, all there are."""
    connections: int = 40
    """Transactions at a time over all servers."""
    pools: int = 100
    """Servers that connections are kept to."""
    domains: int = 5
    """Domains of one message that are delivered to at a time."""
    exchangers: int = 5
    """Servers of a domain that one attempt tries."""
    recipients: int = 100
    """Of one transaction (RFC 5321 4.5.3.1.8)."""


class StsSettings(msgspec.Struct, frozen=True):
    """How MTA-STS policies are fetched and kept (RFC 8461 3.3, 5.1)."""

    port: int = 443
    ca_file: str | None = None
    seconds: float = 30.0
    """For one fetch as a whole."""
    most_bytes: int = 65_536
    remembered: int = 2_000
    """Policies that are kept."""
    again_after: float = 300.0
    """Seconds after a failed fetch before the next."""
