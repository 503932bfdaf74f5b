"""Ports: connections come in here, and leave when the node stops.

1. A connection counts at the gate from the moment its client is known, before any TLS handshake, until its
   conversation has ended with all that its tasks had to do.
2. Where nothing has to be learned first (no PROXY header, no implicit TLS) the event loop accepts by itself, which is
   what a connection per message needs; else the raw socket is ours until client and TLS are settled (`proxy`).
3. Every wait before the conversation has a deadline; as many connections may be on their way as the gate lets in.
4. `stop` ends what is idle at once, gives what is under way its time, then cuts. Idempotent.
5. With neighbours (`sharing`) a new connection may become another worker's before anything else is done about it, and
   `welcome` takes one of theirs as if it had been accepted here. What is kept counts among them from then to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Generic, cast

from relay.core.errors import PeerFault
from relay.listen import proxy
from relay.listen.front import Conversation, Counted, Front, Peer, peer_of
from relay.listen.gate import Gate
from relay.listen.settings import Arrival, Name, Port
from relay.listen.sharing import Neighbours
from relay.listen.sockets import bind
from relay.listen.turned_away import TurnedAway
from relay.obs.logs import logger
from relay.obs.metrics import Admission

_log = logger("listen")
SHUTDOWN = 2.0
"""Seconds to wait for the peer's end of TLS."""
_RETRY = 0.2
"""Seconds before accepting again when the process is out of descriptors."""


class Listener(Generic[Name]):
    """One port and what is spoken on it."""

    def __init__(
        self,
        port: Port[Name],
        front: Front,
        *,
        gate: Gate,
        deadlines: Arrival,
        metrics: Counted[Name],
        context: ssl.SSLContext | None,
        neighbours: Neighbours[Name] | None = None,
    ) -> None:
        """`neighbours`: with whom connections are shared; None where they stay with the worker that accepts them."""
        if port.implicit_tls and context is None:
            raise ValueError("implicit TLS needs a certificate")
        self._settings = port
        self._front = front
        self._gate = gate
        self._deadlines = deadlines
        self._metrics = metrics
        self._turned_away = TurnedAway(port.name)
        self._neighbours = neighbours or Neighbours()
        self._context = context if port.implicit_tls else None
        self._server: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._arriving: set[asyncio.Task[None]] = set()
        self._unowned: set[socket.socket] = set()
        """Accepted, and neither the loop's nor closed: a task that is cancelled before it begins closes nothing."""
        self._conversations: set[Conversation] = set()
        self._stopping = False

    @property
    def port(self) -> int:
        """The port in use; helpful where 0 was configured."""
        if self._socket is None:
            raise RuntimeError("not started")
        return int(self._socket.getsockname()[1])

    @property
    def ends(self) -> list[asyncio.Future[None]]:
        """One for each conversation that goes on."""
        return [conversation.ended for conversation in self._conversations]

    async def start(self) -> None:
        """Bind and accept. OSError."""
        settings, loop = self._settings, asyncio.get_running_loop()
        self._socket = bind(settings.host, settings.port, shared=settings.reuse_port, backlog=settings.backlog)
        if settings.proxy_from or settings.implicit_tls:
            self._watch(self._socket)
        else:
            self._server = await loop.create_server(
                lambda: _Arriving(self._walked_in), sock=self._socket, backlog=settings.backlog
            )
        self._neighbours.joins(settings.name, self.welcome)

    async def stop(self) -> None:
        """Invariant 4."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        elif self._socket is not None and self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
        if self._socket is not None:
            self._socket.close()
        for task in tuple(self._arriving):
            task.cancel()
        await asyncio.gather(*self._arriving, return_exceptions=True)
        for client in tuple(self._unowned):
            self._refuse(client)
        for conversation in tuple(self._conversations):
            conversation.stop()
        if ends := self.ends:
            await asyncio.wait(ends, timeout=self._deadlines.goodbye)
        for conversation in tuple(self._conversations):
            conversation.cut()
        if ends := self.ends:
            await asyncio.wait(ends)
        self._turned_away.finish()
        await self._front.drain()

    def welcome(self, client: socket.socket) -> None:
        """It is ours: another worker has accepted it on its port of this name, and neither read nor said anything."""
        try:
            address = client.getpeername()
        except OSError:  # it has gone meanwhile
            client.close()
            return
        self._take_in(client, Peer(address[0], address[1]))

    # --- accepting ---

    def _walked_in(self, transport: asyncio.Transport) -> None:
        """The loop accepted it; nothing had to be learned first."""
        if self._stopping:  # accepted by the kernel just before its port was closed
            self._count("stopping", peer_of(transport))
            transport.abort()
            return
        if self._neighbours.gave(self._settings.name, lambda: transport.get_extra_info("socket").fileno()):
            transport.abort()  # closes our descriptor, which ends nothing: the other worker has its own
            return
        peer = peer_of(transport)
        if self._enters(peer):
            self._neighbours.came()
            self._begin(transport, peer)
        else:
            transport.write(self._front.busy)
            transport.close()

    def _watch(self, listening: socket.socket) -> None:
        if not self._stopping:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Somebody knocks."""
        loop = asyncio.get_running_loop()
        try:
            client, address = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker was quicker, or the client has gone
        except OSError as error:
            _log.warning("accept_failed", listener=self._settings.name, exc_info=error)
            loop.remove_reader(listening)
            loop.call_later(_RETRY, self._watch, listening)
            return
        if self._neighbours.gave(self._settings.name, client.fileno):
            client.close()
            return
        self._take_in(client, Peer(address[0], address[1]))

    def _take_in(self, client: socket.socket, peer: Peer) -> None:
        """It is ours; invariant 3."""
        if self._stopping or len(self._arriving) >= self._gate.limits.connections:
            self._count("stopping" if self._stopping else "too_many", peer)
            client.close()
            return
        client.setblocking(False)
        self._unowned.add(client)
        self._neighbours.came()
        task = asyncio.get_running_loop().create_task(self._introduce(client, peer))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _introduce(self, client: socket.socket, peer: Peer) -> None:
        """Who is it, may it come in, and is the line private? Then the conversation begins as any other."""
        try:
            if proxy.trusted(peer.address, self._settings.proxy_from):
                async with asyncio.timeout(self._deadlines.proxy_header):
                    peer = await proxy.client_behind(client, peer)
        except (OSError, PeerFault):  # TimeoutError is an OSError
            self._count("proxy_header", peer)
            self._refuse(client)
            return
        if self._enters(peer):
            await self._connect(client, peer)
        else:
            if self._context is None:
                with contextlib.suppress(OSError):  # as far as it fits into the socket's buffer
                    client.send(self._front.busy)
            self._refuse(client)

    def _refuse(self, client: socket.socket) -> None:
        self._unowned.discard(client)
        self._neighbours.went()
        client.close()

    async def _connect(self, client: socket.socket, peer: Peer) -> None:
        """From a socket to a transport, through the handshake where there is one."""
        begun = False

        def begin(transport: asyncio.Transport) -> None:
            nonlocal begun
            begun = True
            self._begin(transport, peer)

        handshake, shutdown = (self._deadlines.handshake, SHUTDOWN) if self._context else (None, None)
        self._unowned.discard(client)
        try:
            # The loop owns the socket from here on, and closes it when the handshake fails.
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Arriving(begin),
                client,
                ssl=self._context,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=shutdown,
            )
        except OSError:  # ssl.SSLError is one
            self._front.handshake_failed()
        finally:
            if not begun:
                self._leaves(peer)

    # --- from the gate to the end ---

    def _enters(self, peer: Peer) -> bool:
        entry = self._gate.enter(peer.address)
        self._count(entry, peer)
        return entry == "accepted"

    def _leaves(self, peer: Peer) -> None:
        self._gate.leave(peer.address)
        self._neighbours.went()

    def _begin(self, transport: asyncio.Transport, peer: Peer) -> None:
        try:
            conversation = self._front.begin(transport, peer)
        except BaseException:
            self._leaves(peer)
            transport.abort()
            raise
        self._conversations.add(conversation)
        level = self._metrics.open[self._settings.name]
        level.inc()

        def ended(_: object) -> None:
            self._conversations.discard(conversation)
            self._leaves(peer)
            level.dec()

        conversation.ended.add_done_callback(ended)

    def _count(self, result: Admission, peer: Peer) -> None:
        self._metrics.connections[self._settings.name, result].inc()
        if result != "accepted" and not self._stopping:
            self._turned_away.note(peer.address, result)


class _Arriving(asyncio.Protocol):
    """Stands in until it is known whose connection this is."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[asyncio.Transport], None]) -> None:
        self._call = call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop gives us the transport."""
        self._call(cast(asyncio.Transport, transport))
