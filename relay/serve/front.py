"""IMAP as a listener speaks it: one `Connection` for each client that was let in.

When a mode turns all of them are told, for the sake of those that are passed through.
"""

from __future__ import annotations

import asyncio
import ssl

from relay.listen.front import Peer, hand_over
from relay.listen.listener import Listener
from relay.listen.settings import Port
from relay.listen.sharing import Neighbours
from relay.primary.stream import Stream
from relay.proto.imap import encode
from relay.serve.connection import Connection
from relay.serve.ports import Services
from relay.serve.settings import ListenerName


class ImapFront:
    """One per worker, for all ports of IMAP."""

    busy = encode.condition(None, "BYE", "Too many connections, try again later", b"LIMIT")

    def __init__(self, services: Services, context: ssl.SSLContext | None) -> None:
        self._services = services
        self._context = context
        self._connections: set[Connection] = set()

    def begin(self, transport: asyncio.Transport, peer: Peer) -> Connection:
        """Greet."""
        stream = Stream(asyncio.get_running_loop(), stall_seconds=self._services.settings.deadlines.write)
        hand_over(transport, stream)
        connection = Connection(stream, peer.address, self._services, self._context)
        self._connections.add(connection)
        connection.ended.add_done_callback(lambda _: self._connections.discard(connection))
        return connection

    def handshake_failed(self) -> None:
        """Count it."""
        self._services.metrics.faults["tls"].inc()

    def heed(self) -> None:
        """A mode has turned: a primary that is down keeps no client."""
        for connection in tuple(self._connections):
            connection.heed()

    async def drain(self) -> None:
        """Chores outlive their connections, and commits outlive whoever asked for them."""
        await self._services.chores.drain(self._services.settings.deadlines.goodbye)
        await self._services.appends.drain()

    def listener(
        self, port: Port[ListenerName], neighbours: Neighbours[ListenerName] | None = None
    ) -> Listener[ListenerName]:
        """A port of IMAP."""
        services = self._services
        return Listener(
            port,
            self,
            gate=services.gate,
            deadlines=services.settings.deadlines,
            metrics=services.metrics,
            context=self._context,
            neighbours=neighbours,
        )
