"""PROXY headers, read from a connected socket before anything else exists.

1. A header is taken to its last octet and not further, so that what follows (a ClientHello perhaps) is still in the
   kernel for whoever reads next.
2. Only peers of the configured networks may name another address, and they must.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from relay.core.errors import PeerFault
from relay.core.ip import parsed
from relay.listen.front import Peer
from relay.listen.settings import Network
from relay.proto.proxy import Header, Invalid, ProxyParser

_PEEK = 1024


def trusted(address: str, networks: Sequence[Network]) -> bool:
    """Whether this peer speaks for others."""
    if not networks:
        return False
    ip = parsed(address)
    return ip is not None and any(ip in network for network in networks)


async def client_behind(client: socket.socket, proxy: Peer) -> Peer:
    """Whom the proxy speaks for; the proxy where that is itself (a health check). OSError, PeerFault."""
    header = await read_header(client)
    return proxy if header.local or not header.address else Peer(header.address, header.port)


async def read_header(client: socket.socket) -> Header:
    """The PROXY header of a connected socket, exactly. OSError, PeerFault."""
    parser = ProxyParser()
    while True:
        seen = await _peek(client)
        answer = parser.feed(seen)
        client.recv(len(seen) - len(parser.rest))
        if isinstance(answer, Header):
            return answer
        if isinstance(answer, Invalid) or not seen:
            raise PeerFault("no PROXY header")


async def _peek(client: socket.socket) -> bytes:
    """What waits to be read, left where it is; empty at the end of the stream."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(client, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(client)
    return client.recv(_PEEK, socket.MSG_PEEK)
