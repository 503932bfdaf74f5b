"""How many wrong passwords an address or an account may try: token buckets in tables of bounded size. No clock of its
own, no waiting: it says how long to wait.

1. Strangers cannot lock a user out of where the user has logged in: there only the failures of that pair of account and
   network count.
2. A client that keeps trying one old password is one failure, not many: it locks nobody out of its office.
3. A success takes back what the same pair has spent, and nothing that others have: who has one good account cannot use
   it to go on guessing at others.
4. Failures from exempt networks (a webmail that speaks for everybody) count for their pair alone.

It counts per worker: with N workers an attacker has N times the tries, and as many delays.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import TypeAlias, TypeVar

import msgspec

from relay.core.ip import neighbourhood, parsed

_V = TypeVar("_V")
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


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
    exempt: tuple[Network, ...] = ()


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

    def refund(self, key: Hashable, amount: float, now: float) -> None:
        """So many failures did not happen."""
        left = self.spent(key, now) - amount
        if left > 0:
            self._spent[key] = (left, now)
        else:
            self._spent.pop(key, None)


class Throttle:
    """Counts failures."""

    def __init__(self, settings: ThrottleSettings) -> None:
        self._settings = settings
        self._accounts = _Buckets(settings)
        self._networks = _Buckets(settings)
        self._pairs = _Buckets(settings)
        self._trusted: OrderedDict[tuple[bytes, str], None] = OrderedDict()
        self._last: OrderedDict[tuple[bytes, str], bytes] = OrderedDict()
        """What each pair failed with last."""

    def admits(self, account: bytes, client: str, now: float) -> bool:
        """Whether an attempt may be made."""
        return self._count(account, client, now) <= self._settings.failures - 1

    def failed(self, account: bytes, client: str, now: float, secret: bytes = b"") -> float:
        """A wrong password (`secret`: a digest of it): seconds to let the client wait, growing with every failure."""
        pair = (account, neighbourhood(client))
        before = self._count(account, client, now)
        if not secret or self._last.get(pair) != secret:
            self._pairs.spend(pair, now)
            if not self._exempt(client):
                self._accounts.spend(account, now)
                self._networks.spend(pair[1], now)
        _touch(self._last, pair, secret, self._settings.entries)
        return min(self._settings.first_delay * math.pow(2, before), self._settings.longest_delay)

    def succeeded(self, account: bytes, client: str, now: float) -> None:
        """The right password."""
        pair = (account, neighbourhood(client))
        own = self._pairs.spent(pair, now)
        self._pairs.refund(pair, own, now)
        if not self._exempt(client):
            self._accounts.refund(account, own, now)
            self._networks.refund(pair[1], own, now)
        self._last.pop(pair, None)
        _touch(self._trusted, pair, None, self._settings.entries)

    def _count(self, account: bytes, client: str, now: float) -> float:
        place = neighbourhood(client)
        if (account, place) in self._trusted or self._exempt(client):
            return self._pairs.spent((account, place), now)
        return max(self._accounts.spent(account, now), self._networks.spent(place, now))

    def _exempt(self, client: str) -> bool:
        address = parsed(client)
        return address is not None and any(address in exempt for exempt in self._settings.exempt)


def _touch(table: OrderedDict[tuple[bytes, str], _V], key: tuple[bytes, str], value: _V, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)
