"""One client's conversation: events in, answers out, with every wait bounded. Shared by the door and the session.

1. Answers are gathered and written together; above 64 KiB the client's reading speed is our writing speed.
2. `Gone` ends a conversation, for whatever reason; a BYE has been written where one was possible.
"""

from __future__ import annotations

from relay.obs.connections import connection_name
from relay.obs.metrics import ServeMetrics
from relay.primary.alarm import Alarm
from relay.primary.stream import HIGH_WATER, Closed, Stream
from relay.proto.imap import encode
from relay.proto.imap.limits import BEFORE_LOGIN
from relay.proto.imap.receiver import ContinueWanted, Event, Receiver, Rejected

_GATHER = 64 * 1024


class Gone(Exception):
    """The conversation is over."""


class Talk:
    """A stream with a receiver on it."""

    def __init__(self, stream: Stream, client: str, errors: int, metrics: ServeMetrics) -> None:
        self.stream = stream
        self.client = client
        """The client's IP address, from a PROXY header perhaps."""
        self.conn = connection_name()
        self.receiver = Receiver(BEFORE_LOGIN)
        self._errors = self._errors_left = errors
        self._metrics = metrics
        self._out: list[bytes] = []
        self._gathered = 0
        self._stopping = False
        self._alarm = Alarm(stream.poke)

    # --- in ---

    def poll(self) -> Event | None:
        """The next event if it is there already. Gone."""
        while True:
            event = self.receiver.next()
            if event is None:
                # Enough for any command is pending at most; the rest stays in the stream, and then in the kernel.
                data = self.stream.take() if self.receiver.pending < HIGH_WATER else b""
                if not data:
                    if self.stream.ended:
                        raise Gone
                    return None
                self.receiver.feed(data)
            elif isinstance(event, ContinueWanted):
                self.send(encode.continuation())
                self.flush()
            else:
                return event

    async def event(self, seconds: float) -> Event:
        """The next event. Gone, also after `seconds` without one."""
        event = self.poll()
        if event is not None:
            return event
        self._alarm.set(seconds)
        while event is None:
            if self._alarm.over:
                self._metrics.faults["timeout"].inc()
                await self.bye("Too long without a command")
                raise Gone
            self.flush()
            await self.rest()
            event = self.poll()
        self._alarm.off()
        return event

    def close(self) -> None:
        """Nobody waits for anything any more."""
        self._alarm.close()

    async def rest(self) -> None:
        """Until something arrives or somebody pokes the stream. Gone when the node stops."""
        if self._stopping:
            await self.bye("Server is shutting down", b"UNAVAILABLE")
            raise Gone
        await self.stream.wait(None)

    def stop(self) -> None:
        """End the conversation as soon as no command is under way."""
        self._stopping = True
        self.stream.poke()

    @property
    def pipelined(self) -> bool:
        """Whether the client has sent more already, without waiting for our answer."""
        return self.receiver.pending > 0

    # --- out ---

    def send(self, data: bytes) -> None:
        """Put into the next write."""
        self._out.append(data)
        self._gathered += len(data)

    def flush(self) -> None:
        """Write what was gathered, without waiting."""
        if self._out:
            self.stream.put(b"".join(self._out))
            self._out.clear()
            self._gathered = 0

    @property
    def full(self) -> bool:
        """Whether enough for a write has been gathered."""
        return self._gathered >= _GATHER

    async def breathe(self) -> None:
        """Write when much has been gathered, and wait for a client that does not keep up. Gone."""
        if self.full:
            await self.settle()

    async def settle(self) -> None:
        """Write, and wait for room in the send buffer. Gone."""
        self.flush()
        try:
            await self.stream.drain()
        except Closed:
            raise Gone from None

    def untagged(self, *words: bytes) -> None:
        """`* ...`"""
        self.send(encode.untagged(*words))

    def ok(self, tag: str | None, text: str, code: bytes | None = None) -> None:
        """OK"""
        self.send(encode.condition(tag, "OK", text, code))

    def no(self, tag: str | None, text: str, code: bytes | None = None) -> None:
        """NO"""
        self.send(encode.condition(tag, "NO", text, code))

    async def bad(self, tag: str | None, text: str) -> None:
        """BAD; too many of them, one behind the other, end the conversation. Gone."""
        self.send(encode.condition(tag, "BAD", text))
        self._errors_left -= 1
        if self._errors_left <= 0:
            self._metrics.faults["errors"].inc()
            await self.bye("Too many errors")
            raise Gone

    def forgive(self) -> None:
        """A command of a user's went well: what was wrong before does not count, a session may last for days."""
        self._errors_left = self._errors

    async def rejected(self, event: Rejected) -> None:
        """Answer what is no command. Gone when it was fatal."""
        self._metrics.faults["literal" if event.too_big else "line" if event.fatal else "syntax"].inc()
        if event.too_big:
            self.no(event.tag, event.text, b"TOOBIG")  # RFC 7889 4
        else:
            await self.bad(event.tag, event.text)
        if event.fatal:
            await self.bye("Cannot go on after that")
            raise Gone

    async def bye(self, text: str, code: bytes | None = None) -> None:
        """The last word (RFC 9051 7.1.5); the owner closes."""
        self.send(encode.condition(None, "BYE", text, code))
        self.flush()
