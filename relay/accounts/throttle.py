"""How many wrong passwords an address or an account may try: token buckets in tables of bounded size. No clock of its
own, no waiting: it says how long to wait."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Hashable

import msgspec


class ThrottleSettings(msgspec.Struct, frozen=True):
    """How patient we are."""

    failures: int = 10
    """Wrong passwords per client network or account and window."""
    window: float = 600.0
    """Seconds in which a spent allowance comes back whole."""
    entries: int = 20_000
    """Buckets of each kind."""
    first_delay: float = 0.25
    longest_delay: float = 4.0


class _Buckets:
    """What is spent, by key; a key that is not there has spent nothing."""

    def __init__(self, settings: ThrottleSettings) -> None:
        self._settings = settings
        self._spent: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def spent(self, key: Hashable, now: float) -> float:
        """Failures that still count."""
        level, at = self._spent.get(key, (0.0, now))
        return max(0.0, level - (now - at) * self._settings.failures / self._settings.window)

    def spend(self, key: Hashable, now: float) -> None:
        """One failure more. The longest untouched bucket makes room."""
        self._spent[key] = (min(self.spent(key, now) + 1, self._settings.failures), now)
        self._spent.move_to_end(key)
        while len(self._spent) > self._settings.entries:
            self._spent.popitem(last=False)


class Throttle:
    """Counts failures; a pair of account and network that has logged in before is never locked out by others."""

    def __init__(self, settings: ThrottleSettings) -> None:
        self._settings = settings
        self._accounts = _Buckets(settings)
        self._networks = _Buckets(settings)
        self._pairs = _Buckets(settings)
        self._trusted: OrderedDict[tuple[bytes, str], None] = OrderedDict()

    def admits(self, account: bytes, client: str, now: float) -> bool:
        """Whether an attempt may be made."""
        return self._count(account, client, now) <= self._settings.failures - 1

    def failed(self, account: bytes, client: str, now: float) -> float:
        """A wrong password: seconds to let the client wait for its answer, growing with every failure."""
        place = network(client)
        before = self._count(account, client, now)
        self._accounts.spend(account, now)
        self._networks.spend(place, now)
        self._pairs.spend((account, place), now)
        return min(self._settings.first_delay * math.pow(2, before), self._settings.longest_delay)

    def succeeded(self, account: bytes, client: str) -> None:
        """The right password."""
        pair = (account, network(client))
        self._trusted[pair] = None
        self._trusted.move_to_end(pair)
        while len(self._trusted) > self._settings.entries:
            self._trusted.popitem(last=False)

    def _count(self, account: bytes, client: str, now: float) -> float:
        place = network(client)
        if (account, place) in self._trusted:
            return self._pairs.spent((account, place), now)
        return max(self._accounts.spent(account, now), self._networks.spent(place, now))


def network(client: str) -> str:
    """What one client can easily change is one client: an IPv6 /64, an IPv4 address (mapped ones too)."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return str(address)
