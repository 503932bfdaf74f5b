"""Certificates for the listeners under test."""

from __future__ import annotations

import ssl

import pytest

from tests.inbound.tls import Tls
from tests.peers.certs import Authority, Pair


@pytest.fixture(scope="session")
def tls(authority: Authority, server_pair: Pair) -> Tls:
    """For localhost."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(server_pair.certificate, server_pair.private_key)
    return Tls(server, ssl.create_default_context(cafile=str(authority.ca)))
