"""The life of one SMTP connection: greeting, one line after the other, the end. What the lines mean is in `verbs`.

aiosmtpd's `SMTP` is the base class; its per-connection inspection, its line-wise reading, its logging of what is said
and its `500` for every exception are replaced here (docs/decisions).

1. Every wait for the peer has a deadline; every reply that is not read in time ends the connection.
2. Replies to pipelined commands leave together.
3. An exception is answered `451 4.3.0` with a fixed text, and logged by type and position.
4. When the connection is lost its task is cancelled; what must be finished is shielded by whoever began it.
5. Commands are obeyed one after the other: at once as they arrive, but for the work of one that takes time. That is
   the task's, and no line is looked at before it is done.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, cast

from aiosmtpd.smtp import SMTP

from relay.core.errors import NotNow, Refused, RelayError
from relay.core.reply import Reply, reply
from relay.inbound import replies
from relay.inbound.body import BLOCK, Hopeless
from relay.inbound.endings import Close, Refusal, leave
from relay.inbound.inlet import Gone, Inlet, LineTooLong
from relay.inbound.outlet import Outlet
from relay.inbound.ports import Services
from relay.inbound.record import Record
from relay.inbound.session import Session, tls_of
from relay.inbound.settings import ListenerSettings
from relay.listen.front import Peer
from relay.listen.listener import SHUTDOWN
from relay.obs.connections import connection_name
from relay.obs.logs import bind, logger
from relay.obs.metrics import SmtpFault
from relay.proto.smtp.command import LONGEST_AUTH_LINE, LONGEST_LINE, parse_line
from relay.proto.smtp.parameters import CommandFault

_log = logger("inbound")

_LINGER = 2.0
"""Seconds."""
_BATCH = 16 * 1024
"""Octets of replies that gather while more commands wait: a peer that does not read is noticed a turn later."""
_TURN = 16
"""Commands answered before other connections get a turn."""
_FOREIGN = frozenset({"GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS"})
"""A browser was led to talk to us (cross-protocol attack): not one more line of it is looked at."""

Work = Callable[[], Awaitable[None]]
"""What takes time."""
Verb = Callable[[str], Work | None]


class Connection(SMTP):
    """Protocol object of one connection; `Verbs` adds the commands."""

    _table: ClassVar[Mapping[str, str]]

    def __init__(
        self,
        services: Services,
        listener: ListenerSettings,
        context: ssl.SSLContext | None,
        peer: Peer,
    ) -> None:
        # Not SMTP.__init__: it inspects all members, warns and logs for each connection. What its methods use is here.
        loop = asyncio.get_running_loop()
        asyncio.StreamReaderProtocol.__init__(self, None, loop=loop)  # type: ignore[arg-type]  # allowed by its code: we read by ourselves
        self.loop = loop
        self.services = services
        self.listener = listener
        self.tls_context = context
        self.hostname = services.settings.hostname
        self.inlet = Inlet(loop, services.budget)
        self.outlet = Outlet(loop, services.metrics, services.settings.deadlines.write)
        self.say, self.flush = self.outlet.say, self.outlet.flush
        self.session: Session
        self.transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = loop.create_future()
        """Done when both the transport and the task are."""
        self.record = Record(connection_name(), peer.address, listener.name)
        self._peer = peer
        self._stopping = False
        self._idle: asyncio.Future[Work] | None = None
        """While nothing is under way: where the task waits for work."""
        self._turn = 0
        self._context = contextvars.copy_context()
        """The task's, and of what is done in its place."""
        self._handler: asyncio.Task[None] | None = None

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The listener has let it in."""
        self.transport = cast(asyncio.Transport, transport)
        self.session = Session(self.loop, self._peer, self.listener.name)
        if (description := tls_of(transport)) is not None:
            self.session.secured(description)
        self.inlet.attach(self.transport)
        self.outlet.attach(self.transport)
        if self.services.names is not None:
            self.session.name = self.services.names.begin(self._peer.address)
        self._handler = self.loop.create_task(self._handle_client(), context=self._context)
        self._handler.add_done_callback(lambda _: self._part_ended())

    def data_received(self, data: bytes) -> None:
        """Octets of the peer."""
        self.inlet.feed(data)

    def eof_received(self) -> bool:
        """The peer will send no more; in clear it may still read our replies."""
        self.inlet.end()
        return self.session.tls is None

    def connection_lost(self, error: Exception | None) -> None:
        """The end, whoever wanted it."""
        self.inlet.close()
        self.outlet.attach(None)
        self.outlet.resume()
        if self._handler is not None:
            self._handler.cancel()
        self.transport = None
        self.outlet.count()
        self._part_ended()

    def pause_writing(self) -> None:
        """The peer does not read its replies."""
        self.outlet.choked = True

    def resume_writing(self) -> None:
        """It does again, or never will."""
        self.outlet.resume()

    # --- for the listener ---

    def stop(self) -> None:
        """The node stops: 421 at the next command, at once where nothing is under way."""
        self._stopping = True
        if self.inlet.expects_line and self.session.mailing is None:
            self.inlet.expire()

    def cut(self) -> None:
        """Now."""
        if self.transport is not None:
            self.transport.abort()

    def _part_ended(self) -> None:
        over = self.transport is None and (self._handler is None or self._handler.done())
        if over and not self.ended.done():
            self.ended.set_result(None)

    # --- the loop ---

    async def _handle_client(self) -> None:
        linger = False
        bind(conn=self.record.conn, client=self.record.client)
        try:
            await self._converse()
        except Close as end:
            if end.reply is not None:
                self.say(end.reply)
            linger = True
        except (Gone, ConnectionError):
            pass
        except Exception as error:  # a bug ends its own connection, no other one, and not in silence
            _log.exception("connection_failed", exc_info=error)
        finally:
            await self._leave(linger=linger)

    async def _converse(self) -> None:
        self.say(reply(220, f"{self.hostname} ESMTP"))
        while True:
            work = self._obey_lines() or await self._more_work()
            if work is leave:
                return
            try:
                await work()
            except Exception as error:  # whatever it is, the sender hears one answer
                self._answer(error)

    async def _more_work(self) -> Work:
        idle: asyncio.Future[Work] = self.loop.create_future()
        self._idle, self.inlet.heed = idle, self._look
        try:
            return await idle
        finally:
            self._idle = self.inlet.heed = None
            del idle  # it may hold the exception whose traceback holds this frame: work for the garbage collector

    def _look(self) -> None:
        """Something came while nothing was under way."""
        if self._idle is None or self._idle.done():
            return
        try:
            work = self._context.run(self._obey_lines)
        except Exception as end:  # it is the task that ends the connection
            self._idle.set_exception(end)
        else:
            if work is not None:
                self._idle.set_result(work)

    def _obey_lines(self) -> Work | None:
        """What the next lines ask for; None = there are no more, and the peer has our replies. Close, Gone."""
        if self.outlet.waiting > _BATCH:
            return self.flush
        while self._turn < _TURN:
            self._turn += 1
            if self._stopping and self.session.mailing is None:
                raise Close(replies.STOPPING)
            try:
                line = self.inlet.next_line(LONGEST_AUTH_LINE)
            except LineTooLong:
                self.say(replies.LINE_TOO_LONG)
                self.blame("long_line")
                continue
            if line is None:
                self._turn = 0
                self.outlet.send()
                if self.outlet.choked:
                    return self.flush
                try:
                    self.inlet.expect(self._patience)
                except TimeoutError:
                    raise self._too_late() from None
                return None
            try:
                work = self._dispatch(line)
            except Exception as error:  # as above
                self._answer(error)
            else:
                if work is not None:
                    return work
        self._turn = 0
        return functools.partial(asyncio.sleep, 0)

    def _dispatch(self, line: bytes) -> Work | None:
        if self.session.unconfirmed is not None:
            # A command after our 250: the sender has it, and will not send that message again.
            self.services.intake.confirm(self.session.unconfirmed)
            self.session.unconfirmed = None
        if not line.endswith(b"\r\n"):
            raise CommandFault(replies.NOT_A_LINE)  # RFC 5321 2.3.8
        command = parse_line(line[:-2])
        if command.verb in _FOREIGN:
            raise Close
        if len(line) > LONGEST_LINE and command.verb != "AUTH":
            raise CommandFault(replies.LINE_TOO_LONG)
        name = self._table.get(command.verb)
        if name is None:
            raise CommandFault(replies.UNKNOWN_COMMAND)
        verb: Verb = getattr(self, name)
        return verb(command.argument)

    def _answer(self, error: Exception) -> None:
        """What a command ended with: whatever happens, one answer."""
        match error:
            case CommandFault():
                self.say(error.reply)
                self.blame("sequence" if error.reply.code == 503 else "syntax")
            case Hopeless():
                self.hopeless(error.reply)
                raise Close(error.reply) from None
            case Refusal():
                self.say(error.reply)
            case Close() | Gone() | ConnectionError():
                raise error
            case Refused():
                self.say(Reply(550, (f"5.7.0 {error.public}",)))
            case _:  # invariant 3: what is unknown is temporary, and its text stays here
                if not isinstance(error, NotNow):
                    _log.exception("command_failed", exc_info=error)
                elif isinstance(error, RelayError):
                    _log.warning("not_now", detail=str(error))
                self.say(replies.TRY_LATER)

    async def line(self, limit: int) -> bytes:
        """A line that is no command, within the deadline. Close, Gone; LineTooLong is answered here."""
        while True:
            await self.flush()
            if self._stopping and self.session.mailing is None:
                raise Close(replies.STOPPING)
            try:
                return await self.inlet.line(limit, within=self._patience)
            except LineTooLong:
                self.say(replies.LINE_TOO_LONG)
                self.blame("long_line")
            except TimeoutError:
                raise self._too_late() from None

    @property
    def _patience(self) -> float:
        """Seconds for a line."""
        deadlines = self.services.settings.deadlines
        return deadlines.crowded if self.services.gate.crowded else deadlines.command

    def _too_late(self) -> Close:
        if self._stopping:
            return Close(replies.STOPPING)
        self.fault("timeout")
        return Close(replies.TIMEOUT)

    # --- faults ---

    def fault(self, kind: SmtpFault) -> None:
        """Count a breach."""
        self.services.metrics.faults[kind].inc()

    def hopeless(self, answer: Reply) -> None:
        """The content is not read to its end: count it."""
        self.fault("size" if answer.permanent else "too_slow")

    def blame(self, kind: SmtpFault) -> None:
        """Count a breach against this peer. Close when there were too many."""
        self.fault(kind)
        self.session.errors += 1
        if self.session.errors >= self.services.settings.limits.errors:
            self.fault("errors")
            raise Close(replies.TOO_MANY_ERRORS)

    # --- TLS ---

    async def upgrade(self) -> None:
        """STARTTLS after its checks: 220, handshake, a session that knows nothing (RFC 3207 4.2). Close, Gone."""
        if self.transport is None or self.tls_context is None:
            raise Gone
        # From here on the kernel keeps what arrives, and the handshake reads it: nothing in clear can slip through.
        self.transport.pause_reading()
        if self.inlet.pending:
            self.transport.resume_reading()
            self.fault("pipelined_tls")
            raise Close(replies.AFTER_STARTTLS)
        self.say(replies.READY_FOR_TLS)
        await self.flush()
        try:
            secured = await self.loop.start_tls(
                self.transport,
                self,
                self.tls_context,
                server_side=True,
                ssl_handshake_timeout=self.services.settings.deadlines.handshake,
                ssl_shutdown_timeout=SHUTDOWN,
            )
        except (OSError, ssl.SSLError) as error:
            self.fault("tls")
            self.cut()
            raise Gone from error
        if secured is None:  # what the loop answers when the connection was lost meanwhile
            raise Gone
        self.transport = secured
        self.inlet.attach(secured)
        self.outlet.attach(secured)
        self.session.secured(tls_of(secured) or "TLS")

    # --- the end ---

    async def _leave(self, *, linger: bool) -> None:
        try:
            self.reset()
            await self.flush()
            if linger:
                await self._linger()
        except (Gone, ConnectionError):
            pass
        finally:
            if self.transport is not None:
                self.transport.close()

    async def _linger(self) -> None:
        """Read what the peer is still sending, for a moment: a close with unread octets destroys our last reply."""
        if self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()
        try:
            async with asyncio.timeout(_LINGER):
                while True:
                    await self.inlet.block(BLOCK)
        except TimeoutError:
            return

    def reset(self) -> None:
        """Give up what the transaction under way holds."""
        session = self.session
        mailing, session.mailing = session.mailing, None
        body, session.body = session.body, None
        session.chunks_failed = False
        if mailing is not None:
            mailing.abort()
        if body is not None:
            self.services.finishing.start(body.discard())


@functools.cache
def table(cls: type[Connection]) -> Mapping[str, str]:
    """Verb to method name: looked up once per class, not once per connection."""
    return {name.removeprefix("smtp_"): name for name in dir(cls) if name.startswith("smtp_")}
