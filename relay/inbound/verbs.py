"""The commands of SMTP and submission (RFC 5321 4.1.1, RFC 6409 and the extensions that EHLO names).

Each `smtp_*` method gets the argument of one command and says one reply, or gives the work that ends with one. Order of
commands is checked here, their grammar in `proto.smtp.command`, who may send to whom in `mailing`.
"""
# ruff: noqa: N802  # the names are aiosmtpd's, whose commands these replace

from __future__ import annotations

import asyncio
from functools import partial

import msgspec

from relay.accounts.login import Verdict as LoginVerdict
from relay.core.envelope import Recipient
from relay.core.errors import NotNow
from relay.core.ip import is_loopback
from relay.core.reply import Reply
from relay.inbound import login, replies
from relay.inbound.body import Body
from relay.inbound.connection import Connection, Work, table
from relay.inbound.endings import Close, Refusal, leave
from relay.inbound.mailing import Mailing
from relay.inbound.ports import Draft, Entry
from relay.inbound.record import fault_of, outcome
from relay.inbound.submission import Submission
from relay.obs.metrics import RecipientOutcome, Transaction
from relay.primary.client_names import ClientNames
from relay.proto.sasl.credentials import Proof
from relay.proto.smtp.command import (
    LONGEST_AUTH_LINE,
    Chunk,
    MailCommand,
    parse_bdat,
    parse_greeting,
    parse_mail,
    parse_rcpt,
)
from relay.proto.smtp.parameters import CommandFault


class Verbs(Connection):
    """What the lines mean."""

    # --- greeting ---

    def smtp_HELO(self, argument: str) -> None:
        """RFC 5321 4.1.1.1."""
        self._greet(argument, extended=False)
        self.say(Reply(250, (self.hostname,)))

    def smtp_EHLO(self, argument: str) -> None:
        """RFC 5321 4.1.1.1: what we can do."""
        self._greet(argument, extended=True)
        login = self.listener.login and self._may_login
        self.say(
            replies.hello(
                self.hostname,
                self.services.settings.limits,
                starttls=self.tls_context is not None and self.session.tls is None,
                mechanisms=self.services.logins.mechanisms() if login else (),
            )
        )

    def smtp_STARTTLS(self, argument: str) -> Work:
        """RFC 3207."""
        self._no_argument(argument)
        if self.session.tls is not None:
            raise CommandFault(replies.TLS_ALREADY)
        if self.session.login is not None:
            raise CommandFault(replies.LOGIN_ALREADY)  # RFC 3207 4.2 would have it forgotten, in silence
        if self.tls_context is None:
            raise CommandFault(replies.NOT_IMPLEMENTED)
        self.reset()
        return self.upgrade

    def smtp_AUTH(self, argument: str) -> Work:
        """RFC 4954, on submission listeners only."""
        session = self.session
        if not self.listener.login:
            raise CommandFault(replies.NOT_IMPLEMENTED)
        self._greeted()
        if not session.extended_smtp:
            raise CommandFault(replies.NOT_IMPLEMENTED)
        if session.login is not None:
            raise CommandFault(replies.LOGIN_ALREADY)
        if session.mailing is not None:
            raise CommandFault(replies.NOT_NOW_LOGIN)
        if not self._may_login:
            raise CommandFault(replies.TLS_FOR_LOGIN)
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() not in self.services.logins.mechanisms():
            raise CommandFault(replies.UNKNOWN_MECHANISM)
        return partial(self._login, mechanism.upper(), initial.strip(" "))

    async def _login(self, mechanism: str, initial: str) -> None:
        session = self.session
        claimed = await login.claim(mechanism, initial, self._challenge)
        await self.flush()
        try:
            entry = await self.services.logins.login(claimed, client=session.client.address)
        except NotNow:
            entry = Entry(LoginVerdict.UNAVAILABLE)
        self.record.login(entry)
        if entry.verdict is LoginVerdict.OK:
            session.login, session.upstream = entry.account, entry.upstream
            self.say(Reply(235, ("2.7.0 Authentication successful",)))
        elif entry.verdict is LoginVerdict.UNAVAILABLE:
            self.say(replies.LOGIN_LATER)
        else:
            if claimed.proof is Proof.TOKEN:
                await self._challenge(login.dismissing(self.services.settings.token_refusal))
            session.failed_logins += 1
            if session.failed_logins >= self.services.settings.limits.logins:
                raise Close(replies.TOO_MANY_LOGINS)
            self.say(replies.BAD_LOGIN)

    # --- mail transaction ---

    def smtp_MAIL(self, argument: str) -> Work | None:
        """RFC 5321 4.1.1.2: a transaction begins."""
        session, limits = self.session, self.services.settings.limits
        self._greeted()
        if self.listener.login and session.login is None:
            raise CommandFault(replies.LOGIN_NEEDED)  # RFC 6409 4.3
        if session.mailing is not None:
            raise CommandFault(replies.NESTED_MAIL)
        command = parse_mail(argument, session.parameters)
        if session.messages >= limits.transactions:
            raise Close(replies.TOO_MANY_MESSAGES)
        if command.size is not None and command.size > limits.message_size:
            self.say(replies.TOO_BIG)  # RFC 1870 6.1
            self._count(self.record.end("refused", replies.TOO_BIG, size=command.size))
        elif not self.services.pressure.admits(command.size):
            self.say(replies.NO_ROOM)
            self._count(self.record.end("deferred", replies.NO_ROOM, size=command.size))
        elif session.name is None and self.services.names is not None:
            return partial(self._mail_of_whom, command, self.services.names)
        else:
            self._mail(command)
        return None

    async def _mail_of_whom(self, command: MailCommand, names: ClientNames) -> None:
        await self.flush_if_waiting()
        self.session.name = await names.name_of(self.session.client.address)
        self._mail(command)

    def _mail(self, command: MailCommand) -> None:
        session, mailing = self.session, self._begin(command)
        if isinstance(mailing, Submission) and (refusal := mailing.unwelcome()) is not None:
            self.say(refusal)
            self._count(self.record.end("refused", refusal, reason="sender"))
            return
        session.mailing = mailing
        self.record.begin()
        session.messages += 1
        self.say(replies.MAIL_OK)

    def smtp_RCPT(self, argument: str) -> Work:
        """RFC 5321 4.1.1.3: one more recipient."""
        session = self.session
        self._greeted()
        mailing = session.mailing
        if mailing is None:
            raise CommandFault(replies.MAIL_FIRST)
        if session.body is not None:
            raise CommandFault(replies.IN_CHUNKS)
        recipient = parse_rcpt(argument, session.parameters, smtputf8=mailing.command.smtputf8)
        heard = self.services.postmaster.heard(recipient.address, self._connected_to)  # RFC 5321 4.5.1
        if heard != recipient.address:
            recipient = msgspec.structs.replace(recipient, address=heard)
        return partial(self._rcpt, mailing, recipient)

    async def _rcpt(self, mailing: Mailing, recipient: Recipient) -> None:
        session = self.session
        await self.flush_if_waiting()
        answer = await mailing.rcpt(recipient)
        said: RecipientOutcome = "accepted" if answer.positive else "refused" if answer.permanent else "deferred"
        self.services.metrics.recipients[said].inc()
        self.say(answer)
        if not answer.positive:
            self.record.turned_down(answer)
        if answer.permanent:
            session.refused += 1
            if session.refused >= self.services.settings.limits.refused_recipients:
                self.fault("errors")
                raise Close(replies.TOO_MANY_ERRORS)

    def smtp_DATA(self, argument: str) -> Work | None:
        """RFC 5321 4.1.1.4."""
        session = self.session
        self._no_argument(argument)
        self._greeted()
        if session.body is not None or session.chunks_failed:
            raise CommandFault(replies.IN_CHUNKS)  # RFC 3030 2
        mailing = self._mailing_with_recipients()
        if not self.services.pressure.admits(mailing.command.size):
            self._count(self.record.end("deferred", replies.NO_ROOM))
            self.reset()
            self.say(replies.NO_ROOM)
            return None
        return partial(self._data, mailing)

    async def _data(self, mailing: Mailing) -> None:
        mailing.receiving()
        self.say(replies.GO_ON)
        await self.flush()
        draft = mailing.begin()  # a key is made and wrapped while the sender answers
        body = self.session.body = self._body(draft)
        await body.data()
        await self._complete(mailing, body, draft)

    def smtp_BDAT(self, argument: str) -> Work:
        """RFC 3030 2: a chunk follows the line, whatever we think of it."""
        try:
            return partial(self._chunk, parse_bdat(argument))
        except CommandFault as problem:
            raise Close(problem.reply) from None  # where the next command begins cannot be known

    async def _chunk(self, chunk: Chunk) -> None:
        session, mailing = self.session, self.session.mailing
        if mailing is not None and mailing.taken and not session.chunks_failed and session.body is None:
            session.body = self._body(mailing.begin())
            mailing.receiving()
        body = session.body or self._body(None)
        await self.flush()
        await body.chunk(chunk.size)
        if session.chunks_failed:
            raise CommandFault(replies.CHUNKS_FAILED)
        mailing = self._mailing_with_recipients()
        refusal = body.refusal() if chunk.last else body.refusal_so_far()
        if refusal is not None:
            self._refuse(refusal, body)
            await body.discard()
            session.body = None
            session.chunks_failed = True
        elif chunk.last and body.draft is not None:
            await self._complete(mailing, body, body.draft)
        else:
            self.say(Reply(250, (f"2.0.0 {chunk.size} octets received",)))

    def smtp_RSET(self, argument: str) -> None:
        """RFC 5321 4.1.1.5."""
        self._no_argument(argument)
        if self.session.mailing is not None:
            self._count("aborted")
        self.reset()
        self.say(replies.OK)

    # --- the rest ---

    def smtp_NOOP(self, _argument: str) -> None:
        """RFC 5321 4.1.1.9: the argument has no meaning."""
        self.say(replies.OK)

    def smtp_VRFY(self, _argument: str) -> None:
        """RFC 5321 7.3: addresses are not confirmed to strangers."""
        self.say(replies.CANNOT_VRFY)

    def smtp_EXPN(self, _argument: str) -> None:  # type: ignore[override]  # the one that has a type there
        """RFC 5321 7.3."""
        self.say(replies.NOT_IMPLEMENTED)

    def smtp_HELP(self, _argument: str) -> None:
        """RFC 5321 4.1.1.8."""
        self.say(replies.HELP)

    def smtp_QUIT(self, argument: str) -> Work:
        """RFC 5321 4.1.1.10."""
        self._no_argument(argument)
        self.say(replies.BYE)
        return leave

    # --- helpers ---

    async def flush_if_waiting(self) -> None:
        """Before work that may take long: answers that are ready do not wait for it, unless more was pipelined."""
        if not self.inlet.has_line:
            await self.flush()

    def _greet(self, argument: str, *, extended: bool) -> None:
        name = parse_greeting(argument)
        self.reset()
        session = self.session
        session.helo = session.host_name = name
        session.extended_smtp = extended

    @property
    def _may_login(self) -> bool:
        """Inside TLS, or from this machine where that is allowed."""
        if self.session.tls is not None:
            return True
        return self.services.settings.plaintext_auth == "loopback" and is_loopback(self.session.client.address)

    def _connected_to(self) -> str | None:
        """Our end of the connection."""
        here = self.transport.get_extra_info("sockname") if self.transport is not None else None
        return here[0] if here else None

    def _begin(self, command: MailCommand) -> Mailing:
        session = self.session
        origin = session.origin(smtputf8=command.smtputf8)
        if self.listener.login:
            return Submission(self.services, command, origin, session.upstream)
        return Mailing(self.services, command, origin)

    def reset(self) -> None:
        """See `Connection.reset`."""
        mailing, body = self.session.mailing, self.session.body
        if mailing is not None:
            self.record.left(taken=bool(mailing.taken), size=None if body is None else body.size)
        super().reset()

    def hopeless(self, answer: Reply) -> None:
        """See `Connection.hopeless`."""
        super().hopeless(answer)
        body = self.session.body
        self._count(
            self.record.end("refused" if answer.permanent else "deferred", answer, size=body.size if body else None)
        )

    async def _leave(self, *, linger: bool) -> None:
        upstream, self.session.upstream = self.session.upstream, None
        try:
            await super()._leave(linger=linger)
        finally:
            if upstream is not None:
                await upstream.close()

    def _body(self, draft: Draft | None) -> Body:
        return Body(self.inlet, draft, self.services.settings, self.services.clock.monotonic)

    def _greeted(self) -> None:
        if not self.session.helo:
            raise CommandFault(replies.HELLO_FIRST)  # RFC 5321 4.1.4

    def _mailing_with_recipients(self) -> Mailing:
        mailing = self.session.mailing
        if mailing is None:
            raise CommandFault(replies.MAIL_FIRST)
        if not mailing.taken:
            raise Refusal(replies.NO_RECIPIENTS)
        return mailing

    @staticmethod
    def _no_argument(argument: str) -> None:
        if argument:
            raise CommandFault(replies.NO_ARGUMENT)

    async def _challenge(self, challenge: Reply) -> bytes:
        self.say(challenge)
        return (await self.line(LONGEST_AUTH_LINE)).strip(b"\r\n")

    async def _complete(self, mailing: Mailing, body: Body, draft: Draft) -> None:
        """The content is here: refuse it, or make it ours and answer."""
        session, metrics = self.session, self.services.metrics
        refusal = body.refusal()
        if refusal is not None:
            self._refuse(refusal, body)
            self.reset()
            return
        start = self.services.clock.monotonic()
        session.mailing = session.body = None
        try:
            finished = await mailing.finish(draft, body.held)
        except Refusal as refused:
            self._refuse(refused.reply, body)
            return
        except asyncio.CancelledError:
            self.record.hung_up(draft.item, body.size)
            raise
        except Exception:  # a bug: its sender hears "later" (`Connection.handle_exception`)
            self._count(self.record.end("deferred", replies.TRY_LATER, item=draft.item, size=body.size))
            raise
        seconds = self.services.clock.monotonic() - start
        metrics.accept_seconds.observe(seconds)
        self.say(finished.reply)
        # What the primary refused is on record under its item; what could not be kept is not.
        item = draft.item if finished.reply.permanent else None
        if finished.accepted is not None:
            item = session.unconfirmed = finished.accepted.item
            metrics.message_bytes.observe(body.size)
        self._count(self.record.end(outcome(finished), finished.reply, item=item, size=body.size, seconds=seconds))

    def _refuse(self, refusal: Reply, body: Body) -> None:
        fault = fault_of(body)
        if fault is not None:
            self.fault(fault)
        result: Transaction = "refused" if refusal.permanent else "deferred"
        self._count(self.record.end(result, refusal, size=body.size, reason=fault))
        self.say(refusal)

    def _count(self, result: Transaction) -> None:
        self.services.metrics.transactions[self.listener.name, result].inc()
        self.outlet.count()


Verbs._table = table(Verbs)
