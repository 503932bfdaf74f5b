"""Keyed names: how an address, a folder or a Message-ID is looked up without being stored.

Each purpose has its own domain in the MAC, so equal texts in different roles cannot be linked.
"""

from __future__ import annotations

from relay.core.envelope import canonical, split_address
from relay.store.records import Mac, NewAccount
from relay.vault.sealing import Vault

INBOX = "INBOX"


class Names:
    """MACs of the words that name people and things."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def recipient(self, address: str) -> Mac:
        """Look-up key of a recipient address, whatever its case."""
        return self._vault.mac("recipient", canonical(address))

    def domain(self, address: str) -> Mac:
        """Look-up key of an address's domain."""
        return self._vault.mac("domain", split_address(canonical(address))[1])

    def account(self, address: str) -> Mac:
        """Look-up key of the account that reads mail for `address` (already mapped by the directory)."""
        return self._vault.mac("account", canonical(address))

    def folder(self, account: Mac, name: str) -> Mac:
        """Look-up key of a mailbox name within an account. INBOX is case-insensitive."""  # RFC 9051 5.1
        folded = INBOX if name.upper() == INBOX else name
        return self._vault.mac("folder", account + folded.encode())

    def message_id(self, message_id: bytes) -> Mac:
        """Look-up key of a Message-ID header's value without white space."""
        return self._vault.mac("message-id", message_id)

    def dedup(self, envelope: bytes, body_digest: bytes) -> Mac:
        """Key of "the same message again": same envelope, same bytes."""
        return self._vault.mac("dedup", body_digest + envelope)

    def new_account(self, address: str) -> NewAccount:
        """The rows that a first message or login creates."""
        mac = self.account(address)
        return NewAccount(
            mac=mac,
            address=self._vault.seal("account", canonical(address).encode()),
            inbox_mac=self.folder(mac, INBOX),
            inbox_name=self._vault.seal("folder", INBOX.encode()),
        )
