"""Garbage in every state of a live listener: whole replies or a close, the next one is served, nothing leaks."""

from __future__ import annotations

import asyncio
import random
import re

import pytest

from relay.inbound.settings import Deadlines, Limits
from tests.inbound.tls import Tls
from tests.inbound.world import World

STATES: dict[str, bytes] = {
    "greeting": b"",
    "hello": b"EHLO x\r\n",
    "mail": b"EHLO x\r\nMAIL FROM:<>\r\n",
    "rcpt": b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n",
    "data": b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n",
    "bdat": b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nBDAT 10\r\n0123456789",
    "in bdat": b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nBDAT 1000 LAST\r\n",
    "refused": b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\n",
    "auth": b"EHLO x\r\nAUTH LOGIN\r\n",
}
WORDS = [
    b"EHLO x",
    b"HELO",
    b"MAIL FROM:<a@example.net>",
    b"MAIL FROM:<> SIZE=5",
    b"RCPT TO:<b@example.org>",
    b"RCPT TO:<>",
    b"DATA",
    b"BDAT 5",
    b"BDAT 0 LAST",
    b"BDAT 99999999999999999999",
    b"RSET",
    b"NOOP",
    b"VRFY x",
    b"STARTTLS",
    b"AUTH PLAIN =",
    b"AUTH LOGIN",
    b".",
    b"..",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\xff\xfe",
    b" ",
    b"<",
    b'"',
    b"x" * 5000,
    b"\r\n.\r\n",
    b"\n.\n",
    b"HELP",
    b"EXPN",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"GET / HTTP/1.1",
    "ü".encode(),
]
REPLY = re.compile(rb"[2-5][0-9]{2}[ -][^\x00-\x08\x0a-\x1f\x7f]*\r\n")


def garbage(chance: random.Random) -> bytes:
    """Commands, pieces of commands, and noise."""
    parts = []
    for _ in range(chance.randint(1, 12)):
        part = chance.choice(WORDS) if chance.random() < 0.8 else chance.randbytes(chance.randint(1, 40))
        parts.append(part + (b"\r\n" if chance.random() < 0.8 else b""))
    return b"".join(parts)


async def converse(port: int, stream: bytes, chance: random.Random) -> bytes:
    """Send it in pieces, half-close, and read all that is said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = asyncio.ensure_future(reader.read())
    try:
        while stream:
            size = chance.randint(1, len(stream))
            writer.write(stream[:size])
            stream = stream[size:]
            await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(20):
            return await said
    except ConnectionError:
        return b""
    finally:
        said.cancel()
        await asyncio.gather(said, return_exceptions=True)
        writer.transport.abort()


@pytest.mark.parametrize("state", list(STATES))
@pytest.mark.parametrize("listener", ["mx", "submission"])
async def test_garbage(state: str, listener: str, tls: Tls, request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("randomly_seed", default=1)
    chance = random.Random(f"{seed} {state} {listener}")
    limits = Limits(message_size=20_000, connections_per_address=200)
    async with World(
        listener="mx" if listener == "mx" else "submission",
        context=tls.server,
        limits=limits,
        deadlines=Deadlines(command=5, block=5, handshake=2),
    ) as world:
        for _ in range(20):
            stream = STATES[state] + garbage(chance)
            said = await converse(world.port, stream, chance)
            # After STARTTLS the rest is TLS records; up to there every octet belongs to a well-formed reply.
            plain = said.split(b"220 2.0.0 Ready to start TLS\r\n")[0]
            assert REPLY.sub(b"", plain) == b"", (stream, plain)
        await world.until_gone()
        assert world.services.budget.used == 0
        assert all(stored.envelope.recipients for stored in world.spool.items.values())
        async with await world.client() as client:
            assert (await client.command("NOOP")).code == 250
