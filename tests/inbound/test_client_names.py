"""The reverse name of a client: begun at connect, waited for at MAIL, told to the primary."""

from __future__ import annotations

import asyncio

import pytest

from relay.core.clock import SystemClock
from relay.core.mode import Mode
from relay.primary.client_names import ClientNames, ClientNamesSettings
from relay.primary.lookup import Dns
from relay.primary.settings import Deadlines, Forward
from tests.inbound.world import World
from tests.peers.dns import serving
from tests.peers.plugin import MakePostfix
from tests.peers.postfix import PostfixSettings
from tests.primary.fake import KEYWORDS, FakeSmtp
from tests.primary.test_client_names import FakeDns

CLIENT = "127.0.0.1"
NAME = "client.example.net"
MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"


def fake() -> FakeDns:
    """Knows the only client there is on loopback."""
    dns = FakeDns()
    dns.pointing[CLIENT] = (NAME,)
    dns.hosted[NAME, 4] = (CLIENT,)
    return dns


def names(dns: FakeDns, seconds: float = 10.0) -> ClientNames:
    """Asks about loopback too."""
    return ClientNames(lambda _: dns, SystemClock(), ClientNamesSettings(excluded=(), seconds=seconds))


async def test_the_name_is_kept_with_the_message() -> None:
    async with World(names=names(fake())) as world, await world.client() as client:
        assert (await client.transaction("a@example.net", ["bob@example.org"], MESSAGE)).accepted
        origin = world.spool.only.origin
        assert (origin.client_name, origin.client_name_deferred) == (NAME, False)


async def test_a_client_on_loopback_has_no_name_and_nothing_is_asked() -> None:
    dns = fake()
    asking = ClientNames(lambda _: dns, SystemClock(), ClientNamesSettings())
    async with World(names=asking) as world, await world.client() as client:
        assert (await client.transaction("a@example.net", ["bob@example.org"], MESSAGE)).accepted
        origin = world.spool.only.origin
        assert (origin.client_name, origin.client_name_deferred) == (None, False)
        assert dns.questions == []


async def test_a_slow_look_up_delays_the_first_mail_and_nothing_before_it() -> None:
    dns = fake()
    dns.gate.clear()
    async with World(names=names(dns)) as world, await world.client() as client:
        async with asyncio.timeout(10):
            await dns.asked.wait()  # begun at connect, and EHLO is answered
        assert (await client.command("NOOP")).code == 250
        await client.send(b"MAIL FROM:<a@example.net>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
        answers = asyncio.create_task(client.reply())
        async with await world.client() as other:
            assert (await other.command("NOOP")).code == 250
        assert not answers.done()
        dns.gate.set()
        assert (await answers).code == 250
        assert [(await client.reply()).code for _ in range(2)] == [250, 354]
        await client.send(MESSAGE + b".\r\n")
        assert (await client.reply()).code == 250
        assert world.spool.only.origin.client_name == NAME
        assert (await client.transaction("a@example.net", ["bob@example.org"], MESSAGE + b"2\r\n")).accepted
        assert dns.questions == [CLIENT, NAME]


async def test_a_look_up_that_does_not_end_costs_its_deadline_and_says_so() -> None:
    dns = fake()
    dns.gate.clear()
    async with World(names=names(dns, seconds=0.05)) as world, await world.client() as client:
        assert (await client.transaction("a@example.net", ["bob@example.org"], MESSAGE)).accepted
        origin = world.spool.only.origin
        assert (origin.client_name, origin.client_name_deferred) == (None, True)


async def test_a_client_that_hangs_up_while_it_is_looked_up_harms_nobody() -> None:
    dns = fake()
    dns.gate.clear()
    async with World(names=names(dns)) as world:
        client = await world.client()
        await client.send(b"MAIL FROM:<a@example.net>\r\n")
        client.abort()
        await world.until_gone()
        async with await world.client() as client:
            dns.gate.set()
            assert (await client.transaction("a@example.net", ["bob@example.org"], MESSAGE)).accepted
        assert world.spool.only.origin.client_name == NAME
        assert dns.questions == [CLIENT, NAME]


@pytest.mark.parametrize("known", [True, False])
async def test_the_primary_is_told_by_xclient_what_a_name_server_said(known: bool) -> None:
    zone = {("1.0.0.127.in-addr.arpa", "PTR"): [f"{NAME}."], (NAME, "A"): [CLIENT]}
    keywords = (*KEYWORDS, "XCLIENT NAME ADDR")
    async with serving(zone) as server, FakeSmtp(keywords=keywords) as primary:
        if not known:
            server.broken.add("")
        asking = ClientNames(
            lambda seconds: Dns(seconds, server=server.address), SystemClock(), ClientNamesSettings(excluded=())
        )
        world = World(primary=primary.port, mode=Mode.NORMAL, names=asking, forward=Forward.XCLIENT)
        async with world, await world.client() as client:
            assert (await client.transaction("a@example.net", ["bob@example.org"], MESSAGE)).accepted
    (told,) = [command for command in primary.sessions[0].commands if command.startswith("XCLIENT")]
    assert told == f"XCLIENT NAME={NAME if known else '[TEMPUNAVAIL]'} ADDR=127.0.0.1"


STRICT = {"smtpd_client_restrictions": "reject_unknown_client_hostname", "unknown_client_reject_code": "550"}


async def test_a_primary_that_refuses_clients_without_a_name(make_postfix: MakePostfix) -> None:
    """Postfix judges the client and not the relay: a name passes, none is refused, a deferred one may come again."""
    primary = make_postfix(PostfixSettings(parameters=STRICT))
    recipient = primary.settings.people[0]
    codes = []
    for harm in (None, no_name, no_answer):
        dns = fake()
        if harm is not None:
            harm(dns)
        world = World(
            primary=primary.port,
            mode=Mode.NORMAL,
            names=names(dns),
            forward=Forward.XCLIENT,
            primary_deadlines=Deadlines(),
        )
        async with world, await world.client() as client:
            outcome = await client.transaction("", [recipient], MESSAGE)
            codes.append(outcome.recipients[0].code)
    assert codes == [250, 550, 450]


def no_name(dns: FakeDns) -> None:
    """The client's PTR names a host that is elsewhere."""
    dns.hosted[NAME, 4] = ("192.0.2.1",)


def no_answer(dns: FakeDns) -> None:
    """The name server of the client's network is away."""
    dns.pointing[CLIENT] = None
