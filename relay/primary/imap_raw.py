"""A user's own connection to the primary's IMAP server: logged in on the user's behalf, then handed over as it is.

Credentials enter; a logged-in stream leaves, or the primary's refusal, or `NoContact` with a bland reason. It speaks
our own codec (`proto/imap/client`), because what follows is spliced byte for byte and nothing may be lost in between.

1. The opening (connect, greeting, TLS, CAPABILITY) has one deadline, the login another.
2. PREAUTH, and an endpoint that shall be encrypted and is not, are refused: credentials never go out unprotected
   against the configuration (RFC 9051 11.3).
3. Octets that come between the server's OK and the TLS handshake break the connection.
4. Only a NO without a code that says "later" counts as a refusal of the password (RFC 5530 3).
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from enum import StrEnum

import msgspec

from relay.primary.errors import NoContact
from relay.primary.settings import Endpoint, ForwardClient, TlsMode
from relay.primary.stream import Closed, Stream
from relay.primary.tls import client_context
from relay.proto.imap import client_data, encode
from relay.proto.imap.client import Continuation, Data, Event, Malformed, ResponseReader, Status
from relay.proto.imap.limits import Limits

_LIMITS = Limits(line=65_536, literal=4_096, command=131_072, tokens=2_000, depth=8)
_MOST_LINES = 1_000
"""Untagged lines before one answer: a server that talks without end is of no use."""
_LATER = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "CONTACTADMIN"})


_PROXY_TTL = 5
"""Proxies that a connection may go through, as Dovecot counts them."""


class RawSettings(msgspec.Struct, frozen=True):
    """Where the primary's IMAP is. Times in seconds."""

    endpoint: Endpoint
    open_seconds: float = 5.0
    login_seconds: float = 20.0
    stall_seconds: float = 60.0
    """For the primary to take what fills our send buffer."""
    forward_client: ForwardClient = ForwardClient.AUTO


class Judgement(StrEnum):
    """What the primary made of the credentials."""

    OK = "ok"
    REFUSED = "refused"
    LATER = "later"
    """It answered, but could not judge."""


class Answer(msgspec.Struct, frozen=True):
    """The primary's answer to a login."""

    judgement: Judgement
    capabilities: tuple[str, ...] = ()
    """After login; empty when it was refused."""
    challenge: bytes = b""
    """What the server asked before it refused a token (RFC 7628 3.2.2), in base 64: its client wants to read it."""


class RawSession:
    """An open, greeted and (as configured) encrypted connection, not logged in yet. Made by `connect`."""

    def __init__(self, stream: Stream, settings: RawSettings, context: ssl.SSLContext | None) -> None:
        self._stream = stream
        self._context = context
        self._settings = settings
        self._reader = ResponseReader(_LIMITS)
        self._tags = 0
        self._challenge = b""
        self.capabilities: tuple[str, ...] = ()

    async def open(self) -> None:
        """Greeting, TLS, CAPABILITY. NoContact, Closed, TimeoutError."""
        endpoint = self._settings.endpoint
        greeting = await self._event()
        if not isinstance(greeting, Status) or greeting.tag is not None or greeting.status != "OK":
            raise NoContact("primary did not greet")  # PREAUTH included: invariant 2
        self._learn(greeting, [])
        if not self.capabilities:
            await self._ask_capabilities()
        if endpoint.tls is TlsMode.STARTTLS or (
            endpoint.tls is TlsMode.OPPORTUNISTIC and "STARTTLS" in self.capabilities
        ):
            await self._start_tls()
            await self._ask_capabilities()  # RFC 9051 6.2.1: what was said in clear text does not count

    async def introduce(self, client: str) -> None:
        """Say for whom we log in, where the primary may want to know; `client` is an IP address. NoContact, Closed."""
        forward = self._settings.forward_client
        if forward is ForwardClient.NONE or (forward is ForwardClient.AUTO and "ID" not in self.capabilities):
            return
        # Dovecot's words, as its own proxies say them; the TTL ends loops. Whoever does not trust us ignores it.
        pairs = (b"x-originating-ip", client.encode("ascii", "replace"), b"x-proxy-ttl", str(_PROXY_TTL).encode())
        await self._command(b"ID " + encode.parens([encode.string(word) for word in pairs]))  # RFC 2971 3.1

    def context(self) -> ssl.SSLContext:
        """For the client side of TLS."""
        return self._context or client_context(self._settings.endpoint)

    async def _start_tls(self) -> None:
        answer, _ = await self._command(b"STARTTLS")
        if answer.status != "OK":
            raise NoContact("primary refuses STARTTLS")
        if self._reader.pending:
            raise NoContact("primary spoke before TLS")
        endpoint = self._settings.endpoint
        await self._stream.start_tls(
            self.context(),
            server_side=False,
            seconds=self._settings.open_seconds,
            server_hostname=endpoint.host,
        )

    async def login(self, login: str, password: bytes) -> Answer:
        """Log in as the user. NoContact: the primary could not be asked, or went away."""
        return await self._log_in(lambda: self._say_credentials(login.encode(), password))

    async def authenticate(self, mechanism: str, message: bytes, dismissal: bytes) -> Answer:
        """Log in with a SASL message as it is; `dismissal` is said to an error challenge. NoContact, as `login`."""
        return await self._log_in(lambda: self._say_message(mechanism, message, dismissal))

    async def _log_in(self, say: Callable[[], Awaitable[tuple[Status, list[Data]]]]) -> Answer:
        try:
            async with asyncio.timeout(self._settings.login_seconds):
                answer, lines = await say()
                if answer.status != "OK":
                    later = answer.status == "BAD" or answer.code in _LATER
                    return Answer(Judgement.LATER if later else Judgement.REFUSED, challenge=self._challenge)
                self._learn(answer, lines)
                if answer.code != "CAPABILITY" and not any(line.name == "CAPABILITY" for line in lines):
                    await self._ask_capabilities()
                return Answer(Judgement.OK, self.capabilities)
        except TimeoutError:
            raise NoContact("primary did not answer a login in time") from None
        except Closed:
            raise NoContact("primary went away during a login") from None

    async def _say_credentials(self, login: bytes, password: bytes) -> tuple[Status, list[Data]]:
        if "AUTH=PLAIN" in self.capabilities and b"\0" not in login + password:
            blob = base64.b64encode(b"\0" + login + b"\0" + password)
            if "SASL-IR" in self.capabilities:  # RFC 4959
                return await self._command(b"AUTHENTICATE PLAIN " + blob)
            return await self._command(b"AUTHENTICATE PLAIN", blob)
        if "LOGINDISABLED" in self.capabilities:
            raise NoContact("primary takes no login here")
        parts = [b"LOGIN "]
        for argument, end in ((login, b" "), (password, b"")):
            word = encode.string(argument)
            if word.startswith(b"{"):
                head, _, rest = word.partition(b"\r\n")
                parts[-1] += head
                parts.append(rest + end)
            else:
                parts[-1] += word + end
        return await self._command(*parts)

    async def _say_message(self, mechanism: str, message: bytes, dismissal: bytes) -> tuple[Status, list[Data]]:
        blob = base64.b64encode(message)
        begin = b"AUTHENTICATE " + mechanism.encode("ascii")
        if "SASL-IR" in self.capabilities:
            return await self._command(begin + b" " + blob, base64.b64encode(dismissal))
        return await self._command(begin, blob, base64.b64encode(dismissal))

    def hand_over(self) -> tuple[Stream, bytes]:
        """The logged-in stream, and what the server said after its last answer; this object is done with it."""
        return self._stream, self._reader.drain()

    def close(self) -> None:
        """End it. Idempotent."""
        self._stream.abort()

    # --- one command at a time ---

    async def _command(self, first: bytes, *rest: bytes) -> tuple[Status, list[Data]]:
        """The tagged answer and the untagged data before it; `rest` goes out piece by piece after each `+`."""
        self._tags += 1
        tag = f"r{self._tags}"
        self._stream.put(tag.encode("ascii") + b" " + first + b"\r\n")
        pieces = list(rest)
        lines: list[Data] = []
        for _ in range(_MOST_LINES):
            event = await self._event()
            if isinstance(event, Continuation):
                self._challenge = event.text
                # A challenge that we have no answer for is cancelled (RFC 9051 6.2.2).
                self._stream.put((pieces.pop(0) if pieces else b"*") + b"\r\n")
            elif isinstance(event, Data):
                lines.append(event)
            elif isinstance(event, Status):
                if event.tag == tag:
                    return event, lines
                if event.tag is None and event.status == "BYE":
                    raise Closed
        raise NoContact("primary talks without end")

    async def _ask_capabilities(self) -> None:
        answer, lines = await self._command(b"CAPABILITY")
        self._learn(answer, lines)

    def _learn(self, answer: Status, lines: list[Data]) -> None:
        for line in lines:
            if line.name == "CAPABILITY":
                self.capabilities = client_data.capabilities(line.tokens)
        if answer.code == "CAPABILITY":
            self.capabilities = client_data.capabilities(answer.arguments)

    async def _event(self) -> Event:
        while True:
            event = self._reader.next()
            if event is not None:
                if isinstance(event, Malformed):
                    raise NoContact("primary does not speak IMAP")
                return event
            data = self._stream.take()
            if data:
                self._reader.feed(data)
            elif self._stream.ended:
                raise Closed
            else:
                await self._stream.wait(None)


async def connect(
    settings: RawSettings, context: ssl.SSLContext | None = None, *, client: str | None = None
) -> RawSession:
    """An open session, before login; `client` is the IP address for whose sake. NoContact.

    Who connects often hands in a `context`: reading the system's authorities anew takes longer than a login.
    """
    loop = asyncio.get_running_loop()
    endpoint = settings.endpoint
    implicit = endpoint.tls is TlsMode.IMPLICIT
    stream = Stream(loop, stall_seconds=settings.stall_seconds)
    session = RawSession(stream, settings, context)
    opened = False
    try:
        async with asyncio.timeout(settings.open_seconds):
            await loop.create_connection(
                lambda: stream,
                endpoint.host,
                endpoint.port,
                ssl=session.context() if implicit else None,
                server_hostname=endpoint.host if implicit else None,
            )
            await session.open()
            if client is not None:
                await session.introduce(client)
            opened = True
            return session
    except TimeoutError:
        raise NoContact("primary did not answer in time") from None
    except ConnectionRefusedError:
        raise NoContact("connection refused") from None
    except Closed:
        raise NoContact("primary closed the connection") from None
    except OSError as error:  # ssl.SSLError is one
        raise NoContact("primary is not reachable") from error
    finally:
        if not opened:
            session.close()
