"""What inbound can be told; frozen values that `node` fills from the configuration."""

from __future__ import annotations

from typing import Literal

import msgspec

from relay.listen.settings import Arrival, Crowd, Port
from relay.proto.sasl.bearer import refusal
from relay.proto.smtp.content import ContentRules

ListenerName = Literal["mx", "submission", "submissions"]


class Limits(Crowd, frozen=True):
    """How much of everything."""

    message_size: int = 50 * 1024 * 1024
    recipients: int = 1000
    """Per message; RFC 5321 4.5.3.1.8 asks for 100 at least."""
    transactions: int = 1000
    """Messages per connection, announced as MAILMAX."""
    connections: int = 1000
    connections_per_address: int = 50
    errors: int = 20
    """Replies 5xx to the protocol (not to recipients) before a connection is closed."""
    refused_recipients: int = 100
    """Refused RCPTs before a connection is closed: nobody may walk through an address book."""
    logins: int = 3
    """Failed AUTH per connection."""
    in_flight: int = 64 * 1024 * 1024
    """Octets received and not yet handed to the spool, over all connections."""


class Deadlines(Arrival, frozen=True):
    """Seconds."""

    command: float = 300.0
    """For a whole command line (RFC 5321 4.5.3.2.7)."""
    crowded: float = 20.0
    """The same while more than three quarters of the connections are taken."""
    block: float = 180.0
    """Without any octet of the content (RFC 5321 4.5.3.2.5)."""
    grace: float = 30.0
    """Content may be slow for this long before the minimum rate counts."""
    minimum_rate: int = 256
    """Octets of content per second, over the time that we waited for them."""
    write: float = 60.0
    """For the peer to read its replies."""
    goodbye: float = 30.0
    rest: float = 15.0
    """Content that takes longer is not waited for with a connection to the primary in hand."""
    retry: float = 30.0
    """After the primary said 4xx to a message, before the queue tries it again."""


class InboundSettings(msgspec.Struct, frozen=True):
    """For all listeners of a worker."""

    hostname: str
    domains: tuple[str, ...]
    """Mail for these, and for no other, is taken."""
    limits: Limits = Limits()
    deadlines: Deadlines = Deadlines()
    content: ContentRules = ContentRules()
    plaintext_auth: Literal["never", "loopback"] = "never"
    """Where AUTH without TLS is allowed."""
    token_refusal: bytes = refusal()
    """What a client whose token is refused is told (RFC 7628 3.2.2)."""


class ListenerSettings(Port[ListenerName], frozen=True):
    """One port."""

    @property
    def login(self) -> bool:
        """Whether mail is taken only after AUTH."""
        return self.name != "mx"
