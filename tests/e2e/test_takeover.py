"""A user with an open session while the primary dies: told at once, and served by the standby at the next attempt."""

from __future__ import annotations

import asyncio

import pytest

from relay.proto.imap.client import Status
from tests.e2e.scene import BOB
from tests.peers.certs import Pair
from tests.peers.dovecot import DovecotSettings
from tests.peers.people import password_of
from tests.peers.plugin import MakeDovecot, MakeRelay
from tests.peers.relay import RelaySettings
from tests.serve.client import Client, connect

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]


async def logged_in(port: int) -> Client:
    client = await connect(port)
    await client.greeting()
    await client.login(BOB, password_of(BOB))
    return client


async def test_dovecot_killed_under_idle(make_dovecot: MakeDovecot, make_relay: MakeRelay, server_pair: Pair) -> None:
    dovecot = await asyncio.to_thread(make_dovecot, DovecotSettings(certificate=server_pair))
    # Probes are slow here: what the client meets is the session's own end, and a primary that is still believed in.
    slow = {"failover": {"probe_interval": "10m", "timeout": "3s"}}
    relay = make_relay(RelaySettings(imap_port=dovecot.imap_port, config=slow))
    await asyncio.to_thread(relay.start)
    async with await logged_in(relay.imap_port) as client:
        assert await asyncio.to_thread(relay.metric, "relay_serve_open_sessions", by="passed") == 1
        await client.ok("SELECT INBOX")
        await asyncio.to_thread(
            relay.until, lambda: BOB in relay.command("user", "list").stdout, why="the password was not remembered"
        )
        await client.script("C: i IDLE\nS: + idling")
        await asyncio.to_thread(dovecot.kill)
        (bye,) = await client.end()
        assert isinstance(bye, Status)
        assert (bye.status, bye.code) == ("BYE", "UNAVAILABLE")
    # The first attempt, without waiting for anybody to notice anything.
    async with await logged_in(relay.imap_port) as client:
        await client.ok("SELECT INBOX")
        by = {
            who: await asyncio.to_thread(relay.metric, "relay_serve_open_sessions", by=who)
            for who in ("passed", "standby")
        }
        assert by == {"passed": 0, "standby": 1}
