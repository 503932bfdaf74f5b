"""Who is an address, by the DNS: its PTR name, if that name has the address (forward-confirmed, RFC 8601 3).

Enters: the address of an SMTP client. Leaves: a valid host name, none, or "not known for now".

1. A look-up takes no longer than `seconds`, waits for its turn included; what is not known by then is deferred.
2. One look-up at a time per address, `at_once` over all; beyond `most_waiting` unfinished ones more are deferred.
3. Whoever waits may be cancelled; the look-up goes on for the others, and for the memory, until `stop`.
4. The memory is bounded, and holds each kind of answer within bounds of its own, whatever TTL the peer's DNS claims.
5. A name is letters, digits, hyphen and underscore in labels of 1 to 63, 253 in all, the last one not a number: what
   else a PTR record holds is no name. `MOST_POINTERS` of them are tried.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

from relay.core.clock import Clock
from relay.core.ip import Ip, parsed
from relay.obs.logs import logger

if TYPE_CHECKING:
    from relay.primary.lookup import Values  # imports dnspython, which no start of the relay waits for

_log = logger("primary.client_names")

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_POINTERS = 4
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_LONGEST = 253


class ClientName(msgspec.Struct, frozen=True):
    """What a look-up found."""

    name: str | None = None
    deferred: bool = False
    """There may be a name; the DNS did not say."""


NO_NAME = ClientName()
DEFERRED = ClientName(deferred=True)


class ClientNamesSettings(msgspec.Struct, frozen=True):
    """Times in seconds."""

    excluded: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
    """Clients that nothing is asked about: they have no name."""
    seconds: float = 3.0
    at_once: int = 50
    most_waiting: int = 1000
    remembered: int = 10_000
    name_least: float = 30.0
    name_most: float = 3600.0
    none_for: float = 300.0
    deferred_for: float = 30.0


class Questions(Protocol):
    """`primary.lookup.Dns`, as far as it is asked here."""

    async def pointers(self, address: str) -> Values | None:
        """PTR; None = no answer."""
        ...

    async def hosts(self, name: str, version: int) -> Values | None:
        """A or AAAA; None = no answer."""
        ...


class ClientNames:
    """One per worker."""

    def __init__(self, opening: Callable[[float], Questions], clock: Clock, settings: ClientNamesSettings) -> None:
        """`opening` is called with the seconds per question when the first is due, in a thread. OSError defers."""
        self._opening = opening
        self._clock = clock
        self._settings = settings
        self._dns: Questions | None = None
        self._turns = asyncio.Semaphore(settings.at_once)
        self._flights: dict[str, asyncio.Task[ClientName]] = {}
        self._memory: OrderedDict[str, tuple[ClientName, float]] = OrderedDict()

    def begin(self, address: str) -> ClientName | None:
        """What is known at once; else None, and a look-up is under way."""
        known = self._memory.get(address)
        if known is not None and known[1] > self._clock.monotonic():
            self._memory.move_to_end(address)
            return known[0]
        if address in self._flights:
            return None
        ip = parsed(address)
        if ip is None:
            return NO_NAME
        if any(ip in network for network in self._settings.excluded):
            return self._keep(address, NO_NAME, self._settings.name_most)
        if len(self._flights) >= self._settings.most_waiting:
            return DEFERRED
        self._flights[address] = asyncio.get_running_loop().create_task(self._fly(address, ip))
        return None

    async def name_of(self, address: str) -> ClientName:
        """The answer, within the deadline; of the look-up that has begun, where there is one."""
        known = self.begin(address)
        if known is not None:
            return known
        flight = self._flights[address]
        await asyncio.wait((flight,))  # unlike `await flight`, this does not cancel it with us
        return DEFERRED if flight.cancelled() else flight.result()

    async def stop(self) -> None:
        """Give up what is under way; who waits for it gets DEFERRED. Idempotent."""
        flights = tuple(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        self._flights.clear()  # one that was cancelled before its first step has not left by itself

    async def _fly(self, address: str, ip: Ip) -> ClientName:
        found, holds = DEFERRED, 0.0
        try:
            async with asyncio.timeout(self._settings.seconds), self._turns:
                found, holds = await self._confirmed(ip)
        except OSError:  # TimeoutError is one; so is a system without name servers
            pass
        except Exception as error:  # a name is never worth a message: deferred, and seen in the log
            _log.exception("look_up_failed", exc_info=error)
        finally:
            self._flights.pop(address, None)
        return self._keep(address, found, self._bounded(found, holds))

    async def _confirmed(self, address: Ip) -> tuple[ClientName, float]:
        if self._dns is None:
            self._dns = await asyncio.to_thread(self._opening, self._settings.seconds)
        pointers = await self._dns.pointers(str(address))
        if pointers is None:
            return DEFERRED, 0.0
        answered = True
        names = dict.fromkeys(host_name(text) for text in pointers.values[:MOST_POINTERS])
        for name in filter(None, names):
            hosts = await self._dns.hosts(name, address.version)
            if hosts is None:
                answered = False
            elif any(parsed(value) == address for value in hosts.values):
                return ClientName(name), min(pointers.seconds, hosts.seconds)
        return (NO_NAME if answered else DEFERRED), 0.0

    def _bounded(self, found: ClientName, holds: float) -> float:
        settings = self._settings
        if found.name is not None:
            return min(max(holds, settings.name_least), settings.name_most)
        return settings.deferred_for if found.deferred else settings.none_for

    def _keep(self, address: str, found: ClientName, seconds: float) -> ClientName:
        self._memory[address] = found, self._clock.monotonic() + seconds
        self._memory.move_to_end(address)
        if len(self._memory) > self._settings.remembered:
            self._memory.popitem(last=False)
        return found


def open_dns(seconds: float) -> Questions:
    """The system's name servers. OSError: there are none. Takes a moment: it imports dnspython and reads files."""
    from relay.primary.lookup import Dns  # noqa: PLC0415  # a node whose clients are all local never needs it

    return Dns(seconds)


def host_name(text: str) -> str | None:
    """The name in lower case without its trailing dot, if it is one (invariant 5)."""
    if len(text) > _LONGEST + 1 or not text.isascii():
        return None
    name = text.removesuffix(".").lower()
    labels = name.split(".")
    # A last label of digits would pass for an address (RFC 1123 2.1).
    if len(name) > _LONGEST or labels[-1].isdigit() or not all(map(_LABEL.fullmatch, labels)):
        return None
    return name
