"""IP addresses as peers, sockets and configurations write them: text enters, an address or None leaves."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def parsed(text: str) -> Ip | None:
    """Without its zone, and as IPv4 where a socket that takes both wrote it as ::ffff:192.0.2.1; None = none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
