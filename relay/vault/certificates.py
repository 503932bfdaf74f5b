"""What a TLS certificate says about itself: PEM in, plain values out."""

from __future__ import annotations

import msgspec
from cryptography import x509

from relay.core.errors import ConfigFault


class Certificate(msgspec.Struct, frozen=True):
    """The leaf of a chain."""

    not_before: float
    """Unix seconds."""
    not_after: float
    names: tuple[str, ...]
    """DNS names of the subjectAltName extension (RFC 6125 6.4.4: the subject itself does not count)."""


def read_certificate(pem: bytes) -> Certificate:
    """The first certificate of a PEM chain; ConfigFault where there is none."""
    try:
        leaf = x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise ConfigFault(
            "tls.certificate: no PEM certificate is in the file. Write the leaf first, then the chain"
        ) from None
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    except (x509.ExtensionNotFound, ValueError):
        names = []
    return Certificate(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp(), tuple(names))
