"""Ports of SMTP: connections come in here, and leave when the node stops.

1. A PROXY header is read from the raw socket before anything else exists, to its last octet and not further, so that
   what follows (a ClientHello perhaps) is still in the kernel for whoever reads next. With implicit TLS the handshake
   comes then; a connection exists, and counts at the gate, when both are done.
2. Only peers of the configured networks may name another address, and they must.
3. `stop` ends what is idle at once, gives transactions under way their time, then cuts; nothing committed is lost.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Coroutine
from typing import Any

from relay.core.errors import PeerFault
from relay.inbound.connection import SHUTDOWN, Connection
from relay.inbound.ports import Services
from relay.inbound.session import Peer
from relay.inbound.settings import ListenerSettings
from relay.inbound.verbs import Verbs
from relay.obs.logs import logger
from relay.proto.proxy import Header, Invalid, ProxyParser

_log = logger("inbound.listener")
_PEEK = 1024
_RETRY = 0.2
"""Seconds before accepting again when the process is out of descriptors."""


class Listener:
    """One port. `context` may be replaced while it runs (renewed certificate); new handshakes use the new one."""

    def __init__(self, services: Services, settings: ListenerSettings, context: ssl.SSLContext | None) -> None:
        if settings.implicit_tls and context is None:
            raise ValueError("implicit TLS needs a certificate")
        self.context = context
        self._services = services
        self._settings = settings
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port in use; helpful where 0 was configured."""
        if self._socket is None:
            raise RuntimeError("not started")
        return int(self._socket.getsockname()[1])

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._connections)

    async def start(self) -> None:
        """Bind and accept. OSError."""
        settings, loop = self._settings, asyncio.get_running_loop()
        self._socket = _bind(settings)
        if settings.proxy_from or settings.implicit_tls:
            self._spawn(self._accept(self._socket))
        else:
            self._server = await loop.create_server(self._make, sock=self._socket, backlog=settings.backlog)

    async def stop(self) -> None:
        """Invariant 3. Idempotent."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        for connection in tuple(self._connections):
            connection.stop()
        if ends := self._ends():
            await asyncio.wait(ends, timeout=self._services.settings.deadlines.goodbye)
        for connection in tuple(self._connections):
            connection.cut()
        if ends := self._ends():
            await asyncio.wait(ends)
        await self._services.finishing.drain()

    def _ends(self) -> set[asyncio.Future[None]]:
        return {connection.ended for connection in self._connections}

    def _make(self, peer: Peer | None = None) -> Connection:
        return Verbs(self._services, self._settings, self.context, peer=peer, open_now=self._connections)

    # --- PROXY, implicit TLS ---

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listening)
            except OSError as error:
                _log.warning("accept_failed", listener=self._settings.name, exc_info=error)
                await asyncio.sleep(_RETRY)
                continue
            if len(self._tasks) > self._services.settings.limits.connections:
                client.close()
                continue
            client.setblocking(False)
            self._spawn(self._introduce(client))

    async def _introduce(self, client: socket.socket) -> None:
        """Who is it? Then the connection begins as any other."""
        name, deadlines = self._settings.name, self._services.settings.deadlines
        peer: Peer | None = None
        try:
            if self._trusted(client):
                async with asyncio.timeout(deadlines.proxy_header):
                    header = await read_header(client)
                if header.address and not header.local:
                    peer = Peer(header.address, header.port)
        except (OSError, PeerFault):  # TimeoutError is an OSError
            self._services.metrics.connections[name, "proxy_header"].inc()
            client.close()
            return
        except asyncio.CancelledError:
            client.close()
            raise
        try:
            # From here on the loop owns the socket, and closes it when the handshake fails.
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._make(peer),
                client,
                ssl=self.context if self._settings.implicit_tls else None,
                ssl_handshake_timeout=deadlines.handshake if self._settings.implicit_tls else None,
                ssl_shutdown_timeout=SHUTDOWN if self._settings.implicit_tls else None,
            )
        except OSError:  # ssl.SSLError is one
            self._services.metrics.faults["tls"].inc()

    def _trusted(self, client: socket.socket) -> bool:
        address = ipaddress.ip_address(client.getpeername()[0].partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._settings.proxy_from)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


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


def _bind(settings: ListenerSettings) -> socket.socket:
    address = ipaddress.ip_address(settings.host)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    listening = socket.create_server(
        (settings.host, settings.port), family=family, backlog=settings.backlog, reuse_port=settings.reuse_port
    )
    listening.setblocking(False)
    return listening
