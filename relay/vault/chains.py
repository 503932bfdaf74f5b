"""Certificate chains as a server shows them: DER in, plain answers out (for DANE, RFC 7671)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

_MOST = 10
"""Certificates of a chain that are looked at."""


def public_key_info(certificate: bytes) -> bytes | None:
    """The SubjectPublicKeyInfo of a certificate, DER; None where it does not parse."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return None


def is_valid_under(chain: Sequence[bytes], anchor: bytes, names: Sequence[str], now: float) -> bool:
    """Whether the chain (server first) leads to the anchor and the server is one of the names (RFC 7671 5.2)."""
    try:
        leaf, *others = [x509.load_der_x509_certificate(one) for one in chain[:_MOST]]
        builder = (
            PolicyBuilder()
            .store(Store([x509.load_der_x509_certificate(anchor)]))
            .time(datetime.datetime.fromtimestamp(now, datetime.UTC))
            # An authority that is named in the DNS need not follow the rules of the public ones (key identifiers,
            # policies), only those that make it an authority.
            .extension_policies(
                ca_policy=ExtensionPolicy.permit_all().require_present(
                    x509.BasicConstraints, Criticality.AGNOSTIC, None
                ),
                ee_policy=ExtensionPolicy.permit_all().require_present(
                    x509.SubjectAlternativeName, Criticality.AGNOSTIC, None
                ),
            )
        )
    except (ValueError, UnsupportedAlgorithm):
        return False
    return any(_verifies(builder, name, leaf, others) for name in names)


def _verifies(builder: PolicyBuilder, name: str, leaf: x509.Certificate, others: list[x509.Certificate]) -> bool:
    try:
        builder.build_server_verifier(x509.DNSName(name)).verify(leaf, others)
    except (VerificationError, ValueError):
        return False
    return True
