"""Who lives on the test primaries: the same names, passwords and domain in Postfix and Dovecot."""

from __future__ import annotations

from typing import Final

DOMAIN: Final = "example.org"
OTHER_DOMAIN: Final = "example.com"
"""A second domain that the primary takes mail for."""
NAMES: Final = ("alice", "bob", "carol", "dave", "erin", "frank", "postmaster", *(f"u{n:03}" for n in range(100)))
PEOPLE: Final = tuple(f"{name}@{domain}" for domain in (DOMAIN, OTHER_DOMAIN) for name in NAMES)
MASTER_USER: Final = "standby"
MASTER_PASSWORD: Final = "master-of-all-mailboxes"
MAIL_UID: Final = 20_000
"""Owner of every mailbox file, without an entry in /etc/passwd; Postfix's virtual(8) and Dovecot both use it."""


def password_of(address: str) -> str:
    """The password that Dovecot knows for an address until a test changes it."""
    return f"secret of {address}"
