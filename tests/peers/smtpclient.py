"""A strict SMTP client for tests: it sends what it is told, as it is told, and believes nothing.

It adds no dot, no CRLF and no command of its own, retries nothing, and reads replies by the letter of RFC 5321 4.2:
a reply that is malformed, or that nobody asked for, is a `Violation`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import ssl
from collections.abc import Iterable, Sequence
from typing import Final

from tests.peers.ports import LOOPBACK, reset
from tests.peers.process import PATIENCE

_LINE: Final = re.compile(rb"([2-5][0-5][0-9])([ -])([^\x00-\x08\x0a-\x1f\x7f]*)\r\n")
_MAX_LINE: Final = 512
"""RFC 5321 4.5.3.1.5, CRLF included."""


class Violation(Exception):
    """The server broke the protocol."""


@dataclasses.dataclass(frozen=True)
class SmtpReply:
    """A code and its text lines, enhanced status included."""

    code: int
    lines: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """2xx."""
        return 200 <= self.code < 300

    @property
    def text(self) -> str:
        """All lines joined by a blank."""
        return " ".join(self.lines)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the server said in one transaction; a part that was never reached is None."""

    mail: SmtpReply
    recipients: tuple[SmtpReply, ...]
    data: SmtpReply | None
    final: SmtpReply | None

    @property
    def accepted(self) -> bool:
        """Whether a 2xx for the message was seen: from here on it is the server's to deliver."""
        return self.final is not None and self.final.ok


class SmtpClient:
    """One connection; make it with `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout = timeout
        self._buffer = b""
        self.greeting = SmtpReply(0, ())

    @classmethod
    async def connect(
        cls,
        port: int,
        *,
        host: str = LOOPBACK,
        timeout: float = PATIENCE,
        tls: ssl.SSLContext | None = None,
        source: str | None = None,
        greet: bool = True,
    ) -> SmtpClient:
        """Connect and read the greeting (not with `greet` false); `source` is the local address to come from."""
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(
                host,
                port,
                ssl=tls,
                server_hostname="localhost" if tls else None,
                local_addr=(source, 0) if source else None,
            )
        client = cls(reader, writer, timeout)
        if greet:
            try:
                client.greeting = await client.reply()
            except BaseException:
                client.abort()
                raise
        return client

    async def __aenter__(self) -> SmtpClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(self, raw: bytes) -> None:
        """Send bytes as they are; flow control is waited for."""
        async with asyncio.timeout(self._timeout):
            self._writer.write(raw)
            await self._writer.drain()

    async def reply(self) -> SmtpReply:
        """Read one reply, all its lines; ConnectionError when the server closes instead."""
        codes: list[int] = []
        lines: list[str] = []
        while True:
            code, more, text = await self._reply_line()
            codes.append(code)
            lines.append(text)
            if len(set(codes)) > 1:
                raise Violation(f"a reply with two codes: {codes}")
            if not more:
                return SmtpReply(code, tuple(lines))

    async def _reply_line(self) -> tuple[int, bool, str]:
        while b"\n" not in self._buffer:
            if len(self._buffer) > _MAX_LINE:
                raise Violation("a reply line of more than 512 bytes")
            async with asyncio.timeout(self._timeout):
                block = await self._reader.read(1 << 16)
            if not block:
                raise ConnectionResetError(f"closed by the server, unread: {self._buffer!r}")
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\n")
        match = _LINE.fullmatch(line + b"\n")
        if match is None or len(line) >= _MAX_LINE:
            raise Violation(f"not a reply line: {line!r}")
        return int(match[1]), match[2] == b"-", match[3].decode()

    async def command(self, line: str | bytes) -> SmtpReply:
        """Send one command line (CRLF is added) and read its reply; nothing may be left from before."""
        raw = line.encode() if isinstance(line, str) else line
        self.assert_quiet()
        await self.send(raw + b"\r\n")
        return await self.reply()

    async def pipeline(self, *lines: str | bytes) -> list[SmtpReply]:
        """Send command lines in one segment and read as many replies (RFC 2920)."""
        self.assert_quiet()
        await self.send(b"".join((x.encode() if isinstance(x, str) else x) + b"\r\n" for x in lines))
        return [await self.reply() for _ in lines]

    def assert_quiet(self) -> None:
        """Violation when the server has said more than it was asked."""
        if self._buffer:
            raise Violation(f"nobody asked for {self._buffer!r}")

    async def ehlo(self, name: str = "client.example.net") -> dict[str, str]:
        """EHLO; extension keywords and their parameters."""
        answer = await self.command(f"EHLO {name}")
        if answer.code != 250:
            raise Violation(f"EHLO was answered {answer}")
        pairs = (line.partition(" ") for line in answer.lines[1:])
        return {keyword.upper(): parameters for keyword, _, parameters in pairs}

    async def starttls(self, context: ssl.SSLContext) -> SmtpReply:
        """STARTTLS and, after 220, the handshake; `ehlo` again is the caller's duty."""
        answer = await self.command("STARTTLS")
        if answer.code == 220:
            self.assert_quiet()
            async with asyncio.timeout(self._timeout):
                await self._writer.start_tls(context, server_hostname="localhost")
        return answer

    async def transaction(
        self, reverse_path: str, recipients: Sequence[str], message: bytes, *, parameters: str = ""
    ) -> Outcome:
        """MAIL, RCPT for each, DATA, the message (dots are stuffed), one by one; stops where it is refused."""
        mail = await self.command(f"MAIL FROM:<{reverse_path}>{parameters}")
        if not mail.ok:
            return Outcome(mail, (), None, None)
        answers = tuple([await self.command(f"RCPT TO:<{recipient}>") for recipient in recipients])
        if not any(answer.ok for answer in answers):
            await self.command("RSET")
            return Outcome(mail, answers, None, None)
        data = await self.command("DATA")
        if data.code != 354:
            return Outcome(mail, answers, data, None)
        await self.send(dot_stuff(message))
        return Outcome(mail, answers, data, await self.reply())

    async def bdat(self, chunks: Iterable[bytes]) -> list[SmtpReply]:
        """BDAT for each chunk, LAST on the last one (RFC 3030); one reply each."""
        answers: list[SmtpReply] = []
        parts = list(chunks)
        for number, chunk in enumerate(parts, 1):
            last = " LAST" if number == len(parts) else ""
            await self.send(f"BDAT {len(chunk)}{last}\r\n".encode() + chunk)
            answers.append(await self.reply())
        return answers

    async def quit(self) -> None:
        """QUIT, 221, and then the server must close without another word."""
        answer = await self.command("QUIT")
        if answer.code != 221:
            raise Violation(f"QUIT was answered {answer}")
        await self.expect_closed()

    async def expect_closed(self) -> None:
        """The server closes now and says nothing more."""
        self.assert_quiet()
        async with asyncio.timeout(self._timeout):
            try:
                rest = await self._reader.read(1 << 16)
            except ConnectionError:
                return
        if rest:
            raise Violation(f"nobody asked for {rest!r}")

    def abort(self) -> None:
        """Break the connection off (RST)."""
        reset(self._writer)

    async def close(self) -> None:
        """Close without QUIT."""
        self._writer.close()
        try:
            async with asyncio.timeout(self._timeout):
                await self._writer.wait_closed()
        except OSError:
            # Broken or not, it is closed; TimeoutError is an OSError too.
            self._writer.transport.abort()


def dot_stuff(message: bytes) -> bytes:
    """A message with CRLF line ends as DATA carries it, final dot included (RFC 5321 4.5.2)."""
    if message.startswith(b"."):
        message = b"." + message
    message = message.replace(b"\r\n.", b"\r\n..")
    if not message.endswith(b"\r\n"):
        message += b"\r\n"
    return message + b".\r\n"
