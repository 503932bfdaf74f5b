"""Who may send to whom. Pure: an address and a login enter, a refusal or None leaves.

1. Mail is taken for the domains that are ours and for the bare postmaster (`postmaster` turns our own names into that);
   for others only from users who are logged in: no open relay.
2. A local part that could be a route (`%`, `!`, `@`, quoted or not) is refused: behind us the primary may trust us, and
   follow it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from relay.core.envelope import is_postmaster, split_address
from relay.core.reply import Reply
from relay.inbound import replies
from relay.proto.smtp.path import unquoted

_ROUTING = frozenset("%!@")


class RelayPolicy(Protocol):
    """Decides before the primary or the directory is asked."""

    def refuses(self, address: str, *, login: str | None) -> Reply | None:
        """The refusal of a recipient; None = go on."""
        ...


def ascii_domain(domain: str) -> str:
    """The form in which domains are compared: lower case, no trailing dot, A-labels where they can be made."""
    plain = domain.removesuffix(".").casefold()
    if plain.isascii():
        return plain
    try:
        return plain.encode("idna").decode("ascii")
    except UnicodeError:
        return plain


class LocalDomainsOnly:
    """Recipients in our own domains; a login makes no difference."""

    def __init__(self, domains: Iterable[str]) -> None:
        self._domains = frozenset(ascii_domain(domain) for domain in domains)

    def has(self, address: str) -> bool:
        """Whether its domain is one of ours."""
        return ascii_domain(split_address(address)[1]) in self._domains

    def refuses(self, address: str, *, login: str | None) -> Reply | None:
        """Invariants 1 and 2."""
        del login
        local, domain = split_address(address)
        if not domain:
            return None if is_postmaster(address) else replies.NO_RELAY  # RFC 5321 4.5.1
        if not self.has(address):
            return replies.NO_RELAY
        if _ROUTING & set(unquoted(local)):
            return replies.NO_ROUTING
        return None


class UsersMayWrite:
    """For users who are logged in: whoever it is, and in our own domains as for everybody."""

    def __init__(self, ours: LocalDomainsOnly) -> None:
        self._ours = ours

    def refuses(self, address: str, *, login: str | None) -> Reply | None:
        """Invariants 1 and 2."""
        foreign = bool(split_address(address)[1]) and not self._ours.has(address)
        return None if foreign and login is not None else self._ours.refuses(address, login=login)
