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

    def covers(self, host: str) -> bool:
        """Whether it is for this host. RFC 6125 6.4.3: a wildcard stands for one whole label, the leftmost."""
        host = host.casefold()
        return any(name.casefold() in (host, f"*.{host.partition('.')[2]}") for name in self.names)


def read_certificate(pem: bytes, key: str = "tls.certificate") -> Certificate:
    """The first certificate of a PEM chain; ConfigFault where there is none, which `key` of the configuration names."""
    try:
        leaf = x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise ConfigFault(f"{key}: no PEM certificate is in the file. Write the leaf first, then the chain") from None
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    except (x509.ExtensionNotFound, ValueError):
        names = []
    return Certificate(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp(), tuple(names))
