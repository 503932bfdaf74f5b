"""The certificate that senders and clients see: loaded once, loaded again on HUP without a restart.

The context object stays the same for the whole life of the worker, so listeners need not be told of a renewal:
handshakes that begin after `reload` use the new chain, sessions under way keep the old one.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from relay.config.sections import TlsSection
from relay.core.errors import ConfigFault
from relay.vault.certificates import read_certificate


class ServerTls:
    """`context` is None where no certificate is configured."""

    def __init__(self, section: TlsSection) -> None:
        self._certificate = section.certificate
        self._private_key = section.private_key
        self.context: ssl.SSLContext | None = None
        self.expires: float | None = None
        """Unix seconds at which the leaf certificate ends; None without one."""
        if self._certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8314 4.1
            self.context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
            self.reload()

    def reload(self) -> None:
        """Read both files again. ConfigFault: what was loaded before stays in use."""
        if self.context is None or self._certificate is None:
            return
        # First into a context of its own: a pair that does not fit must not spoil the one in use.
        trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        expires = load(trial, self._certificate, self._private_key)
        load(self.context, self._certificate, self._private_key)
        self.expires = expires


def load(context: ssl.SSLContext, certificate: Path, private_key: Path | None) -> float:
    """Load a chain and its key; when the leaf ends, in Unix seconds. ConfigFault."""
    pem = _read("tls.certificate", certificate)
    if private_key is not None:
        _read("tls.private_key", private_key)
    ends = read_certificate(pem).not_after
    try:
        context.load_cert_chain(certificate, private_key)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or "not PEM"
        raise ConfigFault(
            f"tls.certificate: {certificate} and tls.private_key do not load ({reason}). "
            "Both must be PEM, and the key must be the leaf certificate's"
        ) from None
    return ends


def _read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigFault(f"{key}: {path} cannot be read ({error.strerror}). Let the relay's user read it") from None
