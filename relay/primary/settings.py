"""Where the primary is and how to speak to it; small frozen values that `node` fills from the configuration."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from relay.proto.sasl.credentials import Credentials


class TlsMode(StrEnum):
    """How a connection is protected."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    """Encrypt where that works, whoever's certificate it is, and deliver in any case (RFC 7435)."""
    STARTTLS = "starttls"
    """Upgrade, verified, or no mail."""
    IMPLICIT = "implicit"
    """TLS from the first byte, verified."""


class Forward(StrEnum):
    """How the original client's address and name reach the primary."""

    NONE = "none"
    XCLIENT = "xclient"
    """The primary acts as if the client had connected itself: its SPF checks and access rules work."""
    XFORWARD = "xforward"
    """The primary only logs it."""
    PROXY = "proxy"
    """PROXY protocol version 1 in front of each connection; connections are not reused."""


class ForwardClient(StrEnum):
    """How the address of a user who is passed through reaches the primary's IMAP."""

    AUTO = "auto"
    """By ID where the primary announces it."""
    ID = "id"
    """By an ID command with `x-originating-ip`; Dovecot heeds it from its `login_trusted_networks`."""
    NONE = "none"


class Endpoint(msgspec.Struct, frozen=True):
    """One server port."""

    host: str
    port: int
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    verify: bool = True
    """With `starttls` and `implicit`: whether the certificate must be valid for `host`."""
    ca_file: str | None = None
    """Trust this instead of the system's authorities."""
    server_name: str = ""
    """Whom the certificate must be for, where `host` is an address that was looked up. Empty = `host`."""


class Deadlines(msgspec.Struct, frozen=True):
    """Seconds for each step. RFC 5321 4.5.3.2 has the generous values; a live sender cannot wait for those."""

    open: float = 10.0
    """All of connect, greeting, EHLO, TLS and AUTH."""
    command: float = 60.0
    block: float = 120.0
    """For the peer to take what fills our send buffer."""
    final: float = 600.0
    """For the reply to the final dot."""


class SmtpSettings(msgspec.Struct, frozen=True):
    """One SMTP server that we send to."""

    endpoint: Endpoint
    helo: str
    forward: Forward = Forward.NONE
    credentials: Credentials | None = None
    deadlines: Deadlines = Deadlines()


class PoolSettings(msgspec.Struct, frozen=True):
    """Limits of a connection pool."""

    connections: int = 20
    """At most this many at a time, idle ones included."""
    wait: float = 10.0
    """Seconds to wait for a free one."""
    idle: float = 20.0
    """Seconds an unused connection is kept."""
    age: float = 300.0
    """Seconds after which a connection is not used again."""
    uses: int = 1000
    """Transactions after which a connection is not used again."""
