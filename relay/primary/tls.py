"""TLS for the client side of a connection to a server: contexts, and what the other side has shown."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TypeAlias

from relay.primary.settings import Endpoint, TlsMode

CertificateCheck: TypeAlias = Callable[[tuple[bytes, ...]], bool]
"""Whether a connection may be used with this chain: DER certificates as the server sent them, its own first."""


def client_context(endpoint: Endpoint) -> ssl.SSLContext:
    """The context that an endpoint's mode asks for.

    Opportunistic encryption has no one to verify and nothing better to fall back to than clear text, so old protocols
    and weak keys are taken too (RFC 7435 3); everything else is verified unless the operator says otherwise.
    """
    if endpoint.tls is TlsMode.OPPORTUNISTIC:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        return context
    context = ssl.create_default_context(cafile=endpoint.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not endpoint.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def peer_chain(connection: object) -> tuple[bytes, ...]:
    """The certificates that the server sent, DER, its own first; empty without TLS."""
    if not isinstance(connection, ssl.SSLObject):
        return ()
    if hasattr(connection, "get_unverified_chain"):  # Python 3.13
        return tuple(connection.get_unverified_chain() or ())
    # Before 3.13 the same function exists one level down only (gh-109109).
    inner = getattr(connection, "_sslobj", None)
    shown = inner.get_unverified_chain() if inner is not None else None
    return tuple(ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in shown or ())
