"""Active probes: is each service of the primary doing what it is for?

Nothing enters but the settings; a typed `Probe` leaves, always within `timeout` seconds: a primary that accepts and
then hangs is down. Each service is asked alone, because some outages are authentication only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from relay.core.clock import Clock
from relay.core.mode import Service
from relay.primary.connection import Dialer
from relay.primary.errors import NoContact
from relay.primary.imap import ImapPrimary, Verdict
from relay.primary.imap_client import ImapGone
from relay.primary.settings import Deadlines, Forward, SmtpSettings
from relay.primary.wire import Broken


class Probe(msgspec.Struct, frozen=True):
    """What one probe found."""

    service: Service
    ok: bool
    reason: str
    """Bland; `ok` when it is."""
    seconds: float


class Prober:
    """One per worker that holds the probe lease."""

    def __init__(
        self,
        smtp: SmtpSettings | None,
        imap: ImapPrimary | None,
        submission: SmtpSettings | None = None,
        *,
        timeout: float,
        clock: Clock,
    ) -> None:
        # A probe is our own conversation: no client to name, no credentials to wear out.
        own = {"forward": Forward.NONE, "credentials": None, "deadlines": Deadlines(open=timeout, command=timeout)}
        self._smtp, self._submission = (
            None if settings is None else Dialer(msgspec.structs.replace(settings, **own), clock)
            for settings in (smtp, submission)
        )
        self._imap = imap
        self._timeout = timeout
        self._clock = clock
        self._master_enters: bool | None = None
        """None = not tried yet."""

    @property
    def asks(self) -> Mapping[Service, Callable[[], Awaitable[Probe]]]:
        """The question for each service."""
        return {
            Service.SMTP: self.smtp,
            Service.IMAP: self.imap,
            Service.LOGIN: self.login,
            Service.SUBMISSION: self.submission,
        }

    async def smtp(self) -> Probe:
        """Greeting, EHLO, TLS as configured, NOOP."""
        return await self._probe(Service.SMTP, lambda: self._ask_smtp(self._smtp))

    async def submission(self) -> Probe:
        """The same of the submission service."""
        return await self._probe(Service.SUBMISSION, lambda: self._ask_smtp(self._submission))

    async def imap(self) -> Probe:
        """Greeting, TLS as configured, CAPABILITY."""
        return await self._probe(Service.IMAP, self._ask_imap)

    async def login(self) -> Probe:
        """A login by the probe's account or by the master, where there is one; else as far as a greeting shows."""
        return await self._probe(Service.LOGIN, self._ask_login)

    async def _probe(self, service: Service, ask: Callable[[], Awaitable[str]]) -> Probe:
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                reason = await ask()
        except TimeoutError:
            reason = "server did not answer in time"
        except (NoContact, ImapGone, Broken) as error:
            reason = str(error)
        return Probe(service, reason == "ok", reason, self._clock.monotonic() - began)

    async def _ask_smtp(self, dialer: Dialer | None) -> str:
        if dialer is None:
            return "no SMTP server is configured"
        connection = await dialer.dial(None)
        try:
            reply = await connection.command(b"NOOP\r\n", self._timeout)
            return "ok" if reply.positive else f"NOOP was answered {reply.code}"
        finally:
            connection.wire.leave()

    async def _ask_imap(self) -> str:
        if self._imap is None:
            return "no IMAP server is configured"
        await self._imap.greet(self._timeout)
        return "ok"

    async def _ask_login(self) -> str:
        if self._imap is not None and (probe := self._imap.settings.probe) is not None:
            judged = await self._imap.verify(probe.login, probe.password)
            return "ok" if judged is Verdict.OK else f"login of the probe's account was {judged.value}"
        if self._imap is None or not self._imap.sees_mailboxes or self._master_enters is False:
            return await self._ask_imap()
        verdict = await self._imap.enter_as_master(self._timeout)
        if verdict is Verdict.REFUSED and self._master_enters is None:
            # Most masters have no mailbox of their own. Asking again and again would look like an attack, and servers
            # answer those with growing delays for everybody behind our address.
            self._master_enters = False
            return "ok"
        self._master_enters = self._master_enters or verdict is Verdict.OK or None
        # Once it got in, REFUSED is what an outage of the directory looks like.
        return "ok" if verdict is Verdict.OK else f"login of the master user was {verdict.value}"
