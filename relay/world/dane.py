"""DANE for SMTP (RFC 7672): TLSA records and the chain that a server shows in, "may be used" out. No I/O.

1. Only usages DANE-TA(2) and DANE-EE(3) count, selectors 0 and 1, matching types 0, 1 and 2; the rest is unusable, and
   a set of nothing but unusable records still asks for encryption (RFC 7672 2.2).
2. DANE-EE: the record alone decides, neither the name nor the dates of the certificate do (RFC 7672 3.1.1).
3. DANE-TA: a certificate of the chain matches, the server's leads to it, and its name is one of the names
   (RFC 7672 3.1.2, 3.2.2).
4. A record that nothing matches is no reason to look elsewhere: the connection is not used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from relay.vault.chains import is_valid_under, public_key_info

DANE_TA, DANE_EE = 2, 3
_LENGTHS = {1: 32, 2: 64}
_MOST_CERTIFICATES = 10


class Tlsa(msgspec.Struct, frozen=True):
    """One TLSA record (RFC 6698 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def usable(self) -> bool:
        """Invariant 1."""
        known = self.usage in (DANE_TA, DANE_EE) and self.selector in (0, 1) and self.matching in (0, 1, 2)
        return known and bool(self.data) and len(self.data) == _LENGTHS.get(self.matching, len(self.data))

    def matches(self, certificate: bytes) -> bool:
        """Whether it names this certificate."""
        chosen = certificate if self.selector == 0 else public_key_info(certificate)
        if chosen is None:
            return False
        match self.matching:
            case 1:
                return hashlib.sha256(chosen).digest() == self.data
            case 2:
                return hashlib.sha512(chosen).digest() == self.data
            case _:
                return chosen == self.data


def usable(records: Iterable[Tlsa]) -> tuple[Tlsa, ...]:
    """The records that count."""
    return tuple(record for record in records if record.usable)


def permits(records: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: float) -> bool:
    """Whether a server with this chain is the one that the records name. `now` is Unix time."""
    if not chain:
        return False
    if any(record.usage == DANE_EE and record.matches(chain[0]) for record in records):
        return True
    anchors = [record for record in records if record.usage == DANE_TA]
    for certificate in chain[1:_MOST_CERTIFICATES] if anchors else ():
        if any(one.matches(certificate) for one in anchors) and is_valid_under(chain, certificate, names, now):
            return True
    # RFC 7671 5.2.2: a record with the whole certificate stands in for one that the server does not send.
    whole = (one.data for one in anchors if one.selector == 0 and one.matching == 0)
    return any(is_valid_under(chain, certificate, names, now) for certificate in whole)
