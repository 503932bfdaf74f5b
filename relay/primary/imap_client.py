"""aioimaplib behind guards; the only file that imports it. For probes and small conversations.

A `Session` is a connection on which one command at a time is said; what leaves are small values. Anything that goes
wrong (time, bytes, order, TLS) is `ImapGone`, once, and the connection is dead from then on.

The library's traps, and the guards (docs/decisions/2026-11-22-aioimaplib-behind-guards.md):

1. It recurses per line: our loop does not. It buffers without end: lines, literals and responses have limits.
2. A lost connection leaves its commands waiting, and a late answer raises inside the protocol: here a timeout or a
   loss kills the connection and fails what waits.
3. It has no STARTTLS: done here, and a byte that comes between the server's OK and the handshake kills the connection
   (response injection, RFC 9051 6.2.1).
4. It formats every chunk for its debug log, passwords included: its receiving path is replaced and its logger is off.
5. It drops every `"* "` inside a line and counts brackets inside strings: only numbers, flags, simple names and
   literals are asked for, never ENVELOPE, and never through its FETCH command.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, cast

from aioimaplib import aioimaplib

from relay.core.errors import NotNow
from relay.obs.logs import logger
from relay.primary.settings import Endpoint, TlsMode
from relay.primary.tls import client_context

_log = logger("primary.imap")
CHUNK = 200
"""UIDs per command."""
_LONGEST_LINE = 4 << 20
"""A SEARCH answer names every message of a mailbox in one line."""
_LONGEST_LITERAL = 1 << 20
_MOST_LINES = 20_000

_LITERAL = re.compile(rb"\{(\d+)\}$")
_LIST = re.compile(rb'\(([^)]*)\) (?:"(?:[^"\\]|\\.)*"|NIL) (.+)', re.DOTALL)
_FETCH = re.compile(rb"\d+ FETCH \(.*?UID (\d+)")
_CODE = re.compile(rb"\[([A-Z-]+)")


class ImapGone(NotNow):
    """The conversation is over; the text is a bland reason."""


class _Protocol(aioimaplib.IMAP4ClientProtocol):
    """The library's state machine with our receiving path."""

    # It ships without annotations; these are what its own code takes them for.
    loop: asyncio.AbstractEventLoop
    transport: Any
    pending_sync_command: Any
    current_command: Any

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.greeting: asyncio.Future[bytes] = loop.create_future()
        self.gone: str | None = None
        self.sasl: bytes | None = None
        self.quiet = False
        """After the OK to STARTTLS nothing may come but the handshake."""

    def data_received(self, d: bytes) -> None:
        """Take what the socket gave."""
        if self.gone is not None:
            return
        if self.quiet:
            self.die("server spoke before TLS")
            return
        try:
            self._take(self.incomplete_line + d)
        except Exception as error:  # whatever its state machine stumbles over: the connection is of no use
            _log.warning("imap_answer_unreadable", exc_info=error)
            self.die("server sent what cannot be read")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits."""
        self.die("connection broke" if exc else "server closed the connection")

    def die(self, reason: str) -> None:
        """End it, for everyone who waits."""
        if self.gone is not None:
            return
        self.gone = reason
        if not self.greeting.done():
            self.greeting.set_exception(ImapGone(reason))
            self.greeting.exception()  # nobody may be waiting for it
        waiting = [self.pending_sync_command, *self.pending_async_commands.values()]
        for command in waiting:
            if command is not None:
                command._exception = ImapGone(reason)  # there is no other way to fail one
                command._event.set()
        if self.transport is not None:
            self.transport.abort()

    def _take(self, data: bytes) -> None:
        command, self.current_command, self.incomplete_line = self.current_command, None, b""
        while data:
            if command is not None and command.wait_literal_data():
                data = command.append_literal_data(data)
                if command.wait_literal_data():
                    break
            line, separator, rest = data.partition(b"\r\n")
            if not separator:
                if len(data) > _LONGEST_LINE:
                    raise ImapGone("over-long line")
                self.incomplete_line = data
                break
            command, data = self._one_line(line, command), rest
            if self.quiet and data:
                raise ImapGone("server spoke before TLS")
        self.current_command = command

    def _one_line(self, line: bytes, current: Any) -> Any:
        command = self._handle_line(line, current)
        literal = _LITERAL.search(line)
        if literal is None:
            return command if command is not None and command.wait_data() else None
        if int(literal[1]) > _LONGEST_LITERAL:
            raise ImapGone("over-long literal")
        command = command or aioimaplib.Command("NIL", "unused", loop=self.loop)
        if len(command.response.lines) > _MOST_LINES:
            raise ImapGone("endless response")
        command.begin_literal_data(int(literal[1]))
        return command

    def _handle_line(self, line: bytes, current_cmd: Any) -> Any:
        if not self.greeting.done():
            self.state = aioimaplib.NONAUTH
            self.greeting.set_result(line)
            return None
        return super()._handle_line(line, current_cmd)

    def _response_done(self, line: bytes) -> None:
        command = self.pending_sync_command
        self.quiet = command is not None and command.name == "STARTTLS" and b" OK" in line[:40].upper()
        super()._response_done(line)

    def _continuation(self, line: bytes) -> None:
        if self.sasl is not None:
            answer, self.sasl = self.sasl, None
            self.transport.write(answer + b"\r\n")
        elif self.pending_sync_command is not None and self.pending_sync_command.name == "AUTHENTICATE":
            self.transport.write(b"*\r\n")  # RFC 9051 6.2.2: we have said all; cancel


class Answer:
    """A tagged response: `status` OK, NO or BAD, its response code, and the untagged lines before it."""

    __slots__ = ("code", "lines", "status")

    def __init__(self, status: str, lines: Sequence[bytes | bytearray]) -> None:
        self.status = status.upper()
        self.lines = list(lines[:-1])
        match = _CODE.match(bytes(lines[-1]).upper()) if lines else None
        self.code = match[1].decode("ascii") if match else ""

    @property
    def ok(self) -> bool:
        """OK."""
        return self.status == "OK"


class Session:
    """One connection. Methods raise ImapGone; each waits `seconds` at most."""

    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        # Its lines would hold passwords; the library offers no other switch.
        logging.getLogger("aioimaplib.aioimaplib").disabled = True
        self._endpoint = endpoint
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._protocol: _Protocol | None = None
        self.capabilities: frozenset[str] = frozenset()
        self.preauth = False

    async def __aenter__(self) -> Session:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def open(self) -> None:
        """Connect, greeting, TLS, CAPABILITY; all of it within `seconds`."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._open()
        except TimeoutError:
            self.close()
            raise ImapGone("server did not answer in time") from None
        except ConnectionRefusedError:
            raise ImapGone("connection refused") from None
        except ssl.SSLCertVerificationError:
            self.close()
            raise ImapGone("certificate is not valid") from None
        except OSError:
            self.close()
            raise ImapGone("host is not reachable") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up. Idempotent."""
        if self._protocol is not None:
            transport = self._protocol.transport
            if self._protocol.gone is None and transport is not None and not transport.is_closing():
                transport.write(b"bye LOGOUT\r\n")
            self._protocol.die("closed by us")

    async def login(self, user: str, password: str, *, authzid: str = "") -> Answer:
        """SASL PLAIN where it is offered (it can carry any character), else LOGIN. The answer's text is dropped."""
        if "AUTH=PLAIN" in self.capabilities:
            token = base64.b64encode("\0".join((authzid, user, password)).encode())
            initial = (token.decode("ascii"),) if "SASL-IR" in self.capabilities else ()
            self._wire.sasl = None if initial else token
            answer = await self._say("AUTHENTICATE", "PLAIN", *initial)
        elif authzid or "LOGINDISABLED" in self.capabilities or not (user + password).isascii():
            raise ImapGone("server offers no way to log in that we have")
        else:
            answer = await self._say("LOGIN", aioimaplib.quoted(user), aioimaplib.quoted(password))
        if answer.ok:
            self._wire.state = aioimaplib.AUTH
        return answer

    async def folders(self) -> list[str]:
        """Selectable folders as the server spells them, INBOX first."""
        answer = await self._say("LIST", '""', '"*"')
        if not answer.ok:
            raise ImapGone("LIST was refused")
        found = [name for flags, name in _listed(answer.lines) if not flags & {b"\\NOSELECT", b"\\NONEXISTENT"}]
        return ["INBOX", *(name for name in found if name.strip('"').upper() != "INBOX")]

    async def examine(self, folder: str) -> bool:
        """Open a folder read-only; False where the server refuses."""
        answer = await self._say("EXAMINE", folder)
        self._wire.state = aioimaplib.SELECTED if answer.ok else aioimaplib.AUTH
        return answer.ok

    async def search(self, *criteria: str) -> list[int] | None:
        """UIDs; None where the server refuses to search."""
        answer = await self._say("SEARCH", *criteria, prefix="UID")
        if not answer.ok:
            return None
        return sorted({int(word) for line in answer.lines for word in bytes(line).split() if word.isdigit()})

    async def headers(self, uids: Sequence[int], fields: str) -> dict[int, bytes]:
        """The named header fields (`RECEIVED MESSAGE-ID`) of at most `CHUNK` messages."""
        if len(uids) > CHUNK:
            raise ValueError("too many UIDs for one command")
        which = ",".join(map(str, uids))
        answer = await self._say("FETCH", which, f"(UID BODY.PEEK[HEADER.FIELDS ({fields})])", prefix="UID")
        if not answer.ok:
            raise ImapGone("FETCH was refused")
        found: dict[int, bytes] = {}
        uid = None
        for line in answer.lines:
            if isinstance(line, bytearray):
                if uid is not None:
                    found[uid] = bytes(line)
            elif match := _FETCH.match(line):
                uid = int(match[1])
        return found

    @property
    def _wire(self) -> _Protocol:
        if self._protocol is None or self._protocol.gone is not None:
            raise ImapGone((self._protocol and self._protocol.gone) or "not connected")
        return self._protocol

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        endpoint = self._endpoint
        implicit = client_context(endpoint) if endpoint.tls is TlsMode.IMPLICIT else None
        _, self._protocol = await loop.create_connection(
            lambda: _Protocol(loop), endpoint.host, endpoint.port, ssl=implicit
        )
        greeting = (await asyncio.shield(self._protocol.greeting)).upper()
        if not greeting.startswith((b"* OK", b"* PREAUTH")):
            raise ImapGone("greeting was no OK")
        self.preauth = greeting.startswith(b"* PREAUTH")
        await self._ask_capabilities()
        if endpoint.tls in (TlsMode.STARTTLS, TlsMode.OPPORTUNISTIC):
            await self._upgrade(must=endpoint.tls is TlsMode.STARTTLS)

    async def _upgrade(self, *, must: bool) -> None:
        # RFC 9051 6.2.1: a PREAUTH greeting cannot be upgraded; a server, or somebody in between, that sends one
        # would talk us out of TLS.
        answer = None
        if "STARTTLS" in self.capabilities and not self.preauth:
            answer = await self._say("STARTTLS")
        if answer is None or not answer.ok:
            if must:
                raise ImapGone("server does not offer STARTTLS")
            return
        wire = cast("_Protocol", self._protocol)
        transport = await wire.loop.start_tls(
            wire.transport, wire, client_context(self._endpoint), server_hostname=self._endpoint.host
        )
        if transport is None:
            raise ImapGone("TLS handshake failed")
        wire.transport, wire.quiet = transport, False
        await self._ask_capabilities()

    async def _ask_capabilities(self) -> None:
        answer = await self._say("CAPABILITY")
        words = [word.upper() for line in answer.lines for word in bytes(line).decode("ascii", "replace").split()]
        if not answer.ok or not {"IMAP4REV1", "IMAP4REV2"} & set(words):
            raise ImapGone("server is no IMAP4rev1 server")
        self.capabilities = frozenset(words)

    async def _say(self, name: str, *arguments: str, prefix: str = "") -> Answer:
        async with self._lock:
            wire = self._wire
            try:
                command = aioimaplib.Command(name, wire.new_tag(), *arguments, prefix=prefix, loop=wire.loop)
                async with asyncio.timeout(self._seconds):
                    response = await wire.execute(command)
            except TimeoutError:
                wire.die("server did not answer in time")
                raise ImapGone("server did not answer in time") from None
            except asyncio.CancelledError:
                wire.die("given up")
                raise
            except ImapGone:
                raise
            except Exception as error:  # its own and its bugs alike: the connection is of no use
                # They print the command, and LOGIN holds a password: the log gets types and positions, nobody the text.
                _log.warning("imap_conversation_failed", exc_info=error)
                wire.die("conversation failed")
                raise ImapGone("conversation failed") from None
            return Answer(str(response.result), response.lines)


def _listed(lines: Sequence[bytes | bytearray]) -> Iterator[tuple[set[bytes], str]]:
    flags: set[bytes] | None = None
    for line in lines:
        if isinstance(line, bytearray):
            if flags is not None:
                yield flags, aioimaplib.quoted(line.decode("utf-8", "replace"))
            flags = None
        elif match := _LIST.fullmatch(line):
            flags = set(match[1].upper().split())
            if _LITERAL.search(match[2]) is None:
                yield flags, match[2].decode("utf-8", "replace")
                flags = None
