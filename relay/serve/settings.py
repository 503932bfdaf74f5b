"""What the IMAP front can be told; frozen values that `node` fills from the configuration."""

from __future__ import annotations

from typing import Literal

import msgspec

from relay.listen.settings import Arrival, Crowd

ListenerName = Literal["imap", "imaps"]


class Limits(Crowd, frozen=True):
    """How much of everything."""

    connections: int = 10_000
    connections_per_address: int = 500
    """A whole office may sit behind one address, and a client opens five to ten."""
    errors: int = 20
    """Answers BAD before a connection is closed."""
    logins: int = 5
    """Failed logins per connection."""
    uploads: int = 200
    """Messages that are received by APPEND at a time, in a worker; the others wait. Each holds a few chunks."""
    search_octets: int = 2 * 1024 * 1024
    """Of one message's text that SEARCH BODY and TEXT look at."""
    bodies_memory: int = 48 * 1024 * 1024
    """Octets of small messages that a worker remembers in plain."""
    summaries_memory: int = 48 * 1024 * 1024
    """The same for their headers and structures."""


class Deadlines(Arrival, frozen=True):
    """Seconds."""

    login: float = 60.0
    """From connection to login, everything included."""
    idle: float = 1800.0
    """Without a command (RFC 9051 5.4: 30 minutes at least)."""
    write: float = 60.0
    """For the client to take what fills our send buffer."""
    failure: float = 1.5
    """A failed login is answered this long after it was tried, whatever the reason, so that time tells nothing."""
    goodbye: float = 5.0
    upload: float = 300.0
    """For the next octets of a message that is being appended."""
    progress: float = 10.0
    """How long a command works in silence before its client is told that it goes on (RFC 9585 3)."""


class ServeSettings(msgspec.Struct, frozen=True):
    """For all IMAP listeners of a worker."""

    hostname: str
    plaintext_auth: Literal["never", "loopback"] = "loopback"
    rev2: bool = False
    """Whether IMAP4rev2 is offered (RFC 9051)."""
    signed_tokens: bool = False
    """Whether `accounts` judges tokens by itself, so that they are taken when the primary is away."""
    token_refusal: bytes = b'{"status":"invalid_token"}'
    """Told to a client whose token we refuse (RFC 7628 3.2.2)."""
    version: str = ""
    """Said in ID; empty = not said."""
    append_limit: int = 50_000_000
    """Octets of a message that APPEND takes (RFC 7889)."""
    limits: Limits = Limits()
    deadlines: Deadlines = Deadlines()
