"""A session with an SMTP server, from connect to the point where MAIL may be sent.

Settings enter, a ready `Connection` leaves, or `NoContact` with a bland reason. The whole opening has one deadline, so
a primary that accepts and then hangs is as dead as one that refuses.

1. EHLO is said again after TLS and after XCLIENT; what was offered before is forgotten (RFC 3207 4.2).
2. With `starttls` and `implicit` nothing but EHLO and STARTTLS goes out unprotected. With `opportunistic` a failed
   handshake is remembered, and the next connections go in clear: the mail matters more than encryption not asked for.
3. Credentials go out only on the protection that was configured, and with `opportunistic` only inside TLS.
4. Where a certificate check is given, nothing goes out on a connection that it did not pass, EHLO inside TLS included.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl

from relay.core.clock import Clock
from relay.core.envelope import Origin
from relay.core.reply import Reply
from relay.primary.authenticating import authenticate
from relay.primary.errors import LoginRefused, NoContact
from relay.primary.settings import Forward, SmtpSettings, TlsMode
from relay.primary.tls import CertificateCheck, client_context, peer_chain
from relay.primary.wire import Broken, Wire, connect
from relay.proto.smtp.ehlo import Extensions, parse_ehlo
from relay.proto.smtp.xclient import xclient_command

_CLEAR_SECONDS = 600.0
"""How long a failed opportunistic handshake is remembered."""


class Connection:
    """A wire and what is known about the other end."""

    __slots__ = ("born", "extensions", "greeting", "origin", "reset", "uses", "wire")

    def __init__(self, wire: Wire, born: float) -> None:
        self.wire = wire
        self.born = born
        """Monotonic seconds."""
        self.greeting = Reply(220, ())
        self.extensions = Extensions()
        self.origin: Origin | None = None
        """Whom the server takes us for, by XCLIENT or PROXY."""
        self.reset = False
        """A transaction was left open: RSET goes ahead of the next one, without a round trip of its own."""
        self.uses = 0

    @property
    def usable(self) -> bool:
        """Whether another transaction may begin."""
        return self.wire.broken is None

    async def command(self, line: bytes, seconds: float) -> Reply:
        """One command, one reply. Broken."""
        self.wire.send(line, replies=1)
        return await self.wire.reply(seconds)


class Dialer:
    """Opens connections to one server."""

    def __init__(
        self,
        settings: SmtpSettings,
        clock: Clock,
        check: CertificateCheck | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`context` where several dialers share one; it is made when it is needed first."""
        self.settings = settings
        self._clock = clock
        self._check = check
        self._clear_until = float("-inf")
        self._context = context

    async def dial(self, origin: Origin | None) -> Connection:
        """A session ready for MAIL, on behalf of `origin` where the settings forward it. NoContact."""
        try:
            async with asyncio.timeout(self.settings.deadlines.open):
                return await self._dial(origin)
        except TimeoutError:
            raise NoContact("server did not answer in time") from None
        except Broken as error:
            raise NoContact(str(error)) from error

    async def become(self, connection: Connection, origin: Origin | None) -> None:
        """Tell the server by XCLIENT whom the next transaction is for. Broken, NoContact."""
        if origin is None or self.settings.forward is not Forward.XCLIENT or connection.origin == origin:
            return
        line = xclient_command(origin, connection.extensions.parameters("XCLIENT"))
        if not line:
            return
        reply = await connection.command(line, self.settings.deadlines.command)
        if reply.code == 220:
            await self._ehlo(connection)
            connection.origin, connection.reset = origin, False
        elif reply.code == 421:
            connection.wire.kill("server is closing")
            raise NoContact("server is closing")
        # Any other answer: it does not trust us that far. The mail matters more than whom it is logged for.

    async def _dial(self, origin: Origin | None) -> Connection:
        endpoint = self.settings.endpoint
        mode = endpoint.tls
        clear = mode is TlsMode.NONE or (mode is TlsMode.OPPORTUNISTIC and self._clock.monotonic() < self._clear_until)
        connection = Connection(await connect(endpoint.host, endpoint.port), self._clock.monotonic())
        try:
            if self.settings.forward is Forward.PROXY and origin is not None:
                connection.wire.send(_proxy_header(origin, connection.wire))
                connection.origin = origin
            if mode is TlsMode.IMPLICIT:
                await self._encrypt(connection)
            await self._greet(connection)
            if not clear and mode is not TlsMode.IMPLICIT:
                await self._upgrade(connection)
            await self._login(connection)
            await self.become(connection, origin)
        except _HandshakeFailed:
            self._clear_until = self._clock.monotonic() + _CLEAR_SECONDS
            return await self._dial(origin)
        except BaseException:
            connection.wire.kill("opening failed")
            raise
        return connection

    async def _greet(self, connection: Connection) -> None:
        reply = connection.greeting = await connection.wire.reply(self.settings.deadlines.command)
        if reply.code != 220:
            # RFC 5321 3.1: 554 or 421 instead of a greeting; Exchange says 452 under back pressure.
            raise NoContact(f"greeting was {reply.code}")
        await self._ehlo(connection)

    async def _ehlo(self, connection: Connection) -> None:
        seconds, name = self.settings.deadlines.command, self.settings.helo
        reply = await connection.command(f"EHLO {name}\r\n".encode("ascii"), seconds)
        if reply.positive:
            connection.extensions = parse_ehlo(reply)
            return
        connection.extensions = Extensions()
        if reply.permanent:
            reply = await connection.command(f"HELO {name}\r\n".encode("ascii"), seconds)  # RFC 5321 3.2
        if not reply.positive:
            raise NoContact(f"EHLO was answered {reply.code}")

    async def _upgrade(self, connection: Connection) -> None:
        must = self.settings.endpoint.tls is TlsMode.STARTTLS
        if "STARTTLS" not in connection.extensions:
            if must:
                raise NoContact("server does not offer STARTTLS")
            return
        reply = await connection.command(b"STARTTLS\r\n", self.settings.deadlines.command)
        if reply.code != 220:
            if must:
                raise NoContact(f"STARTTLS was answered {reply.code}")
            return
        try:
            await self._encrypt(connection)
        except Broken as error:
            if must:
                raise
            raise _HandshakeFailed from error
        await self._ehlo(connection)

    async def _encrypt(self, connection: Connection) -> None:
        endpoint = self.settings.endpoint
        if self._context is None:
            self._context = client_context(endpoint)
        name = endpoint.server_name or endpoint.host
        await connection.wire.start_tls(self._context, name, self.settings.deadlines.open)
        if self._check is not None and not self._check(peer_chain(connection.wire.info("ssl_object"))):
            connection.wire.kill("certificate is not valid")
            raise Broken("certificate is not valid")

    async def _login(self, connection: Connection) -> None:
        credentials, tls = self.settings.credentials, self.settings.endpoint.tls
        if credentials is None:
            return
        if tls is TlsMode.OPPORTUNISTIC and connection.wire.info("ssl_object") is None:
            return  # an attacker who strips STARTTLS must not be handed the password
        offered = connection.extensions.parameters("AUTH")
        seconds = self.settings.deadlines.command
        reply = await authenticate(credentials, offered, lambda line: connection.command(line, seconds))
        if reply.code != 235:
            raise LoginRefused(reply)


class _HandshakeFailed(Exception):
    """Opportunistic TLS did not work out: dial again without."""


def _proxy_header(origin: Origin, wire: Wire) -> bytes:
    """PROXY protocol version 1, section 2.1; UNKNOWN where the client's address is not known."""
    local = wire.info("peername")
    try:
        source = ipaddress.ip_address(origin.client_address)
        target = ipaddress.ip_address(str(local[0])) if isinstance(local, tuple) else source
        port = int(local[1]) if isinstance(local, tuple) else 0
    except ValueError:
        return b"PROXY UNKNOWN\r\n"
    # The header has one family for both; an IPv4 address has an IPv6 spelling (RFC 4291 2.5.5.2).
    family = max(source.version, target.version)
    pair = " ".join(str(a) if a.version == family else f"::ffff:{a}" for a in (source, target))
    return f"PROXY TCP{family} {pair} {origin.client_port} {port}\r\n".encode("ascii")
