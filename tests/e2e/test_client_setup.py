"""A running node sets up clients over HTTPS, and shows nothing else there."""

from __future__ import annotations

import asyncio
from xml.etree import ElementTree

import httpx
import pytest

from tests.peers.certs import Authority, Pair
from tests.peers.plugin import MakeRelay
from tests.peers.ports import LOOPBACK, free_port
from tests.peers.relay import RelaySettings

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]


async def test_the_public_port_of_a_node(make_relay: MakeRelay, server_pair: Pair, authority: Authority) -> None:
    port, submission = free_port(), free_port()
    listen = {"https": [f"{LOOPBACK}:{port}"], "submission": [f"{LOOPBACK}:{submission}"]}
    clients = {"imap_host": "imap.example.org", "imap_port": 1143}
    relay = make_relay(RelaySettings(certificate=server_pair, config={"listen": listen, "clients": clients}))
    await asyncio.to_thread(relay.start)
    async with httpx.AsyncClient(verify=authority.client_context(), base_url=f"https://localhost:{port}") as web:
        got = await web.get("/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=bob@example.org")
        server = ElementTree.fromstring(got.content).find("emailProvider/incomingServer")
        assert server is not None
        assert (server.findtext("hostname"), server.findtext("port")) == ("imap.example.org", "1143")
        assert server.findtext("socketType") == "STARTTLS"
        for path in ("/metrics", "/livez", "/readyz", "/api/v1/status"):
            assert (await web.get(path)).status_code == 404
    # The inner port has both.
    code, body = await asyncio.to_thread(relay.get, "/mail/config-v1.1.xml?emailaddress=bob@example.org")
    assert (code, body) == (200, got.content)
    assert (await asyncio.to_thread(relay.get, "/livez"))[0] == 200
