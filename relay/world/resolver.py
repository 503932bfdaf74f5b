"""What the DNS says about where mail goes: names in, `Found` out, with the question answered whether it is certain.

1. "No such name" and "no such record" are answers; silence, SERVFAIL and nonsense are FAILED, which is temporary.
2. An answer is kept for its TTL, within bounds; the memory is bounded; a failure is kept for moments only.
3. `secure` is set only when the servers are configured as validating and said so (AD, RFC 6840 5.8) about this answer.
4. Names go out as A-labels (RFC 5891 4.4); every question has a deadline.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from enum import Enum, auto
from typing import Generic, TypeVar

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.resolver
import msgspec
from dns.rdata import Rdata
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.TLSA import TLSA
from dns.rdtypes.ANY.TXT import TXT

from relay.core.clock import Clock
from relay.primary.lookup import Exchanger
from relay.world.dane import Tlsa
from relay.world.settings import DnsSettings

T = TypeVar("T")
_NEGATIVE_SECONDS = 60.0
"""How long "there is none" is kept where the answer does not say."""
_PAYLOAD = 1232


class State(Enum):
    """What kind of answer it is."""

    FOUND = auto()
    NO_RECORD = auto()
    NO_NAME = auto()
    FAILED = auto()
    """Nobody knows."""


class Found(msgspec.Struct, Generic[T], frozen=True):
    """One answer."""

    state: State
    values: tuple[T, ...] = ()
    secure: bool = False
    canonical: str = ""
    """The name at the end of the CNAME chain; lower case, no trailing dot."""


class _Answer(msgspec.Struct, frozen=True):
    state: State
    records: tuple[Rdata, ...] = ()
    secure: bool = False
    canonical: str = ""
    seconds: float = 0.0


class Resolver:
    """One per process; asks in the loop that it is used in."""

    def __init__(self, settings: DnsSettings, clock: Clock) -> None:
        """OSError: no server is named, here or by the system."""
        self._settings = settings
        self._clock = clock
        self._memory: OrderedDict[tuple[str, str], tuple[_Answer, float]] = OrderedDict()
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not settings.servers)
        except dns.resolver.NoResolverConfiguration as error:
            raise OSError("no name server is configured") from error
        if settings.servers:
            self._resolver.nameservers = list(settings.servers)
            self._resolver.port = settings.port
        if settings.validates:
            # RFC 6840 5.7: AD in the question asks for AD in the answer, without the signatures themselves.
            self._resolver.flags = dns.flags.RD | dns.flags.AD
        self._resolver.use_edns(0, 0, _PAYLOAD)

    async def exchangers(self, domain: str) -> Found[Exchanger]:
        """MX records as they come. The null MX has an empty host."""

        def read(record: Rdata) -> Exchanger | None:
            if not isinstance(record, MX):
                return None
            host = "" if record.exchange == dns.name.root else record.exchange.to_text(omit_final_dot=True).lower()
            return Exchanger(record.preference, host)

        return await self._read(domain, "MX", read)

    async def addresses(self, host: str) -> Found[str]:
        """A, then AAAA. FAILED only when nothing was found and one of the two is not known."""
        four = await self._read(host, "A", str)
        six = await self._read(host, "AAAA", str)
        values = four.values + six.values
        if values:
            secure = all(one.secure for one in (four, six) if one.values)
            return Found(State.FOUND, values, secure, (four if four.values else six).canonical)
        return six if six.state is State.FAILED else four

    async def texts(self, name: str) -> Found[str]:
        """TXT records, the strings of each joined (RFC 7208 3.3, the same in RFC 8461 3.1)."""

        def read(record: Rdata) -> str | None:
            return b"".join(record.strings).decode("ascii", "replace") if isinstance(record, TXT) else None

        return await self._read(name, "TXT", read)

    async def tlsa(self, host: str, port: int) -> Found[Tlsa]:
        """TLSA records for a port (RFC 6698 3)."""

        def read(record: Rdata) -> Tlsa | None:
            return Tlsa(record.usage, record.selector, record.mtype, record.cert) if isinstance(record, TLSA) else None

        return await self._read(f"_{port}._tcp.{host}", "TLSA", read)

    async def _read(self, name: str, kind: str, read: Callable[[Rdata], T | None]) -> Found[T]:
        answer = await self._ask(name, kind)
        values = tuple(value for value in map(read, answer.records) if value is not None)
        state = State.NO_RECORD if answer.state is State.FOUND and not values else answer.state
        return Found(state, values, answer.secure, answer.canonical)

    async def _ask(self, name: str, kind: str) -> _Answer:
        key = (name, kind)
        known = self._memory.get(key)
        if known is not None and known[1] > self._clock.monotonic():
            self._memory.move_to_end(key)
            return known[0]
        answer = await self._question(name, kind)
        self._memory[key] = answer, self._clock.monotonic() + min(answer.seconds, self._settings.most_kept)
        self._memory.move_to_end(key)
        if len(self._memory) > self._settings.remembered:
            self._memory.popitem(last=False)
        return answer

    async def _question(self, name: str, kind: str) -> _Answer:
        try:
            answer = await self._resolver.resolve(
                f"{name}.", kind, lifetime=self._settings.seconds, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN as error:
            responses = error.kwargs["responses"].values()
            secure = self._settings.validates and all(one.flags & dns.flags.AD for one in responses)
            return _Answer(State.NO_NAME, secure=secure, canonical=name, seconds=_NEGATIVE_SECONDS)
        except (dns.exception.DNSException, OSError, ValueError):
            return _Answer(State.FAILED, seconds=self._settings.failure_kept)
        secure = self._settings.validates and bool(answer.response.flags & dns.flags.AD)
        canonical = answer.canonical_name.to_text(omit_final_dot=True).lower()
        records = tuple(answer)
        if not records:
            return _Answer(State.NO_RECORD, secure=secure, canonical=canonical, seconds=_NEGATIVE_SECONDS)
        seconds = float(answer.chaining_result.minimum_ttl)
        return _Answer(State.FOUND, records, secure, canonical, seconds)


def a_label(domain: str) -> str:
    """A domain as it is asked for and compared: A-labels, lower case, no trailing dot. ValueError: it is none."""
    try:
        name = dns.name.from_text(domain, idna_codec=dns.name.IDNA_2008_UTS_46)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError("not a domain") from error
    if not any(name.labels):
        raise ValueError("the root is no domain")
    return name.to_text(omit_final_dot=True).lower()
