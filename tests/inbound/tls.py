"""Both ends of TLS for a test."""

from __future__ import annotations

import dataclasses
import ssl


@dataclasses.dataclass(frozen=True)
class Tls:
    """A server context, and a client context that trusts it."""

    server: ssl.SSLContext
    client: ssl.SSLContext
