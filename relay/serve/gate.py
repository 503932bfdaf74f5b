"""How many connections there are, in all and per address."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Literal

from relay.serve.settings import Limits

Entry = Literal["accepted", "too_many", "too_many_from_address"]


def neighbourhood(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.IPv6Network((ip, 64), strict=False))
    return str(ip)


class Gate:
    """Counts; one per worker. What was entered must be left."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address: Counter[str] = Counter()
        self.open = 0

    def enter(self, address: str) -> Entry:
        """Count a connection in, unless there are too many."""
        key = neighbourhood(address)
        if self.open >= self._limits.connections:
            return "too_many"
        if self._by_address[key] >= self._limits.connections_per_address:
            return "too_many_from_address"
        self.open += 1
        self._by_address[key] += 1
        return "accepted"

    def leave(self, address: str) -> None:
        """Count it out."""
        key = neighbourhood(address)
        self.open -= 1
        self._by_address[key] -= 1
        if self._by_address[key] <= 0:
            del self._by_address[key]
