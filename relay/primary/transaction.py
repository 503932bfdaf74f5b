"""One mail transaction with the primary (RFC 5321 3.3): MAIL, RCPT*, content, final dot.

An envelope and a stream of blocks enter; the server's own replies leave. What goes wrong is sorted by one question:

1. Before the first byte of the end of data: `NoContact`, and the connection is cut, so that nothing truncated is ever
   taken for a message. This holds for errors and cancellation of the caller too.
2. From there to the reply: `ReplyLost`.
3. A reply that comes before the end of data is a refusal if it is 4xx or 5xx and is handed out as such.
4. The content passes through `DotStuffer`: no bare CR or LF, no NUL and no second end of data leave here.
5. A reused connection that turns out to be dead before the server said anything is replaced by a fresh one, once: an
   idle connection that timed out is no sign of an outage.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from relay.core.envelope import Envelope, Origin, Recipient
from relay.core.reply import Reply
from relay.obs import crash
from relay.primary.commands import mail_command, rcpt_command
from relay.primary.connection import Connection, Dialer
from relay.primary.errors import NoContact, ReplyLost
from relay.primary.settings import Forward
from relay.primary.wire import Broken
from relay.proto.smtp.stuffing import DotStuffer
from relay.proto.smtp.xclient import xforward_commands

BeforeDot = Callable[[], Awaitable[None]]


class Transaction:
    """Use inside `SmtpPool.transaction`: `begin`, `rcpt` as often as needed and perhaps `data_follows`, or `envelope`
    at once; then `data`."""

    def __init__(self, dialer: Dialer, connection: Connection, origin: Origin | None, ident: str | None) -> None:
        self.connection = connection
        self._dialer = dialer
        self._deadlines = dialer.settings.deadlines
        self._origin = origin
        self._ident = ident
        self._data_reply: Reply | None = None
        self._data_asked = False
        self._in_content = False

    @property
    def in_content(self) -> bool:
        """The server waits for content, or will: whatever comes next on this connection would be taken for it."""
        return self._in_content or self._data_asked

    async def begin(self, envelope: Envelope, size: int, recipient: Recipient) -> tuple[Reply, Reply | None]:
        """MAIL and the first RCPT, in one round trip where the server pipelines; no second reply after a refused MAIL.

        `size` counts the octets of everything that `data` will send. NoContact.
        """
        mail, rcpts = await self._open(lambda: self._mail_and_rcpt(envelope, size, recipient))
        return mail, rcpts[0] if rcpts else None

    def data_follows(self) -> None:
        """DATA ahead of the content, which may take a moment. Its reply is read by `data`. NoContact."""
        try:
            self.connection.wire.send(b"DATA\r\n", replies=1)
        except Broken as error:
            raise NoContact(str(error)) from error
        self._data_asked = True

    async def rcpt(self, recipient: Recipient) -> Reply:
        """RCPT. NoContact."""
        line = rcpt_command(recipient, self.connection.extensions)
        return line if isinstance(line, Reply) else await self._command(line)

    async def envelope(self, envelope: Envelope, size: int) -> tuple[Reply, list[Reply]]:
        """MAIL and every RCPT, with DATA in the same round trip where the server pipelines (RFC 2920).

        The replies of RCPT are in the order of the recipients, and empty when MAIL was refused. When one is positive,
        `data` may follow. NoContact.
        """
        return await self._open(lambda: self._whole_envelope(envelope, size))

    async def data(
        self, body: AsyncIterator[bytes], *, prepend: bytes = b"", before_dot: BeforeDot | None = None
    ) -> Reply:
        """Send `prepend` and the body; `before_dot` is awaited before the last block, which the final dot ends.

        Returns the reply to the content (or to DATA, where that was refused). NoContact, ReplyLost, and whatever
        `body` and `before_dot` raise: then the connection is cut and nothing was delivered.
        """
        wire = self.connection.wire
        reply = self._data_reply
        if reply is None:
            if not self._data_asked:
                self.data_follows()
            reply = await self._answer()
        self._data_reply, self._data_asked = None, False
        if reply.positive or (reply.intermediate and reply.code != 354):
            # A 2xx here says that nothing was understood; handed out, it would read as "delivered".
            wire.kill("server sent an impossible reply")
            raise NoContact("server sent an impossible reply")
        if reply.code != 354:
            return reply
        self._in_content = True
        stuffer = DotStuffer()
        ready = b""  # the last block leaves with the final dot: a small message is one packet
        try:
            async for block in body:
                if ready:
                    await wire.drain(self._deadlines.block)
                    wire.send(ready)
                ready, prepend = stuffer.encode(prepend + block), b""
            ready += stuffer.encode(prepend)
            if before_dot is not None:
                await before_dot()
            wire.check()
        except Broken as error:
            early = wire.last_word
            if early is not None and (early.transient or early.permanent):
                return early
            raise NoContact(str(error), in_data=True) from error
        except BaseException:
            wire.kill("given up within the content")
            raise
        wire.send(ready + stuffer.finish(), replies=1)
        crash.point("primary.after_dot")
        try:
            reply = await wire.reply(self._deadlines.final)
        except Broken as error:
            raise ReplyLost(str(error)) from error
        except asyncio.CancelledError:
            wire.kill("given up before the reply")
            raise
        if reply.intermediate:
            wire.kill("server sent an impossible reply")
            raise ReplyLost("server sent an impossible reply")
        self._finished(reply)
        return reply

    # --- opening ---

    async def _open(self, talk: Callable[[], Awaitable[tuple[Reply, list[Reply]]]]) -> tuple[Reply, list[Reply]]:
        stale_is_possible = self.connection.uses > 0
        self.connection.uses += 1
        try:
            await self._dialer.become(self.connection, self._origin)
            return await talk()
        except Broken as error:
            if not stale_is_possible:
                raise NoContact(str(error)) from error
        self.connection = await self._dialer.dial(self._origin)
        self.connection.uses = 1
        try:
            return await talk()
        except Broken as error:
            raise NoContact(str(error)) from error

    async def _mail_and_rcpt(self, envelope: Envelope, size: int, recipient: Recipient) -> tuple[Reply, list[Reply]]:
        connection = self.connection
        line = rcpt_command(recipient, connection.extensions)
        if isinstance(line, Reply) or "PIPELINING" not in connection.extensions:
            mail, _ = await self._mail_only(envelope, size)
            return mail, [await self.rcpt(recipient)] if mail.positive else []
        mail_line = mail_command(envelope, size, connection.extensions)
        if isinstance(mail_line, Reply):
            return mail_line, []
        batch = (*self._preface(), mail_line, line)
        connection.reset = True
        connection.wire.send(b"".join(batch), replies=len(batch))
        mail, rcpt = (await connection.wire.replies(len(batch), self._deadlines.command))[-2:]
        self._seen(mail)
        self._seen(rcpt)
        return mail, [rcpt] if mail.positive else []

    async def _mail_only(self, envelope: Envelope, size: int) -> tuple[Reply, list[Reply]]:
        line = mail_command(envelope, size, self.connection.extensions)
        if isinstance(line, Reply):
            return line, []
        preface = self._preface()
        self.connection.wire.send(b"".join((*preface, line)), replies=len(preface) + 1)
        reply = (await self.connection.wire.replies(len(preface) + 1, self._deadlines.command))[-1]
        self._seen(reply)
        self.connection.reset = reply.positive
        return reply, []

    async def _whole_envelope(self, envelope: Envelope, size: int) -> tuple[Reply, list[Reply]]:
        connection = self.connection
        offered = connection.extensions
        if "PIPELINING" not in offered:
            return await self._step_by_step(envelope, size)
        mail = mail_command(envelope, size, offered)
        if isinstance(mail, Reply):
            return mail, []
        lines = [rcpt_command(recipient, offered) for recipient in envelope.recipients]
        asked = [line for line in lines if isinstance(line, bytes)]
        if not asked:
            return Reply(250, ("2.0.0 Not asked",)), [line for line in lines if isinstance(line, Reply)]
        preface = self._preface()
        batch = (*preface, mail, *asked, b"DATA\r\n")
        connection.reset = True
        connection.wire.send(b"".join(batch), replies=len(batch))
        replies = (await connection.wire.replies(len(batch), self._deadlines.command))[len(preface) :]
        mail_reply, data_reply = replies[0], replies[-1]
        answers = iter(replies[1:-1])
        rcpt_replies = [line if isinstance(line, Reply) else next(answers) for line in lines]
        for reply in replies:
            self._seen(reply)
        if not mail_reply.positive:
            rcpt_replies = []
        if mail_reply.positive and any(reply.positive for reply in rcpt_replies):
            self._data_reply = data_reply
            self._in_content = data_reply.code == 354
        elif data_reply.code == 354:
            # RFC 2920 3.1: DATA was taken though nobody may receive it; an empty message ends that.
            connection.wire.send(b".\r\n", replies=1)
            self._finished(await connection.wire.reply(self._deadlines.final))
        return mail_reply, rcpt_replies

    async def _step_by_step(self, envelope: Envelope, size: int) -> tuple[Reply, list[Reply]]:
        mail, _ = await self._mail_only(envelope, size)
        if not mail.positive:
            return mail, []
        return mail, [await self.rcpt(recipient) for recipient in envelope.recipients]

    def _preface(self) -> tuple[bytes, ...]:
        """What goes ahead of MAIL without anyone caring for the answer."""
        connection = self.connection
        lines: tuple[bytes, ...] = (b"RSET\r\n",) if connection.reset else ()
        if self._dialer.settings.forward is Forward.XFORWARD and self._origin is not None:
            offered = connection.extensions.parameters("XFORWARD")
            lines += xforward_commands(self._origin, offered, ident=self._ident)
        return lines

    async def _command(self, line: bytes) -> Reply:
        try:
            self.connection.wire.send(line, replies=1)
        except Broken as error:
            raise NoContact(str(error)) from error
        return await self._answer()

    async def _answer(self) -> Reply:
        try:
            reply = await self.connection.wire.reply(self._deadlines.command)
        except Broken as error:
            raise NoContact(str(error)) from error
        self._seen(reply)
        return reply

    def _finished(self, reply: Reply) -> None:
        self.connection.reset = False
        self._in_content = False
        self._seen(reply)

    def _seen(self, reply: Reply) -> None:
        if reply.code == 421:  # RFC 5321 3.8: it closes after saying so
            self.connection.wire.kill("server is closing")
