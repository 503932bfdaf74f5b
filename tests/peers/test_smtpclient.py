"""The strict client is strict."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.peers.certs import Authority
from tests.peers.ports import LOOPBACK
from tests.peers.postfix import Postfix
from tests.peers.smtpclient import SmtpClient, Violation, dot_stuff


@contextlib.asynccontextmanager
async def server_that_says(*turns: bytes) -> AsyncIterator[int]:
    """Says the first turn at once and one more after each line it gets; then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, turn in enumerate(turns):
            if number:
                await reader.readline()
            writer.write(turn)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    "greeting",
    [
        b"220 ready\n",
        b"220ready\r\n",
        b"199 too low\r\n",
        b"620 too high\r\n",
        b"220 " + b"x" * 510 + b"\r\n",
        b"220-one\r\n250 two\r\n",
        b"220 nul\0\r\n",
        b"220 bare\rcr\r\n",
    ],
)
async def test_malformed_replies_are_violations(greeting: bytes) -> None:
    async with server_that_says(greeting) as port:
        with pytest.raises(Violation):
            await SmtpClient.connect(port)


async def test_an_unasked_reply_is_a_violation() -> None:
    async with server_that_says(b"220 hello\r\n250 and more\r\n") as port, await SmtpClient.connect(port) as client:
        with pytest.raises(Violation, match="and more"):
            await client.command("NOOP")


async def test_a_word_after_221_is_a_violation() -> None:
    async with (
        server_that_says(b"220 hello\r\n", b"221 bye\r\n250 wait\r\n") as port,
        await SmtpClient.connect(port) as client,
    ):
        with pytest.raises(Violation, match="wait"):
            await client.quit()


async def test_a_lost_reply_is_no_acceptance() -> None:
    async with server_that_says(b"220 hello\r\n") as port, await SmtpClient.connect(port) as client:
        with pytest.raises(ConnectionError):
            await client.command("NOOP")


@pytest.mark.peers
async def test_conversation_with_postfix(postfix: Postfix, authority: Authority) -> None:
    async with await SmtpClient.connect(postfix.port) as client:
        extensions = await client.ehlo()
        assert {"PIPELINING", "CHUNKING", "STARTTLS", "8BITMIME"} <= extensions.keys()
        assert (await client.starttls(authority.client_context())).code == 220
        await client.ehlo()
        codes = [
            answer.code
            for answer in await client.pipeline("MAIL FROM:<>", "RCPT TO:<u050@example.com>", "RCPT TO:<x@example.com>")
        ]
        assert codes == [250, 250, 550]
        chunks = await client.bdat([b"Subject: chunks\r\n\r\n", b"over TLS\r\n", b""])
        assert [answer.code for answer in chunks] == [250, 250, 250]
        await client.quit()


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"", b"\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.b\r\n..c\r\n", b"a\r\n..b\r\n...c\r\n.\r\n"),
        (b"no end", b"no end\r\n.\r\n"),
    ],
)
def test_dots_are_stuffed(message: bytes, wire: bytes) -> None:
    assert dot_stuff(message) == wire
