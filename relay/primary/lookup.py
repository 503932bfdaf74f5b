"""What the DNS says about mail: names in, answers or None out; every question has a deadline."""

from __future__ import annotations

from typing import NamedTuple

import dns.asyncresolver
import dns.exception
import dns.resolver
import dns.reversename
import msgspec
from dns.rdtypes.ANY.MX import MX


class Exchanger(msgspec.Struct, frozen=True, order=True):
    """One MX record."""

    preference: int
    host: str
    """Lower case, no trailing dot."""


class Values(msgspec.Struct, frozen=True):
    """What one answer says; empty where there is nothing."""

    values: tuple[str, ...] = ()
    seconds: float = 0.0
    """How long they hold (the TTL); 0 for nothing."""


class _Answer(NamedTuple):
    records: list[object]
    seconds: float


class Dns:
    """Asks the system's name servers, or the one given."""

    def __init__(self, seconds: float, *, server: tuple[str, int] | None = None) -> None:
        """`seconds` bounds each question, retries included. OSError: the system names no server."""
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=server is None)
        except dns.resolver.NoResolverConfiguration as error:
            raise OSError("no name server is configured") from error
        if server is not None:
            self._resolver.nameservers = [server[0]]
            self._resolver.port = server[1]
        self._seconds = seconds

    async def mail_exchangers(self, domain: str) -> list[Exchanger] | None:
        """MX records, best first; empty where the domain has none; None when the DNS did not answer."""
        answer = await self._ask(domain, "MX")
        if answer is None:
            return None
        records = [record for record in answer.records if isinstance(record, MX)]
        return sorted(Exchanger(one.preference, one.exchange.to_text(omit_final_dot=True).lower()) for one in records)

    async def addresses(self, host: str) -> list[str] | None:
        """A and AAAA records; empty where there are none; None when the DNS did not answer."""
        four, six = await self.hosts(host, 4), await self.hosts(host, 6)
        found = [one.values for one in (four, six) if one is not None]
        return [value for values in found for value in values] if found else None

    async def names(self, address: str) -> list[str] | None:
        """PTR records of an IP address, lower case, no trailing dot; None when the DNS did not answer."""
        found = await self.pointers(address)
        return None if found is None else list(found.values)

    async def pointers(self, address: str) -> Values | None:
        """As `names`, with the time that they hold."""
        answer = await self._ask(dns.reversename.from_address(address).to_text(), "PTR")
        if answer is None:
            return None
        return Values(tuple(str(one).rstrip(".").lower() for one in answer.records), answer.seconds)

    async def hosts(self, name: str, version: int) -> Values | None:
        """Addresses of a name in one version of IP, 4 or 6; None when the DNS did not answer."""
        answer = await self._ask(name, "AAAA" if version == 6 else "A")
        return None if answer is None else Values(tuple(map(str, answer.records)), answer.seconds)

    async def records(self, name: str, kind: str) -> list[str] | None:
        """Records of any kind as a zone file writes them, in lower case; None when the DNS did not answer."""
        answer = await self._ask(name, kind)
        return None if answer is None else sorted(str(one).lower() for one in answer.records)

    async def _ask(self, name: str, kind: str) -> _Answer | None:
        try:
            answer = await self._resolver.resolve(
                name, kind, lifetime=self._seconds, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN:
            return _Answer([], 0.0)
        except (dns.exception.DNSException, OSError):
            return None
        records = list(answer)
        return _Answer(records, float(answer.chaining_result.minimum_ttl) if records else 0.0)
