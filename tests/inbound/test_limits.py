"""Every limit is met with a clear reply, or with a closed connection, and harms nobody else."""

from __future__ import annotations

import asyncio
import socket

import pytest

from relay.inbound.settings import Deadlines, Limits
from tests.inbound.world import World
from tests.peers.smtpclient import SmtpClient, dot_stuff

MESSAGE = b"Subject: hello\r\n\r\ntext\r\n"


async def closes(client: SmtpClient, code: int) -> None:
    """The server says its last word and closes."""
    assert (await client.reply()).code == code
    await client.expect_closed()
    await client.close()


async def test_connections_per_address() -> None:
    async with World(limits=Limits(connections_per_address=2)) as world:
        first, second = await world.client(), await world.client()
        third = await SmtpClient.connect(world.port)
        assert third.greeting.code == 421
        await third.expect_closed()
        await third.close()
        await first.quit()
        await first.close()
        async with asyncio.timeout(10):
            while (again := await SmtpClient.connect(world.port)).greeting.code != 220:
                await again.close()
        await again.close()
        await second.close()


async def test_connections_in_all() -> None:
    async with World(limits=Limits(connections=3)) as world:
        clients = [await world.client() for _ in range(3)]
        other = await SmtpClient.connect(world.port, source="127.0.0.2")
        assert other.greeting.code == 421
        for client in (*clients, other):
            await client.close()


async def test_messages_per_connection() -> None:
    async with World(limits=Limits(transactions=2)) as world, await world.client(hello=False) as client:
        assert (await client.ehlo())["LIMITS"].endswith("MAILMAX=2")
        for number in range(2):
            assert (await client.transaction("", ["a@example.org"], MESSAGE + b"%d\r\n" % number)).accepted
        assert (await client.command("MAIL FROM:<>")).code == 421
        await client.expect_closed()


@pytest.mark.parametrize(
    "line",
    [b"FOO\r\n", b"RCPT\r\n", b"\r\n", b"NOOP\n", b"\xff\r\n", b"x" * 20_000 + b"\r\n", b"HELO\r\n", b"MAIL FROM\r\n"],
)
async def test_errors_per_connection(line: bytes) -> None:
    async with World(limits=Limits(errors=5)) as world, await world.client() as client:
        for _ in range(4):
            await client.send(line)
            assert (await client.reply()).code in {500, 501, 503}
        await client.send(line)
        if (last := await client.reply()).code != 421:
            last = await client.reply()
        assert last.code == 421
        await client.expect_closed()
        async with await world.client() as again:
            assert (await again.command("NOOP")).code == 250


async def test_refused_recipients_per_connection() -> None:
    async with World(limits=Limits(refused_recipients=3)) as world, await world.client() as client:
        await client.command("MAIL FROM:<>")
        codes = [(await client.command(f"RCPT TO:<a{n}@example.net>")).code for n in range(3)]
        assert codes == [550] * 3
        await closes(client, 421)


async def test_a_browser_is_not_answered() -> None:
    async with World() as world:
        client = await world.client(hello=False)
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<>\r\n")
        await client.expect_closed()
        await client.close()


async def test_a_silent_peer_is_told_and_dropped() -> None:
    async with World(deadlines=Deadlines(command=0.2)) as world:
        await closes(await world.client(), 421)


async def drip(client: SmtpClient, octets: bytes) -> int:
    """Send the octets again and again, with a breath between, until the server answers; its code."""
    async with asyncio.timeout(10):
        while True:
            try:
                async with asyncio.timeout(0.02):
                    return (await client.reply()).code
            except TimeoutError:
                await client.send(octets)


async def test_octets_that_never_become_a_line_do_not_extend_the_deadline() -> None:
    async with World(deadlines=Deadlines(command=0.5)) as world:
        client = await world.client()
        assert await drip(client, b"N") == 421
        client.abort()


async def test_when_it_is_crowded_patience_is_short() -> None:
    limits, deadlines = Limits(connections=2), Deadlines(crowded=0.2, command=60)
    async with World(limits=limits, deadlines=deadlines) as world:
        first = await world.client()
        await closes(await world.client(), 421)
        await first.close()


async def test_content_that_stops() -> None:
    async with World(deadlines=Deadlines(block=0.2)) as world:
        client = await world.client()
        await client.pipeline("MAIL FROM:<>", "RCPT TO:<a@example.org>", "DATA")
        await client.send(b"Subject: x\r\n")
        await closes(client, 421)
        assert not world.spool.items


async def test_content_that_drips() -> None:
    deadlines = Deadlines(block=5, grace=0.3, minimum_rate=10_000)
    async with World(deadlines=deadlines) as world:
        client = await world.client()
        await client.pipeline("MAIL FROM:<>", "RCPT TO:<a@example.org>", "DATA")
        assert await drip(client, b"x\r\n") == 421
        client.abort()
        await world.until_gone()
        assert not world.spool.items


async def test_a_peer_that_does_not_read_its_replies() -> None:
    async with World(deadlines=Deadlines(write=0.3)) as world:
        raw = socket.create_connection(("127.0.0.1", world.port))
        raw.setblocking(False)
        loop = asyncio.get_running_loop()

        async def flood() -> None:
            await loop.sock_sendall(raw, b"EHLO x\r\n" * 3_000_000)

        flooding = asyncio.ensure_future(flood())
        async with asyncio.timeout(30):
            await asyncio.wait([flooding])
        assert isinstance(flooding.exception(), ConnectionError)
        raw.close()
        await world.until_gone()


async def test_a_small_budget_slows_everybody_down_and_stops_nobody() -> None:
    message = b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n" * 30_000

    async with World(limits=Limits(in_flight=100_000)) as world:

        async def one(number: int) -> bool:
            async with await world.client() as client:
                return (await client.transaction("", [f"u{number}@example.org"], message)).accepted

        assert all(await asyncio.gather(*(one(number) for number in range(10))))
        assert len(world.spool.items) == 10
        assert all(stored.content == message for stored in world.spool.items.values())


async def test_stop_lets_a_message_finish_and_ends_what_is_idle() -> None:
    async with World() as world:
        idle, busy = await world.client(), await world.client()
        await busy.pipeline("MAIL FROM:<>", "RCPT TO:<a@example.org>", "DATA")
        stopping = asyncio.ensure_future(world.listener.stop())
        await closes(idle, 421)
        assert not stopping.done()
        await busy.send(dot_stuff(MESSAGE))
        assert (await busy.reply()).code == 250
        await closes(busy, 421)
        await stopping
        assert len(world.spool.items) == 1


async def test_stop_cuts_what_does_not_finish() -> None:
    async with World(deadlines=Deadlines(goodbye=0.2)) as world:
        busy = await world.client()
        await busy.pipeline("MAIL FROM:<>", "RCPT TO:<a@example.org>", "DATA")
        await world.listener.stop()
        await busy.expect_closed()
        await busy.close()
        assert world.spool.discarded == 1
