"""One TCP connection to an SMTP server: bytes out with back-pressure, replies in, TLS in between.

Command lines and content enter, `Reply` values leave in order. It knows how many replies the server owes, and nothing
else of SMTP.

1. A reply that nobody asked for breaks the connection, so that replies and commands can never be mis-paired. Its text
   is kept in `last_word`: a server that refuses in the middle of the content says why.
2. Nothing may wait unread when TLS starts: the connection breaks (response injection, RFC 3207 6).
3. Once broken it stays so; `Broken` carries a bland reason. Replies that came before are still handed out.
4. Every wait has the caller's deadline.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import cast

from relay.core.errors import PeerFault
from relay.core.reply import Reply
from relay.primary.alarm import Alarm
from relay.proto.smtp.reader import ReplyReader

_GOODBYE_SECONDS = 2.0


class Broken(Exception):
    """The connection is of no use any more; `str()` is a bland reason."""


class Wire(asyncio.Protocol):
    """Made by `connect`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.broken: str | None = None
        self.last_word: Reply | None = None
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._owed = 1  # the greeting
        self._wanted = 0
        self._alarm = Alarm(lambda: self.kill("server did not answer in time"))
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._paused = False

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop gives us the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Replies, in any pieces."""
        if self.broken is not None:
            return
        try:
            self._reader.feed(data)
            while (reply := self._reader.next()) is not None:
                if self._owed == 0:
                    self.last_word = reply
                    self.kill("server spoke out of turn")
                    return
                self._owed -= 1
                self._replies.append(reply)
        except PeerFault:
            self.kill("server sent no SMTP reply")
            return
        if len(self._replies) >= self._wanted:
            self._wake()

    def eof_received(self) -> bool:
        """The server is done; so are we."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended, whoever ended it."""
        self._break("connection broke" if exc else "server closed the connection")

    def pause_writing(self) -> None:
        """The send buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The send buffer has room."""
        self._paused = False
        self._release()

    # --- for connection and transaction ---

    def send(self, data: bytes, *, replies: int = 0) -> None:
        """Hand bytes to the transport; the server owes `replies` replies for them. Broken."""
        transport = self.check()
        self._owed += replies
        transport.write(data)

    def check(self) -> asyncio.Transport:
        """Broken, unless the connection is good as far as anyone knows."""
        if self.broken is None and (self._transport is None or self._transport.is_closing()):
            self._break("connection broke")
        if self.broken is not None or self._transport is None:
            raise Broken(self.broken or "connection broke")
        return self._transport

    async def drain(self, seconds: float) -> None:
        """Wait while the send buffer is full. Broken, also when the peer takes nothing for `seconds`.

        Gives way in any case: a long body must not keep the loop from hearing that the server has hung up.
        """
        await asyncio.sleep(0)
        if self._paused and self.broken is None:
            self._room = self._loop.create_future()
            try:
                async with asyncio.timeout(seconds):
                    await self._room
            except TimeoutError:
                self.kill("server stopped reading")
            finally:
                self._room = None
        self.check()

    async def reply(self, seconds: float) -> Reply:
        """The next reply. Broken, also when it does not come in time."""
        if not self._replies:
            await self._await(1, seconds)
        return self._replies.popleft()

    async def replies(self, count: int, seconds: float) -> list[Reply]:
        """The next `count` replies, together."""
        if len(self._replies) < count:
            await self._await(count, seconds)
        return [self._replies.popleft() for _ in range(count)]

    async def start_tls(self, context: ssl.SSLContext, server_name: str, seconds: float) -> None:
        """Upgrade. Broken when the handshake fails or something came before it."""
        plain = self.check()
        if self._reader.pending or self._replies:
            self.kill("server spoke before TLS")
            raise Broken("server spoke before TLS")
        try:
            transport = await self._loop.start_tls(
                plain,
                self,
                context,
                server_hostname=server_name,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=_GOODBYE_SECONDS,
            )
        except (OSError, ssl.SSLError, ValueError) as error:  # ValueError: a name that no certificate can have
            certificate = isinstance(error, ssl.SSLCertVerificationError)
            reason = "certificate is not valid" if certificate else "TLS handshake failed"
            self.kill(reason)
            raise Broken(reason) from error
        if transport is None:  # what the loop answers when the connection was lost meanwhile
            self.kill("TLS handshake failed")
            raise Broken("TLS handshake failed")
        self._transport = transport

    def info(self, name: str) -> object:
        """`transport.get_extra_info`."""
        return None if self._transport is None else self._transport.get_extra_info(name)

    def kill(self, reason: str) -> None:
        """Cut the connection now; what was written may or may not arrive."""
        self._break(reason)
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """QUIT without waiting for the answer."""
        if self.broken is None and self._transport is not None:
            if not self._transport.is_closing():  # uvloop raises where asyncio says nothing
                self._transport.write(b"QUIT\r\n")
            self._break("closed by us")
            self._transport.close()

    async def _await(self, count: int, seconds: float) -> None:
        if self.broken is None:
            self._wanted = count
            self._arrival = self._loop.create_future()
            self._alarm.set(seconds)
            try:
                await self._arrival
            finally:
                self._alarm.off()
                self._arrival, self._wanted = None, 0
        if len(self._replies) < count:
            raise Broken(self.broken or "server did not answer in time")

    def _break(self, reason: str) -> None:
        if self.broken is None:
            self.broken = reason
            self._alarm.close()
            self._wake()
            self._release()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _release(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)


async def connect(host: str, port: int) -> Wire:
    """A connected wire; the caller owns the deadline. Broken."""
    loop = asyncio.get_running_loop()
    try:
        _, wire = await loop.create_connection(lambda: Wire(loop), host, port)
    except ConnectionRefusedError as error:
        raise Broken("connection refused") from error
    except OSError as error:
        raise Broken("host is not reachable") from error
    return wire
