"""What the DNS says about mail: names in, answers or None out; every question has a deadline."""

from __future__ import annotations

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver
import dns.reversename
import msgspec
from dns.rdtypes.ANY.MX import MX


class Exchanger(msgspec.Struct, frozen=True, order=True):
    """One MX record."""

    preference: int
    host: str
    """Lower case, no trailing dot."""


async def mail_exchangers(domain: str, seconds: float) -> list[Exchanger] | None:
    """MX records, best first; empty where the domain has none; None when the DNS did not answer."""
    found = await _ask(domain, "MX", seconds)
    if found is None:
        return None
    records = [record for record in found if isinstance(record, MX)]
    return sorted(Exchanger(one.preference, one.exchange.to_text(omit_final_dot=True).lower()) for one in records)


async def addresses(host: str, seconds: float) -> list[str] | None:
    """A and AAAA records; empty where there are none; None when the DNS did not answer."""
    four = await _ask(host, "A", seconds)
    six = await _ask(host, "AAAA", seconds)
    return None if four is None and six is None else [str(one) for one in (*(four or ()), *(six or ()))]


async def names(address: str, seconds: float) -> list[str] | None:
    """PTR records of an IP address, lower case, no trailing dot; None when the DNS did not answer."""
    found = await _ask(dns.reversename.from_address(address).to_text(), "PTR", seconds)
    return None if found is None else [str(one).rstrip(".").lower() for one in found]


async def _ask(name: str, kind: str, seconds: float) -> list[object] | None:
    try:
        return list(await dns.asyncresolver.resolve(name, kind, lifetime=seconds, raise_on_no_answer=False))
    except dns.resolver.NXDOMAIN:
        return []
    except (dns.exception.DNSException, OSError):
        return None
