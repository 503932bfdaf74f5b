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


def is_loopback(text: str) -> bool:
    """Whether a client that connects from there is on this machine; what is no address is not."""
    address = parsed(text)
    return address is not None and address.is_loopback


def neighbourhood(text: str) -> str:
    """What one client can easily change is one client: an IPv4 address (mapped ones too), or the /64 of an IPv6 one.

    What is no address is its own neighbourhood.
    """
    if ":" not in text:
        return text  # IPv4 has one spelling
    address = parsed(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return text if address is None else str(address)
