"""Ports of IMAP: connections come in here, and leave when the node stops.

1. A connection is counted from its first moment, before any TLS handshake.
2. A PROXY header is read from the raw socket, to its last octet and not further, so that a ClientHello behind it is
   still in the kernel. Only peers of the configured networks may name another address, and they must.
3. `stop` tells every client BYE, gives commands under way their time, then cuts.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl

from relay.obs.logs import logger
from relay.primary.stream import Stream
from relay.proto.imap import encode
from relay.proto.proxy import Header, NeedMore, ProxyParser
from relay.serve.connection import Connection
from relay.serve.ports import Services
from relay.serve.settings import ListenerSettings

_log = logger("serve.listener")
_PEEK = 4200
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
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()

    @property
    def port(self) -> int:
        """The port in use; helpful where 0 was configured."""
        if self._socket is None:
            raise RuntimeError("not started")
        return int(self._socket.getsockname()[1])

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._tasks)

    async def start(self) -> None:
        """Bind and accept. OSError."""
        loop = asyncio.get_running_loop()
        self._socket = _bind(self._settings)
        self._accepting = loop.create_task(self._accept(self._socket))
        self._watching = loop.create_task(self._watch())

    async def stop(self) -> None:
        """Invariant 3. Idempotent."""
        for task in (self._accepting, self._watching):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
        for connection in tuple(self._connections):
            connection.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._services.settings.deadlines.goodbye)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._services.chores.drain(self._services.settings.deadlines.goodbye)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._services.settings.deadlines.watch)
            for connection in tuple(self._connections):
                connection.watch()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listening)
            except OSError as error:
                _log.warning("accept_failed", listener=self._settings.name, exc_info=error)
                await asyncio.sleep(_RETRY)
                continue
            task = loop.create_task(self._handle(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _handle(self, client: socket.socket) -> None:
        """From an accepted socket to the end of its connection."""
        metrics, name, gate = self._services.metrics, self._settings.name, self._services.gate
        try:
            address = await self._address(client)
        except BaseException:
            client.close()
            raise
        if address is None:
            metrics.connections[name, "proxy_header"].inc()
            client.close()
            return
        entry = gate.enter(address)
        metrics.connections[name, entry].inc()
        if entry != "accepted":
            self._turn_away(client)
            return
        metrics.open[name].inc()
        try:
            await self._serve(client, address)
        finally:
            metrics.open[name].dec()
            gate.leave(address)

    async def _serve(self, client: socket.socket, address: str) -> None:
        loop, deadlines = asyncio.get_running_loop(), self._services.settings.deadlines
        context = self.context if self._settings.implicit_tls else None
        stream = Stream(loop, stall_seconds=deadlines.write)
        try:
            # What uvloop answers as the protocol is its own TLS layer: ours is the one that we made.
            await loop.connect_accepted_socket(
                lambda: stream,
                client,
                ssl=context,
                ssl_handshake_timeout=None if context is None else deadlines.handshake,
                ssl_shutdown_timeout=None if context is None else deadlines.goodbye,
            )
        except OSError:  # ssl.SSLError is one: a scanner, or a client that does not trust us
            self._services.metrics.faults["tls"].inc()
            client.close()
            return
        except BaseException:
            client.close()
            raise
        connection = Connection(stream, address, self._services, lambda: self.context)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    def _turn_away(self, client: socket.socket) -> None:
        """Say why, as far as that fits into the socket's buffer, and close."""
        try:
            if not self._settings.implicit_tls:
                client.send(encode.condition(None, "BYE", "Too many connections, try again later", b"LIMIT"))
        except OSError as error:
            _log.debug("not_told", exc_info=error)
        finally:
            client.close()

    async def _address(self, client: socket.socket) -> str | None:
        """The client's IP address; None when a PROXY header was due and did not come."""
        client.setblocking(False)
        try:
            peer = str(client.getpeername()[0])
            if not self._trusted(peer):
                return peer
            async with asyncio.timeout(self._services.settings.deadlines.proxy_header):
                header = await _read_header(client)
        except (OSError, TimeoutError):
            return None
        if header is None:
            return None
        return peer if header.local or not header.address else header.address

    def _trusted(self, peer: str) -> bool:
        address = ipaddress.ip_address(peer.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._settings.proxy_from)


async def _read_header(client: socket.socket) -> Header | None:
    """The PROXY header of a connected socket; None when it sent something else. OSError."""
    loop, parser = asyncio.get_running_loop(), ProxyParser()
    while True:
        ready = asyncio.Event()
        loop.add_reader(client, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(client)
        seen = client.recv(_PEEK, socket.MSG_PEEK)
        answer = parser.feed(seen)
        client.recv(len(seen) - len(parser.rest))
        if isinstance(answer, Header):
            return answer
        if not isinstance(answer, NeedMore) or not seen:
            return None


def _bind(settings: ListenerSettings) -> socket.socket:
    family = socket.AF_INET if ipaddress.ip_address(settings.host).version == 4 else socket.AF_INET6
    listening = socket.create_server(
        (settings.host, settings.port), family=family, backlog=settings.backlog, reuse_port=settings.reuse_port
    )
    listening.setblocking(False)
    return listening
