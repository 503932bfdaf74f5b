"""The way out of an office that has only these servers: a SOCKS5 proxy (RFC 1928) that knows a few names.

In: which host and port leads to which loopback port. Out: a proxy on a loopback port. A client behind it uses the real
names and the real ports of the services; whatever else it looks for does not exist, so that no test leaves the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final

from tests.peers.ports import LOOPBACK

Ways = Mapping[tuple[str, int], int]
"""Host and port as the client knows them, to the loopback port that answers."""

_NO_AUTHENTICATION: Final = b"\x05\x00"
_BY_ADDRESS: Final = 1
_BY_NAME: Final = 3
_GRANTED: Final = b"\x05\x00\x00\x01" + bytes(6)
_UNREACHABLE: Final = b"\x05\x04\x00\x01" + bytes(6)
_BLOCK: Final = 65_536


@contextlib.asynccontextmanager
async def gateway(ways: Ways) -> AsyncIterator[int]:
    """A running proxy; its port."""
    clients: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        task.add_done_callback(clients.discard)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _through(reader, writer, ways)
        except asyncio.CancelledError:
            pass  # the office closes; StreamReaderProtocol would log it
        finally:
            writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        server.close()
        for task in tuple(clients):
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def _through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ways: Ways) -> None:
    _, methods = await reader.readexactly(2)
    await reader.readexactly(methods)
    writer.write(_NO_AUTHENTICATION)
    _, _, _, kind = await reader.readexactly(4)
    if kind == _BY_NAME:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    else:
        host = ".".join(map(str, await reader.readexactly(4 if kind == _BY_ADDRESS else 16)))
    port = int.from_bytes(await reader.readexactly(2))
    target = ways.get((host.lower(), port))
    if target is None:
        writer.write(_UNREACHABLE)
        await writer.drain()
        return
    there_reader, there_writer = await asyncio.open_connection(LOOPBACK, target)
    try:
        writer.write(_GRANTED)
        # Either side's end is the end: no client here half-closes.
        ends = {
            asyncio.create_task(_copy(reader, there_writer)),
            asyncio.create_task(_copy(there_reader, writer)),
        }
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
    finally:
        there_writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while block := await source.read(_BLOCK):
        sink.write(block)
        await sink.drain()
