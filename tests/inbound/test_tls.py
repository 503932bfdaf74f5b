"""STARTTLS, implicit TLS, PROXY and login, on both event loops: nothing that came in clear counts inside."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from tests.inbound.tls import Tls
from tests.inbound.world import World
from tests.peers.smtpclient import SmtpClient

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
MAIL = b"From: bob@example.org\r\n\r\n"
PLAIN = base64.b64encode(b"\0bob\0secret").decode()


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Run a coroutine function on each kind of loop."""

    def runner(scenario: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await scenario()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as loop:
            loop.run(bounded())

    return runner


Run = Callable[[Callable[[], Awaitable[None]]], None]


def test_starttls_forgets_what_was_said_in_clear(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with World(context=tls.server) as world, await world.client(hello=False) as client:
            assert "STARTTLS" in await client.ehlo("in-clear.example")
            await client.pipeline("MAIL FROM:<a@example.net>", "RCPT TO:<a@example.org>")
            assert (await client.starttls(tls.client)).code == 220
            assert (await client.command("RCPT TO:<b@example.org>")).code == 503
            assert (await client.command("MAIL FROM:<>")).code == 503
            assert "STARTTLS" not in await client.ehlo("inside.example")
            assert (await client.command("STARTTLS")).code == 503
            assert (await client.transaction("", ["b@example.org"], b"x: y\r\n\r\n")).accepted
            origin = world.spool.only.origin
            assert (origin.helo, origin.protocol) == ("inside.example", "ESMTPS")
            assert origin.tls is not None
            assert origin.tls.startswith("TLSv1.")
            await client.quit()

    run(scenario)


@pytest.mark.parametrize("tail", [b"NOOP\r\n", b"RSET", b"\n", b"EHLO x\r\nMAIL FROM:<>\r\n", b"\x16\x03\x01"])
def test_nothing_may_be_pipelined_behind_starttls(run: Run, tls: Tls, tail: bytes) -> None:
    async def scenario() -> None:
        async with World(context=tls.server) as world:
            client = await world.client()
            await client.send(b"STARTTLS\r\n" + tail)
            assert (await client.reply()).code == 554
            await client.expect_closed()
            await client.close()
            assert not world.spool.items

    run(scenario)


def test_plaintext_after_the_220_never_becomes_a_command(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with World(context=tls.server) as world:
            client = await world.client()
            assert (await client.command("STARTTLS")).code == 220
            await client.send(b"MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n")
            # The handshake fails; whatever comes (an alert, a reset) is no SMTP reply.
            with pytest.raises((ConnectionError, Exception)) as caught:
                await client.reply()
            assert not isinstance(caught.value, TimeoutError)
            client.abort()
            await world.until_gone()
            assert world.services.metrics.recipients["accepted"]._value.get() == 0

    run(scenario)


def test_implicit_tls(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with World(context=tls.server, implicit_tls=True, listener="submissions") as world:
            client = await SmtpClient.connect(world.port, tls=tls.client)
            offered = await client.ehlo()
            assert offered["AUTH"] == "PLAIN LOGIN"
            assert "STARTTLS" not in offered
            assert (await client.command(f"AUTH PLAIN {PLAIN}")).code == 235
            assert (await client.transaction("bob@example.org", ["a@example.org"], MAIL)).accepted
            origin = world.spool.only.origin
            assert (origin.protocol, origin.login, origin.listener) == ("ESMTPSA", "bob@example.org", "submissions")
            await client.quit()
            await client.close()

    run(scenario)


V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"
V2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"
    + bytes([192, 0, 2, 7, 198, 51, 100, 1])
    + (4711).to_bytes(2, "big")
    + (25).to_bytes(2, "big")
)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("pieces", [1, 0], ids=["whole", "octets"])
def test_a_trusted_proxy_names_the_client(run: Run, header: bytes, pieces: int) -> None:
    async def scenario() -> None:
        async with World(proxy_from=LOOPBACK) as world:
            client = await SmtpClient.connect(world.port, greet=False)
            stream = header + b"EHLO x\r\n"
            for piece in [stream] if pieces else [stream[i : i + 1] for i in range(len(stream))]:
                await client.send(piece)
            assert [(await client.reply()).code for _ in range(2)] == [220, 250]
            assert (await client.transaction("", ["a@example.org"], b"x: y\r\n\r\n")).accepted
            origin = world.spool.only.origin
            assert (origin.client_address, origin.client_port) == ("192.0.2.7", 4711)
            await client.close()
            await world.until_gone()

    run(scenario)


def test_a_stranger_s_header_is_no_command(run: Run) -> None:
    async def scenario() -> None:
        for trusted in ((), (ipaddress.ip_network("192.0.2.0/24"),)):
            async with World(proxy_from=trusted) as world, await world.client() as client:
                assert (await client.command(V1[:-2])).code == 500
                assert (await client.transaction("", ["a@example.org"], b"x: y\r\n\r\n")).accepted
                assert world.spool.only.origin.client_address == "127.0.0.1"

    run(scenario)


async def submission(world: World, tls: Tls) -> SmtpClient:
    """A client inside TLS, before login."""
    client = await world.client()
    await client.starttls(tls.client)
    await client.ehlo()
    return client


def test_login(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with World(listener="submission", context=tls.server) as world:
            client = await world.client(hello=False)
            assert "AUTH" not in await client.ehlo()
            assert (await client.command(f"AUTH PLAIN {PLAIN}")).code == 538
            assert not world.logins.tried
            await client.close()

            client = await submission(world, tls)
            assert (await client.command("AUTH CRAM-MD5")).code == 504
            assert (await client.command("AUTH PLAIN !!")).code == 501
            assert (await client.command("AUTH PLAIN")).lines == ("",)
            assert (await client.command("*")).code == 501
            assert (await client.command("AUTH LOGIN")).code == 334
            assert (await client.command(base64.b64encode(b"bob"))).code == 334
            world.logins.available = False
            assert (await client.command(base64.b64encode(b"secret"))).code == 454
            world.logins.available = True
            assert (await client.command("AUTH LOGIN " + base64.b64encode(b"bob").decode())).code == 334
            assert (await client.command(base64.b64encode(b"secret"))).code == 235
            assert (await client.command(f"AUTH PLAIN {PLAIN}")).code == 503
            assert (await client.transaction("bob@example.org", ["a@example.org"], MAIL)).accepted
            await client.close()

            client = await submission(world, tls)
            acting = base64.b64encode(b"eve\0bob\0secret").decode()
            wrong = base64.b64encode(b"\0bob\0guess").decode()
            assert (await client.command(f"AUTH PLAIN {acting}")).code == 535
            assert (await client.command(f"AUTH PLAIN {wrong}")).code == 535
            assert (await client.command(f"AUTH PLAIN {wrong}")).code == 421
            await client.expect_closed()
            await client.close()

    run(scenario)
