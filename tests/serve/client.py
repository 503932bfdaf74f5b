"""A strict IMAP client: it reads with our own codec and fails on whatever it did not expect."""

from __future__ import annotations

import asyncio
import re
import ssl
from types import TracebackType

from relay.proto.imap import client_data
from relay.proto.imap.client import Continuation, Data, Event, Malformed, ResponseReader, Status
from relay.proto.imap.client_data import Fetched
from relay.proto.imap.limits import Limits

DEADLINE = 20.0
_LIMITS = Limits(line=1 << 20, literal=1 << 26, command=1 << 27, tokens=1 << 20, depth=300)


class Surprise(AssertionError):
    """The server said something else."""


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.codec = ResponseReader(_LIMITS)
        self.untagged: list[Event] = []
        """Everything untagged since the last look."""
        self._tags = 0

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    async def event(self) -> Event:
        """The next response."""
        async with asyncio.timeout(DEADLINE):
            while (event := self.codec.next()) is None:
                data = await self.reader.read(1 << 16)
                if not data:
                    raise EOFError
                self.codec.feed(data)
        if isinstance(event, Malformed):
            raise Surprise(event.reason)
        return event

    async def greeting(self) -> Status:
        """The first line."""
        event = await self.event()
        assert isinstance(event, Status)
        assert (event.tag, event.status) == (None, "OK")
        return event

    async def command(self, *pieces: str | bytes) -> Status:
        """Say a command, further pieces after a `+` each; its tagged answer. What came before is in `untagged`."""
        self._tags += 1
        tag = f"t{self._tags}"
        waiting = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
        self.untagged = []
        self.send(tag.encode() + b" " + waiting.pop(0) + b"\r\n")
        while True:
            event = await self.event()
            if isinstance(event, Continuation):
                if not waiting:
                    raise Surprise("continuation out of place")
                self.send(waiting.pop(0) + b"\r\n")
            elif isinstance(event, Status) and event.tag is not None:
                if event.tag != tag:
                    raise Surprise(f"answer to {event.tag}")
                return event
            else:
                self.untagged.append(event)

    async def ok(self, *pieces: str | bytes) -> list[Event]:
        """A command that must succeed; its untagged responses."""
        answer = await self.command(*pieces)
        assert answer.status == "OK", answer
        return self.untagged

    async def fetch(self, *pieces: str | bytes) -> list[Fetched]:
        """A FETCH that must succeed and bring nothing but FETCH responses."""
        found = []
        for event in await self.ok(*pieces):
            assert isinstance(event, Data), event
            fetched = client_data.fetched(event)
            assert fetched is not None, event
            found.append(fetched)
        return found

    async def login(self, user: str = "bob@example.org", password: str = "secret") -> Status:
        """LOGIN that must succeed."""
        answer = await self.command(f'LOGIN {user} "{password}"')
        assert answer.status == "OK", answer
        return answer

    def send(self, data: bytes) -> None:
        """Octets as they are."""
        self.writer.write(data)

    async def end(self) -> list[Event]:
        """Everything up to the server's closing."""
        events = []
        try:
            while True:
                events.append(await self.event())
        except (EOFError, ConnectionError):
            return events

    async def script(self, text: str) -> None:
        """A transcript: `C: ` is said, `S: ` must come, line by line; `<...>` stands for anything in a line."""
        for raw in text.strip().splitlines():
            who, line = raw.strip()[:2], raw.strip()[3:]
            if who == "C:":
                self.send(line.encode() + b"\r\n")
            else:
                assert who == "S:", raw
                async with asyncio.timeout(DEADLINE):
                    got = (await self.reader.readline()).decode().removesuffix("\r\n")
                pattern = ".*".join(re.escape(part) for part in line.split("<...>"))
                if re.fullmatch(pattern, got) is None:
                    raise Surprise(f"expected {line!r}, got {got!r}")

    async def nothing_left(self) -> None:
        """Fails when the server has said anything that was not asked for."""
        await self.ok("NOOP")
        assert self.untagged == []


async def connect(port: int, tls: ssl.SSLContext | None = None) -> Client:
    """A connection to this machine."""
    async with asyncio.timeout(DEADLINE):
        name = "localhost" if tls else None
        return Client(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name))
