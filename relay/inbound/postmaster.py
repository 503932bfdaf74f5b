"""Which addresses are this relay's own postmaster. Pure: an address and where its sender connected to enter.

RFC 5321 4.5.1 wants mail for the postmaster of every name that a server answers to, without asking whether that name
has users: those who write to `postmaster@mx1.example.org` or `postmaster@[192.0.2.1]` have found something broken. Such
an address is taken as the bare `<postmaster>` is, which the primary must know too.

1. Only the postmaster, and only of our own name and addresses: no other local part, no other domain.
2. A domain that we take mail for keeps its own postmaster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from relay.core.envelope import canonical, split_address
from relay.core.ip import Ip, parsed
from relay.inbound.policy import ascii_domain
from relay.proto.smtp.path import is_literal, unquoted

BARE: Final = "postmaster"


class OwnPostmaster:
    """Knows our names and addresses."""

    def __init__(
        self, names: Iterable[str] = (), addresses: Iterable[str] = (), *, domains: Iterable[str] = ()
    ) -> None:
        """`domains` are those that mail is taken for."""
        theirs = {ascii_domain(domain) for domain in domains}
        self._names = frozenset(ascii_domain(name) for name in names) - theirs
        self._addresses = frozenset(filter(None, map(_parsed, addresses)))

    def heard(self, address: str, connected_to: Callable[[], str | None]) -> str:
        """The address as it is taken; `connected_to` tells our end of the connection, where there is one."""
        local, domain = split_address(address)
        if not domain or canonical(unquoted(local)) != BARE:
            return address
        if is_literal(domain):
            literal = _parsed(domain[1:-1])
            ours = literal is not None and (literal in self._addresses or literal == _parsed(connected_to() or ""))
        else:
            ours = ascii_domain(domain) in self._names
        return BARE if ours else address


def _parsed(text: str) -> Ip | None:
    return parsed(text[5:] if text[:5].casefold() == "ipv6:" else text)  # RFC 5321 4.1.3
