"""Which servers take mail for a domain, in the order in which they are tried (RFC 5321 5.1).

A domain enters; a `Way` leaves, or the reply that its recipients get instead.

1. MX by preference, at random within one preference; without MX the domain's own addresses; a null MX takes nothing
   (RFC 7505).
2. What the DNS does not answer is temporary; what it denies is permanent.
3. Never to ourselves: a host that bears our name or address ends the list, with all others of its preference
   (RFC 5321 5.1); if nothing is left before it, the mail would loop.
4. Addresses that lead nowhere (loopback, link-local, multicast) are passed over, whoever names them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Callable, Sequence

import msgspec

from relay.core.ip import parsed
from relay.core.reply import Reply, reply
from relay.primary.lookup import Exchanger
from relay.proto.smtp.path import is_literal
from relay.world.resolver import Resolver, State, a_label
from relay.world.settings import WorldSettings

NO_DOMAIN = reply(550, "5.1.2 The domain does not exist")
NO_SERVER = reply(550, "5.4.4 The domain has no mail server")
TAKES_NO_MAIL = reply(556, "5.1.10 The domain takes no mail (null MX)")
LOOP = reply(554, "5.4.6 The domain's mail would come back to this server")
MALFORMED = reply(553, "5.1.2 The domain is malformed")
DNS_SILENT = reply(451, "4.4.3 The DNS did not answer")


class Host(msgspec.Struct, frozen=True):
    """A server that may take the mail."""

    name: str
    """Whom its certificate must name."""
    addresses: tuple[str, ...]
    secure: bool = False
    """The DNS vouches for the addresses."""
    canonical: str = ""
    """Where its CNAME leads; the name itself where it has none."""


class Way(msgspec.Struct, frozen=True):
    """The servers of a domain, by name: their addresses are looked up when they are tried."""

    domain: str
    exchangers: tuple[Exchanger, ...]
    secure: bool = False
    """The DNS vouches for the list."""
    implicit: bool = False
    """There is no MX: the domain is its own server (RFC 5321 5.1)."""


class Router:
    """Finds the way."""

    def __init__(
        self, resolver: Resolver, settings: WorldSettings, *, fraction: Callable[[], float] = random.random
    ) -> None:
        """`fraction` in [0, 1) mixes hosts of one preference."""
        self._resolver = resolver
        self._settings = settings
        self._fraction = fraction
        self._own_names = {name.rstrip(".").lower() for name in (settings.hostname, *settings.own_names)}
        self._own_addresses = {ipaddress.ip_address(text) for text in settings.own_addresses}

    def permitted(self, address: str) -> bool:
        """Whether an address may be connected to (invariant 4)."""
        ip = parsed(address)
        return ip is not None and not any(ip in network for network in self._settings.nowhere)

    def is_own(self, address: str) -> bool:
        """Whether it is ours."""
        return parsed(address) in self._own_addresses

    async def way(self, domain: str) -> Way | Reply:
        """The servers of a domain as an envelope writes it, or why there are none."""
        if is_literal(domain):
            address = parsed(domain[1:-1].lower().removeprefix("ipv6:"))
            return MALFORMED if address is None else Way(domain, (Exchanger(0, str(address)),), implicit=True)
        try:
            name = a_label(domain)
        except ValueError:
            return MALFORMED
        found = await self._resolver.exchangers(name)
        match found.state:
            case State.FAILED:
                return DNS_SILENT
            case State.NO_NAME:
                return NO_DOMAIN
            case State.NO_RECORD:
                if name in self._own_names:
                    return LOOP
                return Way(name, (Exchanger(0, name),), secure=found.secure, implicit=True)
        listed = [one for one in found.values if one.host]
        if not listed:
            return TAKES_NO_MAIL  # RFC 7505 3
        kept = before_us(ordered(listed, self._fraction), lambda one: one.host in self._own_names)
        return Way(name, tuple(kept), secure=found.secure) if kept else LOOP

    async def hosts(self, way: Way) -> list[Host | Reply]:
        """The servers with their addresses, in order; a reply in place of one that cannot be tried. Never empty."""
        listed = way.exchangers[: self._settings.exchangers]
        found = await asyncio.gather(*(self._host(one.host, implicit=way.implicit) for one in listed))
        own = {
            one.host
            for one, host in zip(listed, found, strict=True)
            if isinstance(host, Host) and any(map(self.is_own, host.addresses))
        }
        kept = {one.host for one in before_us(listed, lambda one: one.host in own)}
        left = [host for one, host in zip(listed, found, strict=True) if one.host in kept]
        return [self._reachable(host) if isinstance(host, Host) else host for host in left] or [LOOP]

    def _reachable(self, host: Host) -> Host | Reply:
        permitted = tuple(filter(self.permitted, host.addresses))
        return msgspec.structs.replace(host, addresses=permitted) if permitted else NO_SERVER

    async def _host(self, name: str, *, implicit: bool) -> Host | Reply:
        if parsed(name) is not None:
            return Host(name, (name,), canonical=name)
        found = await self._resolver.addresses(name)
        if found.state is State.FAILED:
            return DNS_SILENT
        if not found.values:
            return NO_DOMAIN if implicit and found.state is State.NO_NAME else NO_SERVER
        return Host(name, found.values, found.secure, found.canonical or name)


def ordered(exchangers: Sequence[Exchanger], fraction: Callable[[], float]) -> list[Exchanger]:
    """By preference; at random within one (RFC 5321 5.1)."""
    return [one for _, _, one in sorted((one.preference, fraction(), one) for one in set(exchangers))]


def before_us(exchangers: Sequence[Exchanger], is_us: Callable[[Exchanger], bool]) -> list[Exchanger]:
    """Those of a better preference than ours (invariant 3); all of them where we are not among them."""
    ours = min((one.preference for one in exchangers if is_us(one)), default=None)
    return [one for one in exchangers if ours is None or one.preference < ours]
