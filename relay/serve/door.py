"""Before login: greeting, TLS, credentials (RFC 9051 6.1, 6.2). What comes of it is a `Way` to be served.

1. Credentials are asked for only inside TLS, or from this machine where that is allowed (RFC 9051 11.3).
2. While the primary's IMAP and login are in use, it judges; when it cannot be reached the standby judges, at once.
3. A wrong password and an unknown user get the same words after the same time; every failure is late and counted.
4. "Not now" (the throttle's too) is never said as "wrong password", which makes clients ask people for a new one:
   NO [UNAVAILABLE] (RFC 5530 3).
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TypeAlias

import msgspec

from relay.accounts.login import Reason, Verdict
from relay.accounts.record import login_failed
from relay.core.errors import NotNow
from relay.core.ip import is_loopback
from relay.core.mode import USES_PRIMARY, Service, Signal
from relay.obs.logs import logger
from relay.primary import imap_raw
from relay.primary.errors import NoContact
from relay.primary.imap_raw import Judgement, RawSession
from relay.primary.stream import Closed
from relay.proto.imap import commands as c
from relay.proto.imap import encode, grammar
from relay.proto.imap.receiver import Event, Frame, Line, Rejected
from relay.proto.sasl.credentials import Credentials, Proof
from relay.proto.sasl.mechanisms import MECHANISMS, Cancelled, Challenge, Exchange, read_password
from relay.serve.capabilities import before_login, understood
from relay.serve.common import identify
from relay.serve.offer import PASSWORDS, TOKENS
from relay.serve.ports import Services
from relay.serve.talk import Gone, Talk

_log = logger("serve.door")


class ByPrimary(msgspec.Struct, frozen=True):
    """Logged in on the primary: to be passed through."""

    tag: str
    session: RawSession
    capabilities: tuple[str, ...]


class ByStandby(msgspec.Struct, frozen=True):
    """Logged in here: to be served by the standby."""

    tag: str
    address: str


Way: TypeAlias = ByPrimary | ByStandby


class _No(msgspec.Struct, frozen=True):
    """Not let in; `challenge` is what the primary wants the client to hear first, in base 64."""

    verdict: Verdict
    reason: Reason
    challenge: bytes = b""


class Door:
    """Runs a conversation up to its login."""

    def __init__(self, talk: Talk, services: Services, context: ssl.SSLContext | None) -> None:
        self._talk = talk
        self._services = services
        self._context = context
        self._failures_left = services.settings.limits.logins

    @property
    def _may_login(self) -> bool:
        if self._talk.stream.tls:
            return True
        if self._services.settings.plaintext_auth == "never":
            return False
        return is_loopback(self._talk.client)

    def _capabilities(self) -> bytes:
        starttls = not self._talk.stream.tls and self._context is not None
        return before_login(understood(self._services.settings), starttls=starttls, mechanisms=self._mechanisms())

    def _mechanisms(self) -> tuple[str, ...]:
        """What may be tried now: passwords, and tokens where somebody judges them."""
        if not self._may_login:
            return ()
        if not self._asks_primary and self._services.settings.signed_tokens:
            return PASSWORDS + TOKENS
        return PASSWORDS + self._services.offer.tokens

    async def run(self) -> Way:
        """Until somebody is logged in. Gone."""
        talk, seconds = self._talk, self._services.settings.deadlines.login
        try:
            async with asyncio.timeout(seconds):
                talk.ok(None, "Ready", self._capabilities())
                while True:
                    way = await self._event(await talk.event(seconds))
                    if way is not None:
                        return way
                    await talk.settle()
        except TimeoutError:
            self._services.metrics.faults["timeout"].inc()
            await talk.bye("Too long without a login")
            raise Gone from None

    async def _event(self, event: Event) -> Way | None:
        if isinstance(event, Frame):
            return await self._frame(event)
        if isinstance(event, Rejected):
            await self._talk.rejected(event)
        return None

    async def _frame(self, frame: Frame) -> Way | None:
        parsed, talk, tag = grammar.parse(frame.tokens), self._talk, frame.tag
        if isinstance(parsed, grammar.Invalid):
            await talk.bad(tag, parsed.text)
            return None
        command = parsed.command
        if c.State.NOT_AUTHENTICATED not in parsed.row.states:
            await talk.bad(tag, "Log in first")
        elif isinstance(command, c.Login):
            return await self._login(tag, read_password("LOGIN", command.user, command.password))
        elif isinstance(command, c.Authenticate):
            return await self._authenticate(tag, command)
        elif isinstance(command, c.StartTls):
            await self._start_tls(tag)
        elif isinstance(command, c.Capability):
            talk.untagged(self._capabilities())
            talk.ok(tag, "Capabilities told")
        elif isinstance(command, c.Id):
            identify(talk, self._services.settings)
            talk.ok(tag, "Pleased to meet you")
        elif isinstance(command, c.Logout):
            await talk.bye("Goodbye")
            talk.ok(tag, "Logged out")
            talk.flush()
            raise Gone
        else:
            talk.ok(tag, "Done")
        return None

    async def _start_tls(self, tag: str) -> None:
        talk, context = self._talk, self._context
        stream = talk.stream
        if stream.tls or context is None:
            await talk.bad(tag, "No TLS to start")
            return
        stream.hold()
        if talk.receiver.pending or stream.take():
            # Plaintext behind STARTTLS is an injection or a broken client: no command of it may ever run.
            self._services.metrics.faults["pipelined_tls"].inc()
            await talk.bye("Nothing may follow STARTTLS")
            raise Gone
        talk.ok(tag, "Begin TLS now")
        talk.flush()
        try:
            await stream.start_tls(context, server_side=True, seconds=self._services.settings.deadlines.handshake)
        except Closed:
            self._services.metrics.faults["tls"].inc()
            raise Gone from None

    # --- credentials ---

    async def _authenticate(self, tag: str, command: c.Authenticate) -> Way | None:
        talk = self._talk
        mechanism = MECHANISMS.get(command.mechanism)
        if mechanism is None:
            talk.no(tag, "Mechanism is not supported", b"CANNOT")
        elif not self._may_login:
            self._refuse_plaintext(tag)
        elif mechanism.name not in self._mechanisms():
            talk.no(tag, "Mechanism is not available", b"CANNOT")
        else:
            claimed = await self._claim(tag, Exchange(mechanism), command.initial)
            return None if claimed is None else await self._login(tag, claimed)
        return None

    async def _claim(self, tag: str, exchange: Exchange, initial: bytes | None) -> Credentials | None:
        """Run the exchange; None: it came to nothing, and the client was told."""
        step = exchange.start(initial)
        while isinstance(step, Challenge):
            line = await self._ask(step.text)
            if line is None:
                return None
            step = exchange.answer(line)
        if isinstance(step, Credentials):
            return step
        await self._talk.bad(tag, "Authentication cancelled" if isinstance(step, Cancelled) else step.text)
        return None

    async def _ask(self, challenge: bytes) -> bytes | None:
        """The client's answer to a challenge; None: it was no answer, and the client was told."""
        talk = self._talk
        talk.send(encode.continuation(challenge))
        talk.receiver.expect_line()
        line = await talk.event(self._services.settings.deadlines.login)
        if isinstance(line, Line):
            return line.data
        if isinstance(line, Rejected):
            await talk.rejected(line)
        return None

    def _refuse_plaintext(self, tag: str) -> None:
        self._talk.no(tag, "Start TLS first", b"PRIVACYREQUIRED")

    async def _login(self, tag: str, claimed: Credentials | None) -> Way | None:
        """None stands for credentials that nobody can have."""
        if not self._may_login:
            self._refuse_plaintext(tag)
            return None
        started = asyncio.get_running_loop().time()
        try:
            judged = await self._judge(tag, claimed) if claimed is not None else _No(Verdict.REFUSED, Reason.UNUSABLE)
        except NotNow:
            judged = _No(Verdict.UNAVAILABLE, Reason.UNJUDGED)
        if not isinstance(judged, _No):
            return judged
        login_failed(judged.verdict, judged.reason, conn=self._talk.conn, client=self._talk.client, protocol="imap")
        await self._fail(tag, started, judged, token=claimed is not None and claimed.proof is Proof.TOKEN)
        return None

    async def _judge(self, tag: str, claimed: Credentials) -> Way | _No:
        """Who serves the client, or why nobody does. NotNow."""
        services, client = self._services, self._talk.client
        # RFC 4616 2: acting for somebody else is for the primary's masters, not through here. Without a token a client
        # only asks what is wanted (RFC 7628 3.2.3).
        if claimed.for_another or not claimed.secret:
            return _No(Verdict.REFUSED, Reason.UNUSABLE)
        if not await services.logins.admits(claimed.login, client=client):
            return _No(Verdict.UNAVAILABLE, Reason.THROTTLED)
        if self._asks_primary:
            judged = await self._ask_primary(tag, claimed)
            if isinstance(judged, ByPrimary):
                return judged
            if judged is not None:
                if judged.verdict is Verdict.REFUSED:
                    await services.logins.refused(claimed, client=client)
                return judged
        result = await services.logins.check(claimed, client=client)
        if result.verdict is Verdict.OK and result.address is not None:
            return ByStandby(tag, result.address)
        verdict = Verdict.REFUSED if result.verdict is Verdict.REFUSED else Verdict.UNAVAILABLE
        return _No(verdict, result.reason)

    @property
    def _asks_primary(self) -> bool:
        board = self._services.board
        return self._services.primary is not None and all(
            USES_PRIMARY[board.mode(service)] for service in (Service.IMAP, Service.LOGIN)
        )

    async def _ask_primary(self, tag: str, claimed: Credentials) -> ByPrimary | _No | None:
        """None: the primary is not there; the standby decides."""
        services = self._services
        assert services.primary is not None
        session: RawSession | None = None
        try:
            session = await imap_raw.connect(services.primary, services.primary_tls, client=self._talk.client)
            services.offer.learn(session.capabilities)
            if claimed.proof is Proof.PASSWORD:
                answer = await session.login(claimed.login, claimed.secret)
            elif claimed.mechanism in services.offer.tokens:
                dismissal = MECHANISMS[claimed.mechanism].dismissal
                answer = await session.authenticate(claimed.mechanism, claimed.message, dismissal)
            else:
                return _No(Verdict.UNAVAILABLE, Reason.UNJUDGED)
            if answer.judgement is Judgement.LATER:
                services.board.evidence(Service.LOGIN, Signal.FAIL, "primary cannot judge a login")
                return _No(Verdict.UNAVAILABLE, Reason.UNJUDGED)
            if answer.judgement is Judgement.REFUSED:
                return _No(Verdict.REFUSED, Reason.MISMATCH, answer.challenge)
            services.board.evidence(Service.IMAP, Signal.OK, "login")
            services.board.evidence(Service.LOGIN, Signal.OK, "login")
            services.chores.start(self._remember(claimed))
            if services.offer.new_to_users(answer.capabilities):
                services.chores.start(services.offer.keep())
            way, session = ByPrimary(tag, session, answer.capabilities), None
        except NoContact as problem:
            if problem.evidence:
                services.board.evidence(Service.IMAP, Signal.FAIL, problem.reason)
            return None
        else:
            return way
        finally:
            if session is not None:
                session.close()

    async def _remember(self, claimed: Credentials) -> None:
        """Beside the session: hashing a password takes longer than the login did."""
        try:
            await self._services.logins.remember(claimed, client=self._talk.client)
        except NotNow as problem:
            # The user is logged in on the primary; that the next outage may not know them is for the operator.
            _log.warning("login_not_remembered", exc_info=problem)

    async def _fail(self, tag: str, started: float, no: _No, *, token: bool) -> None:
        """Invariants 3 and 4. Gone after too many."""
        loop, settings = asyncio.get_running_loop(), self._services.settings
        await asyncio.sleep(max(0.0, started + settings.deadlines.failure - loop.time()))
        if no.verdict is Verdict.UNAVAILABLE:
            self._talk.no(tag, "Cannot check logins at the moment, try again later", b"UNAVAILABLE")
        else:
            if token:
                # RFC 7628 3.2.3: the client hears why, answers with nothing of interest, and then it has failed.
                await self._ask(no.challenge or Challenge(settings.token_refusal).text)
            self._talk.no(tag, "Wrong user name or password", b"AUTHENTICATIONFAILED")
        self._failures_left -= 1
        if self._failures_left <= 0:
            await self._talk.bye("Too many failed logins")
            raise Gone
