"""TLS contexts for the client side of a connection to the primary."""

from __future__ import annotations

import ssl

from relay.primary.settings import Endpoint, TlsMode


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
