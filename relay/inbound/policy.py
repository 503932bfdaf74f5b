"""Who may send to whom. Pure: an address and a login enter, a refusal or None leaves.

1. Mail is taken for the domains that are ours and for the postmaster, for nobody else, whoever asks: no open relay.
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
    """Recipients in our own domains; a login makes no difference but in the words of the refusal."""

    def __init__(self, domains: Iterable[str]) -> None:
        self._domains = frozenset(ascii_domain(domain) for domain in domains)

    def refuses(self, address: str, *, login: str | None) -> Reply | None:
        """Invariants 1 and 2."""
        local, domain = split_address(address)
        if not domain:
            return None if is_postmaster(address) else replies.NO_RELAY  # RFC 5321 4.5.1
        if ascii_domain(domain) not in self._domains:
            return replies.NO_RELAY if login is None else replies.NOT_TO_THE_WORLD
        if _ROUTING & set(unquoted(local)):
            return replies.NO_ROUTING
        return None
