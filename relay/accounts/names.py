"""Which account a login or a recipient belongs to. Pure: addresses in, the account's address out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from relay.core.envelope import canonical, split_address


class NamingSettings(msgspec.Struct, frozen=True):
    """How names are read."""

    default_domain: str = ""
    """Added to a name without a domain."""
    aliases: Mapping[str, str] = {}
    """Canonical address to the address that reads its mail and may be used to log in."""
    separator: str = "+"
    """user+detail@ is read by user@ (RFC 5233); empty = off."""


class Naming:
    """One reading of names for logins, recipients and accounts."""

    def __init__(self, settings: NamingSettings) -> None:
        self._settings = settings
        self._aliases = {canonical(alias): canonical(target) for alias, target in settings.aliases.items()}

    def is_alias(self, address: str) -> bool:
        """Whether an address is configured as another name of an account."""
        return self.full(address) in self._aliases

    def full(self, name: str) -> str:
        """Canonical address of a name, with the default domain where it has none."""
        local, domain = split_address(name.strip())
        return canonical(f"{local}@{domain or self._settings.default_domain}")

    def base(self, address: str) -> str:
        """The address without its detail; the same where it has none."""
        full = self.full(address)
        separator = self._settings.separator
        local, domain = split_address(full)
        if not separator or local.startswith('"'):
            return full
        user = local.partition(separator)[0]
        return f"{user}@{domain}" if user and domain else full

    def account_of(self, address: str) -> str:
        """The account that reads mail for an address: alias of the whole, then of the address without its detail."""
        full = self.full(address)
        if full in self._aliases:
            return self._aliases[full]
        base = self.base(full)
        return self._aliases.get(base, base)

    def account_of_login(self, login: str) -> str:
        """The account that a login opens. A detail is part of a login: nobody logs in as `user+x` by accident."""
        full = self.full(login)
        return self._aliases.get(full, full)
