"""Who may send as whom. Pure: an account and an address, or a header section, enter; yes or no, or a refusal leaves.

1. Everybody may send as their own account: its address, its aliases, its subaddresses. The rest is for the operator to
   grant, by address or by domain.
2. All authors count (RFC 5322 3.6.2): one that is not granted is one too many, and no author is as bad. Whatever looks
   like an address counts as one: readers do not agree on who wrote `alice@example.org <eve@example.org>`.
3. What is not seen is not granted: a header section that is cut off is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from relay.accounts.names import Naming
from relay.core.envelope import split_address
from relay.core.reply import Reply
from relay.inbound import replies
from relay.inbound.policy import ascii_domain
from relay.proto.mime.header import HeaderSection
from relay.world.completion import authors

EVERYBODY = "*"
_LONGEST = 4096
"""Octets of a From field that are read."""
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*"|\((?:[^()\\]++|\\.)*\)')
"""Quoted strings and comments: what nobody takes for an address."""
_ADDRESS = re.compile(rb'[^\s<>(),;:"@]++(?:@[^\s<>(),;:"@]*+)+')
"""With as many @ as there are: the last one counts, as everywhere."""


class Grant(msgspec.Struct, frozen=True):
    """Addresses, or whole domains (`@example.net`), that a user may send as besides their own."""

    user: str
    """A login, or EVERYBODY."""
    addresses: tuple[str, ...]


class Senders:
    """Decides."""

    def __init__(self, naming: Naming, grants: Iterable[Grant] = ()) -> None:
        self._naming = naming
        self._addresses: set[tuple[str, str]] = set()
        self._domains: set[tuple[str, str]] = set()
        for grant in grants:
            user = EVERYBODY if grant.user == EVERYBODY else naming.account_of_login(grant.user)
            for address in grant.addresses:
                local, domain = split_address(address)
                if local:
                    self._addresses.add((user, naming.full(address)))
                else:
                    self._domains.add((user, ascii_domain(domain)))

    def may(self, account: str, address: str) -> bool:
        """Whether the account may send as an address."""
        if account in (self._naming.account_of(address), self._naming.full(address)):
            return True
        full = self._naming.full(address)
        domain = ascii_domain(split_address(full)[1])
        users = (account, EVERYBODY)
        return any((user, full) in self._addresses or (user, domain) in self._domains for user in users)

    def refuses_sender(self, account: str, reverse_path: str) -> Reply | None:
        """A reverse-path; the null one is what receipts are sent with (RFC 8098 3)."""
        return None if not reverse_path or self.may(account, reverse_path) else replies.NOT_YOUR_SENDER

    def refuses_header(self, account: str, header: HeaderSection) -> Reply | None:
        """A message by its header section."""
        if not header.complete:
            return replies.HEADER_TOO_BIG
        fields = list(header.all(b"from"))
        found = {*authors(header), *(address for field in fields for address in _look_like(field))}
        if not found or any(len(field) > _LONGEST for field in fields):
            return replies.NO_FROM
        return None if all(self.may(account, author) for author in found) else replies.NOT_YOUR_FROM


def _look_like(field: bytes) -> list[str]:
    """What a reader might take for an address."""
    plain = _TEXT.sub(b" ", field[:_LONGEST])
    return [word.decode("utf-8", "replace") for word in _ADDRESS.findall(plain)]
