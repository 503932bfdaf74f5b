"""Private keys that sign what leaves: a key file in, signatures out.

RSA with SHA-256 (RFC 6376 3.3.1) and Ed25519 over the SHA-256 digest (RFC 8463 3). The digest enters, made by whoever
knows what is signed.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from relay.core.errors import ConfigFault

_LEAST_BITS = 1024
"""RFC 8301 3.2: verifiers take nothing shorter."""


class SigningKey:
    """One private key; thread-safe."""

    def __init__(self, key: RSAPrivateKey | Ed25519PrivateKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        return f"SigningKey({self.algorithm})"

    @classmethod
    def read(cls, data: bytes, where: str) -> SigningKey:
        """PEM (PKCS#1 or PKCS#8), or the bare base64 seed of Ed25519. `where` names the key of the configuration.

        ConfigFault.
        """
        key: object
        try:
            if b"-----BEGIN" in data:
                key = serialization.load_pem_private_key(data, password=None)
            else:
                key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(b"".join(data.split()), validate=True))
        except (ValueError, TypeError, binascii.Error):
            raise ConfigFault(f"{where}: no private key is in the file. Make one with: openssl genpkey") from None
        if isinstance(key, RSAPrivateKey) and key.key_size < _LEAST_BITS:
            raise ConfigFault(f"{where}: the RSA key is too short. Use 2048 bits")
        if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
            raise ConfigFault(f"{where}: this kind of key cannot sign mail. Use RSA or Ed25519")
        return cls(key)

    @property
    def algorithm(self) -> str:
        """The `a=` of a DKIM signature."""
        return "rsa-sha256" if isinstance(self._key, RSAPrivateKey) else "ed25519-sha256"

    @property
    def public(self) -> str:
        """The TXT record that lets others verify (RFC 6376 3.6.1)."""
        public = self._key.public_key()
        if isinstance(self._key, RSAPrivateKey):
            raw = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            return f"v=DKIM1; k=rsa; p={base64.b64encode(raw).decode()}"
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"  # RFC 8463 4

    def sign(self, digest: bytes) -> bytes:
        """The signature of a SHA-256 digest."""
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))
        return self._key.sign(digest)
