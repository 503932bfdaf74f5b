"""An SMTP server that does what a script says at any step: answers, stalls, cuts, takes the message and then cuts.

1. What it took is in `taken`, decoded and in order, whatever it answered: that is the truth that tests compare with.
2. It is strict: a bare CR or LF, or a second end of data, in what it reads is recorded in `faults`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import ssl
from collections.abc import AsyncIterator, Callable
from enum import Enum, auto

KEYWORDS = ("PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")


class Act(Enum):
    """What a script may ask for instead of an answer."""

    CUT = auto()
    STALL = auto()
    """Say nothing more, ever, but keep the connection."""
    TAKE_AND_CUT = auto()
    """At the final dot: the message is accepted, the reply is never sent."""
    TAKE_AND_STALL = auto()


@dataclasses.dataclass
class Taken:
    """One accepted message."""

    reverse_path: str
    recipients: list[str]
    content: bytes


@dataclasses.dataclass
class Session:
    """One connection."""

    number: int
    commands: list[str] = dataclasses.field(default_factory=list)
    reverse_path: str | None = None
    """None outside a transaction."""
    recipients: list[str] = dataclasses.field(default_factory=list)
    content: bytes = b""
    tls: bool = False
    head: bytes = b""
    """What came before the greeting (PROXY)."""


Script = Callable[[str, str, Session], str | Act | None]
"""(verb, line, session) -> reply lines without CRLF, an act, or None for the default. Verbs are those of SMTP, and
GREETING, CONTENT (354 was said, nothing read yet) and DOT."""


class FakeSmtp:
    """Use as an async context manager; `port` is where it listens."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        keywords: tuple[str, ...] = KEYWORDS,
        context: ssl.SSLContext | None = None,
        implicit: bool = False,
        proxy: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.script: Script = script or (lambda *_: None)
        self.keywords = keywords
        self.taken: list[Taken] = []
        self.sessions: list[Session] = []
        self.faults: list[str] = []
        self.took = asyncio.Event()
        self.open_now = 0
        self.most_open = 0
        self.host = host
        self.port = port
        self._context = context
        self._implicit = implicit
        self._proxy = proxy
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> FakeSmtp:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(
            self._begin, self.host, self.port, limit=1 << 20, ssl=self._context if self._implicit else None
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections and cut the open ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_taken(self, count: int, seconds: float = 10.0) -> None:
        """Wait until that many messages were taken."""
        async with asyncio.timeout(seconds):
            while len(self.taken) < count:
                self.took.clear()
                await self.took.wait()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(len(self.sessions) + 1, tls=self._implicit)
        self.sessions.append(session)
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, EOFError):
                await self._talk(session, reader, writer)
        finally:
            self.open_now -= 1
            writer.transport.abort()

    async def _talk(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._proxy:
            session.head = await reader.readuntil(b"\r\n")
        await self._do("GREETING", "", session, reader, writer)
        while True:
            raw = await reader.readuntil(b"\r\n")
            line = raw[:-2].decode()
            session.commands.append(line)
            verb = re.split(r"[ :]", line, maxsplit=1)[0].upper()
            await self._do(verb, line, session, reader, writer)
            if verb == "QUIT":
                return

    async def _do(
        self, verb: str, line: str, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> str:
        said = self.script(verb, line, session)
        if said is Act.CUT:
            raise EOFError
        if said is Act.STALL:
            await asyncio.Event().wait()
        if isinstance(said, Act):
            self._take(session)
            if said is Act.TAKE_AND_CUT:
                raise EOFError
            await asyncio.Event().wait()
        assert said is None or isinstance(said, str)
        answer = said if said is not None else self._default(verb, session)
        if answer:
            writer.write("".join(f"{part}\r\n" for part in answer.split("\n")).encode())
            await writer.drain()
        if verb == "STARTTLS" and answer.startswith("220") and self._context is not None:
            await writer.start_tls(self._context)
            session.tls = True
        elif verb == "DATA" and answer.startswith("354"):
            await self._content(session, reader, writer)
        else:
            self._note(verb, line, session, positive=answer.startswith("2"))
        return answer

    def _note(self, verb: str, line: str, session: Session, *, positive: bool) -> None:
        match verb:
            case "MAIL" if positive:
                session.reverse_path, session.recipients = line[line.index("<") + 1 : line.index(">")], []
            case "RCPT" if positive:
                session.recipients.append(line[line.index("<") + 1 : line.index(">")])
            case "RSET" | "XCLIENT" | "EHLO":
                session.reverse_path, session.recipients = None, []
            case "DOT" if positive:
                self._take(session)
            case _:
                pass

    async def _content(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await self._do("CONTENT", "", session, reader, writer):
            return
        lines: list[bytes] = []
        while True:
            line = await reader.readuntil(b"\n")
            if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
                self.faults.append("a bare line end or NUL in content")
            if line == b".\r\n":
                break
            lines.append(line.removeprefix(b"."))
        session.content = b"".join(lines)
        await self._do("DOT", ".", session, reader, writer)
        session.reverse_path, session.recipients = None, []

    def _take(self, session: Session) -> None:
        if session.recipients and session.reverse_path is not None:
            self.taken.append(Taken(session.reverse_path, list(session.recipients), session.content))
            self.took.set()

    def _default(self, verb: str, session: Session) -> str:
        match verb:
            case "GREETING":
                return "220 fake ESMTP"
            case "EHLO":
                lines = ["fake", *self.keywords]
                if self._context is not None and not session.tls:
                    lines.append("STARTTLS")
                return "\n".join(f"250{' ' if i == len(lines) - 1 else '-'}{t}" for i, t in enumerate(lines))
            case "CONTENT":
                return ""
            case "RCPT" if session.reverse_path is None:
                return "503 5.5.1 MAIL first"
            case "DATA":
                return "354 go" if session.recipients else "554 5.5.1 no valid recipients"
            case "DOT":
                return "250 2.0.0 taken" if session.recipients else "554 5.5.1 no valid recipients"
            case "STARTTLS" | "XCLIENT":
                return "220 ready"
            case "AUTH":
                return "235 2.7.0 welcome"
            case "QUIT":
                return "221 bye"
            case _:
                return "250 2.0.0 ok"


async def blocks(*parts: bytes) -> AsyncIterator[bytes]:
    """A body as a stream."""
    for part in parts:
        yield part
