"""One TCP connection as octets, with back-pressure both ways. Shared by the IMAP front and its way to the primary.

Octets arrive in blocks, leave by `take`, or go straight into another stream once `pipe_to` has joined the two.

1. Above `high_water` unread octets the transport is not read from; a peer that does not read is not written for.
2. A peer that takes nothing of a full send buffer for `stall_seconds` is cut off.
3. Nothing received before TLS is read inside it: `start_tls` refuses while octets are waiting (RFC 9051 6.2.1).
4. A joined pair costs no task, and no buffer beyond the transports' own while nothing moves.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

HIGH_WATER = 128 * 1024
_BLOCK = 64 * 1024
"""Octets read at a time. Larger objects are mapped from the system and given back for each block: measured on a large
FETCH, blocks of 256 KB (uvloop's own) cost three times the system's time for their page faults alone."""
_KEEPALIVE = (
    (socket.TCP_KEEPIDLE, 60),
    (socket.TCP_KEEPINTVL, 10),
    (socket.TCP_KEEPCNT, 3),
    # Probes are not sent while octets wait for their acknowledgement; then this is the limit, in milliseconds.
    (socket.TCP_USER_TIMEOUT, 90_000),
)
_SHUTDOWN_SECONDS = 2.0


class Closed(Exception):
    """The connection is gone; nothing can be written any more."""


class Stream(asyncio.BufferedProtocol):
    """Made by `create_connection`, `create_server` or `connect_accepted_socket`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        stall_seconds: float,
        connected: Callable[[Stream], None] | None = None,
    ) -> None:
        self.ended = False
        """The peer has said its last octet."""
        self.lost = False
        """The connection is gone."""
        self._loop = loop
        self._stall_seconds = stall_seconds
        self._connected = connected
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._block: memoryview | None = None
        self._paused_reading = False
        self._paused_writing = False
        self._stall: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._target: Stream | None = None
        self._feeder: Stream | None = None
        self._tap: Callable[[bytes], bytes] | None = None
        self._poked = False
        self._on_end: Callable[[], None] | None = None
        self.tls = False

    # --- asyncio.BufferedProtocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop gives us the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self.tls = transport.get_extra_info("ssl_object") is not None
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            # A primary or a client whose machine vanished must be noticed on idle connections too.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        if self._connected is not None:
            self._connected(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop puts what it reads next."""
        if self._block is None:
            # A view: asyncio's TLS writes into slices of it, which would be copies of a bytearray.
            self._block = memoryview(bytearray(_BLOCK))
        return self._block

    def buffer_updated(self, nbytes: int) -> None:
        """Octets of the peer are there."""
        assert self._block is not None
        data = bytes(self._block[:nbytes])
        self._block = None  # an idle connection keeps none
        self._received(data)

    def _received(self, data: bytes) -> None:
        if self._target is not None:
            data = self._tap(data) if self._tap is not None else data
            if data:
                self._target.put(data)
            return
        self._buffer += data
        if len(self._buffer) >= HIGH_WATER:
            self._pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """The peer has nothing more to say; it may still listen (`printf ... | nc`), except through TLS."""
        self._finish()
        return not self.tls

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended, whoever ended it."""
        self.lost = True
        self._stop_stall()
        self._finish()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def pause_writing(self) -> None:
        """The send buffer is full."""
        self._paused_writing = True
        self._stall = self._loop.call_later(self._stall_seconds, self.abort)
        if self._feeder is not None:
            self._feeder._pause_reading()

    def resume_writing(self) -> None:
        """The send buffer has room."""
        self._paused_writing = False
        self._stop_stall()
        if self._feeder is not None:
            self._feeder._resume_reading()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # --- the owner's side ---

    def take(self) -> bytes:
        """Everything that waits to be read."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._resume_reading()
        return data

    async def wait(self, seconds: float | None) -> None:
        """Until something arrives, the peer ends, or `poke` is called. TimeoutError."""
        if self._buffer or self.ended or self._poked:
            self._poked = False
            return
        self._waiter = self._loop.create_future()
        try:
            if seconds is None:  # as before every command
                await self._waiter
            else:
                async with asyncio.timeout(seconds):
                    await self._waiter
        finally:
            self._waiter = None
            self._poked = False

    def poke(self) -> None:
        """Let `wait` return: something else than octets has happened."""
        self._poked = True
        self._wake()

    def put(self, data: bytes) -> None:
        """Write without waiting; nothing happens when the connection is gone."""
        if self._transport is not None and not self.lost and not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait while the send buffer is full. Closed."""
        if self._paused_writing and not self.lost:
            self._room = self._loop.create_future()
            try:
                await self._room
            finally:
                self._room = None
        if self.lost or self._transport is None or self._transport.is_closing():
            raise Closed

    def hold(self) -> None:
        """Read nothing more from the socket until TLS has begun."""
        self._pause_reading()

    async def start_tls(
        self, context: ssl.SSLContext, *, server_side: bool, seconds: float, server_hostname: str | None = None
    ) -> None:
        """Upgrade. Closed when it fails, or when octets wait that were sent before it."""
        transport = self._transport
        if transport is None or self.lost or self._buffer or transport.is_closing():
            self.abort()
            raise Closed
        try:
            upgraded = await self._loop.start_tls(
                transport,
                self,
                context,
                server_side=server_side,
                server_hostname=server_hostname,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        except (OSError, ssl.SSLError) as error:
            self.abort()
            raise Closed from error
        if upgraded is None:  # what the loop answers when the connection was lost meanwhile
            raise Closed
        self._transport = upgraded
        self._paused_reading = False
        self.tls = True

    def pipe_to(self, target: Stream, tap: Callable[[bytes], bytes] | None = None) -> None:
        """From now on everything that arrives goes to `target`; `tap` sees it pass and says what goes on."""
        self._target, self._tap = target, tap
        target._feeder = self
        target._widen()
        if waiting := self.take():
            self._received(waiting)
        if target._paused_writing:
            self._pause_reading()

    def unpipe(self) -> None:
        """Undo `pipe_to`; what arrives later is kept again."""
        if self._target is not None:
            self._target._feeder = None
        self._target = self._tap = None

    def info(self, name: str) -> object:
        """`transport.get_extra_info`."""
        return None if self._transport is None else self._transport.get_extra_info(name)

    def close(self) -> None:
        """Close once everything written has gone out; a peer that does not read is cut after `stall_seconds`."""
        if self._transport is not None and not self.lost:
            self._transport.close()
            if self._stall is None:
                self._stall = self._loop.call_later(self._stall_seconds, self.abort)

    def abort(self) -> None:
        """Cut the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def when_ended(self, call: Callable[[], None]) -> None:
        """`call()` once the peer has ended, at once if it has."""
        self._on_end = call
        if self.ended:
            call()

    # --- inside ---

    def _widen(self) -> None:
        """Let some blocks go through without stopping the other side for what the kernel has not taken yet."""
        if self._transport is not None and not self.lost:
            self._transport.set_write_buffer_limits(high=2 * HIGH_WATER, low=HIGH_WATER // 2)

    def _finish(self) -> None:
        self.ended = True
        self._wake()
        if self._on_end is not None:
            self._on_end()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _pause_reading(self) -> None:
        if not self._paused_reading and self._transport is not None and not self.lost:
            self._paused_reading = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._paused_reading and self._transport is not None and not self.lost:
            self._paused_reading = False
            self._transport.resume_reading()
