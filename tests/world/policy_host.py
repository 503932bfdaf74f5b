"""A web server that publishes MTA-STS policies over HTTPS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

ENFORCE = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 86400\r\n"


@dataclass
class PolicyHost:
    """What it answers, and what it was asked."""

    body: bytes = ENFORCE.encode()
    status: str = "200 OK"
    kind: str = "text/plain; charset=utf-8"
    more: str = ""
    """Further header lines, each with its CRLF."""
    silent: bool = False
    asked: list[bytes] = field(default_factory=list)
    port: int = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            if self.silent:
                await asyncio.Event().wait()
            head = f"HTTP/1.1 {self.status}\r\nContent-Type: {self.kind}\r\nContent-Length: {len(self.body)}\r\n"
            writer.write(f"{head}{self.more}Connection: close\r\n\r\n".encode() + self.body)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def policy_host(context: ssl.SSLContext) -> AsyncIterator[PolicyHost]:
    """For the time of the block."""
    host = PolicyHost()
    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(host.talk(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=context)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
