"""What the DNS says about mail: names in, answers or None out; every question has a deadline."""

from __future__ import annotations

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
        found = await self._ask(domain, "MX")
        if found is None:
            return None
        records = [record for record in found if isinstance(record, MX)]
        return sorted(Exchanger(one.preference, one.exchange.to_text(omit_final_dot=True).lower()) for one in records)

    async def addresses(self, host: str) -> list[str] | None:
        """A and AAAA records; empty where there are none; None when the DNS did not answer."""
        four, six = await self._ask(host, "A"), await self._ask(host, "AAAA")
        return None if four is None and six is None else [str(one) for one in (*(four or ()), *(six or ()))]

    async def names(self, address: str) -> list[str] | None:
        """PTR records of an IP address, lower case, no trailing dot; None when the DNS did not answer."""
        found = await self._ask(dns.reversename.from_address(address).to_text(), "PTR")
        return None if found is None else [str(one).rstrip(".").lower() for one in found]

    async def _ask(self, name: str, kind: str) -> list[object] | None:
        try:
            answer = await self._resolver.resolve(
                name, kind, lifetime=self._seconds, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN:
            return []
        except (dns.exception.DNSException, OSError):
            return None
        return list(answer)
