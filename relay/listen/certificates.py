"""The certificates that senders and clients see: chosen by the server name they ask for, read again without a restart.

PEM pairs enter; one `context` leaves, and stays the same for the whole life of a worker. It carries no certificate of
its own: at every handshake, with a server name or without, it turns the connection over to the context of a chain.

1. The name decides (RFC 6066 3): a certificate for exactly that name, else one for its wildcard, else the first pair.
   Among several that fit the earlier pair wins. An unknown name is no error: senders of mail ask for anything.
2. `reload` replaces all chains or none: handshakes that begin afterwards see the new ones, sessions under way keep
   theirs. No trace of the old is left, also where a key of another type takes the place of the last one (a chain
   loaded into the same OpenSSL context would stand beside it).
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import msgspec

from relay.core.errors import ConfigFault
from relay.vault.certificates import Certificate, read_certificate


class Pair(msgspec.Struct, frozen=True):
    """A chain, leaf first, and its key: two PEM files."""

    certificate: Path
    private_key: Path
    where: str = "tls"
    """The section of the configuration that names them."""


class Chain(msgspec.Struct, frozen=True):
    """A pair that was read."""

    leaf: Certificate
    context: ssl.SSLContext


class Certificates:
    """What a worker shows; the first pair is the one for everybody else."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        """ConfigFault when a pair cannot be used."""
        self.context: ssl.SSLContext | None = None
        """For every handshake of the node's listeners; None where no certificate is configured."""
        self._pairs = tuple(pairs)
        self._default: Chain | None = None
        self._by_name: dict[str, Chain] = {}
        self.expires: float | None = None
        """Unix seconds at which the first of the leaf certificates ends; None without any."""
        self.reload()
        if self._pairs:
            self.context = _server_context()
            self.context.sni_callback = self._choose

    def reload(self) -> None:
        """Read all files again. ConfigFault: what was loaded before stays in use."""
        chains = [load(pair) for pair in self._pairs]
        by_name: dict[str, Chain] = {}
        for chain in chains:
            for name in chain.leaf.names:
                by_name.setdefault(name.casefold(), chain)
        self._by_name = by_name
        self._default = chains[0] if chains else None
        self.expires = min((chain.leaf.not_after for chain in chains), default=None)

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        """Invariant 1; called by OpenSSL for every ClientHello. An alert as the answer ends the handshake."""
        chain = self._default
        if name is not None:
            name = name.casefold().removesuffix(".")
            # RFC 6125 6.4.3: a wildcard stands for one whole label, the leftmost.
            chain = self._by_name.get(name) or self._by_name.get(f"*.{name.partition('.')[2]}") or chain
        if chain is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = chain.context
        return None


def load(pair: Pair) -> Chain:
    """Read a chain and its key, and see that they go together. ConfigFault."""
    pem = _read(f"{pair.where}.certificate", pair.certificate)
    _read(f"{pair.where}.private_key", pair.private_key)
    leaf, context = read_certificate(pem, f"{pair.where}.certificate"), _server_context()
    try:
        # An encrypted key must fail, not ask on the terminal for its password.
        context.load_cert_chain(pair.certificate, pair.private_key, password="")
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or "not PEM"
        raise ConfigFault(
            f"{pair.where}.certificate: {pair.certificate} and {pair.where}.private_key do not go together ({reason}). "
            "Both must be PEM, the key the leaf certificate's, and not encrypted"
        ) from None
    return Chain(leaf, context)


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8314 4.1
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigFault(f"{key}: {path} cannot be read ({error.strerror}). Let the relay's user read it") from None
