"""Logins on submission: the exchange of AUTH (RFC 4954), and who judges what comes of it.

`ask` sends a 334 challenge and returns the client's next line. What cannot be read raises `CommandFault`; nothing that
was sent is logged or quoted.

1. While the primary's submission is in use, it judges, and what it accepts is passed through to it on that connection;
   what worked is remembered for the outage. Its refusal stands.
2. Where it cannot be asked, or does not judge, the next best does, at once: the primary's IMAP, or what is known here.
3. Nobody acts for somebody else (RFC 4616 2): that is for the primary's masters, not through here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from relay.accounts.login import LoginResult, Reason, Verdict
from relay.accounts.names import Naming
from relay.core.errors import NotNow
from relay.core.mode import USES_PRIMARY, ModeBoard, Service, Signal
from relay.core.reply import Reply, reply
from relay.inbound import replies
from relay.inbound.ports import Entry
from relay.obs.logs import logger
from relay.primary.errors import NoContact
from relay.primary.smtp import SmtpPool
from relay.primary.submission import SubmissionPrimary, judges
from relay.proto.sasl.credentials import Credentials, Proof
from relay.proto.sasl.mechanisms import MECHANISMS, Cancelled, Challenge, Exchange, Malformed
from relay.proto.smtp.parameters import CommandFault, fault

_log = logger("inbound.login")

Ask = Callable[[Reply], Awaitable[bytes]]

PASSWORDS = tuple(name for name, row in MECHANISMS.items() if row.proof is Proof.PASSWORD)
TOKENS = tuple(name for name, row in MECHANISMS.items() if row.proof is Proof.TOKEN)


async def claim(mechanism: str, initial: str, ask: Ask) -> Credentials:
    """Run the exchange of a mechanism; `initial` is the initial response, empty when there is none."""
    exchange = Exchange(MECHANISMS[mechanism])
    step = exchange.start(initial.encode("utf-8", "replace") if initial else None)
    while isinstance(step, Challenge):
        step = exchange.answer(await ask(Reply(334, (step.text.decode("ascii"),))))
    if isinstance(step, Cancelled):
        raise CommandFault(replies.LOGIN_CANCELLED)  # RFC 4954 4
    if isinstance(step, Malformed):
        raise fault(501, f"5.5.2 {step.text}")
    return step


def dismissing(told: bytes) -> Reply:
    """The challenge that tells a client why its token is refused (RFC 7628 3.2.2); its answer means nothing."""
    return reply(334, Challenge(told).text.decode("ascii"))


class Judge(Protocol):
    """`accounts.upstream.PrimaryFirst`."""

    async def judge(self, claimed: Credentials, *, client: str) -> LoginResult:
        """The judgement. NotNow."""
        ...


class Memory(Protocol):
    """`accounts.login.LoginService`, as far as it hears what the primary said."""

    async def admits(self, login: str, *, client: str) -> bool:
        """Whether an attempt may be made at all."""
        ...

    async def refused(self, claimed: Credentials, *, client: str) -> None:
        """The primary refused it."""
        ...

    async def remember(self, claimed: Credentials, *, client: str) -> None:
        """It worked. NotNow."""
        ...


class Desk:
    """One per worker."""

    def __init__(
        self,
        *,
        judge: Judge,
        memory: Memory,
        naming: Naming,
        board: ModeBoard,
        primary: SubmissionPrimary | None,
        signed_tokens: bool,
    ) -> None:
        """`signed_tokens`: whether we can judge some ourselves."""
        self._judge = judge
        self._memory = memory
        self._naming = naming
        self._board = board
        self._primary = primary
        self._signed_tokens = signed_tokens

    def mechanisms(self) -> tuple[str, ...]:
        """Passwords, and tokens where somebody judges them."""
        if self._asks_primary and self._primary is not None:
            return PASSWORDS + self._primary.tokens
        return PASSWORDS + TOKENS if self._signed_tokens else PASSWORDS

    async def login(self, claimed: Credentials, *, client: str) -> Entry:
        """Who it is, and what their mail goes through. NotNow."""
        if claimed.for_another or not claimed.secret:
            return Entry(Verdict.REFUSED, reason=Reason.UNUSABLE)
        if self._primary is not None and self._asks_primary and claimed.login:
            if not await self._memory.admits(claimed.login, client=client):
                return Entry(Verdict.UNAVAILABLE, reason=Reason.THROTTLED)
            entry = await self._ask(self._primary, claimed, client)
            if entry is not None:
                return entry
        result = await self._judge.judge(claimed, client=client)
        return Entry(result.verdict, result.address or "", reason=result.reason)

    @property
    def _asks_primary(self) -> bool:
        return self._primary is not None and USES_PRIMARY[self._board.mode(Service.SUBMISSION)]

    async def _ask(self, primary: SubmissionPrimary, claimed: Credentials, client: str) -> Entry | None:
        """None: the primary did not judge."""
        try:
            answer = await primary.login(claimed)
        except NoContact as trouble:
            if trouble.evidence:
                self._board.evidence(Service.SUBMISSION, Signal.FAIL, trouble.reason)
            return None
        if isinstance(answer, SmtpPool):
            # That a login works is no good evidence: a primary may take every command and hang at the content.
            await self._remember(claimed, client, answer)
            return Entry(Verdict.OK, self._naming.account_of_login(claimed.login), answer, Reason.PRIMARY)
        if judges(answer):
            await self._memory.refused(claimed, client=client)
            return Entry(Verdict.REFUSED, reason=Reason.MISMATCH)
        if answer.transient:
            self._board.evidence(Service.SUBMISSION, Signal.FAIL, "primary cannot judge a login")
        return None

    async def _remember(self, claimed: Credentials, client: str, upstream: SmtpPool) -> None:
        try:
            await self._memory.remember(claimed, client=client)
        except NotNow as trouble:
            _log.warning("login_not_remembered", reason=str(trouble))
        except BaseException:
            await upstream.close()
            raise
