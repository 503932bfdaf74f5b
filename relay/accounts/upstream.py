"""Logins where the session itself is not passed through (submission): the primary is asked first, the standby after.

1. While the primary's logins are in use, its OK and its refusal stand; an OK is remembered for the outage.
2. Where it cannot be asked, or does not answer, what we know decides, at once.
3. Nobody acts for somebody else (RFC 4616 2): that is for the primary's masters, not through here.
"""

from __future__ import annotations

from typing import Protocol

from relay.accounts.login import LoginResult, LoginService, Reason, Verdict
from relay.accounts.names import Naming
from relay.core.errors import NotNow
from relay.core.mode import USES_PRIMARY, ModeBoard, Service, Signal
from relay.obs.logs import logger
from relay.primary.imap import Verdict as Judged
from relay.proto.sasl.credentials import Credentials, Proof
from relay.proto.sasl.mechanisms import MECHANISMS

_log = logger("accounts.upstream")


class Judge(Protocol):
    """`primary.imap.ImapPrimary`."""

    async def verify(self, user: str, password: str) -> Judged:
        """Try a login."""
        ...

    async def verify_token(self, mechanism: str, message: bytes, dismissal: bytes) -> Judged:
        """Try a token."""
        ...


class PrimaryFirst:
    """Judges a login by the primary or, where that cannot be, by what is known here."""

    def __init__(self, logins: LoginService, naming: Naming, board: ModeBoard, primary: Judge | None) -> None:
        self._logins = logins
        self._naming = naming
        self._board = board
        self._primary = primary

    async def login(self, login: str, password: str, *, client: str) -> LoginResult:
        """`judge`, for a password."""
        return await self.judge(Credentials(login, password.encode()), client=client)

    async def judge(self, claimed: Credentials, *, client: str) -> LoginResult:
        """The judgement. NotNow: the store or the hashing pool cannot at the moment."""
        if claimed.for_another:
            return LoginResult(Verdict.REFUSED, Reason.UNUSABLE)
        if self._primary is None or not USES_PRIMARY[self._board.mode(Service.LOGIN)]:
            return await self._logins.check(claimed, client=client)
        if not await self._logins.admits(claimed.login, client=client):
            return LoginResult(Verdict.UNAVAILABLE, Reason.THROTTLED)
        judged = await self._ask(self._primary, claimed)
        if judged is Judged.UNAVAILABLE:
            if claimed.proof is Proof.PASSWORD:  # a primary need not take tokens
                self._board.evidence(Service.LOGIN, Signal.FAIL, "a login could not be judged by the primary")
            return await self._logins.check(claimed, client=client)
        if judged is Judged.REFUSED:
            await self._logins.refused(claimed, client=client)
            return LoginResult(Verdict.REFUSED, Reason.MISMATCH)
        self._board.evidence(Service.LOGIN, Signal.OK, "a login was judged by the primary")
        try:
            await self._logins.remember(claimed, client=client)
        except NotNow as trouble:
            _log.warning("login_not_remembered", reason=str(trouble))
        return LoginResult(Verdict.OK, Reason.PRIMARY, self._naming.account_of_login(claimed.login))

    @staticmethod
    async def _ask(primary: Judge, claimed: Credentials) -> Judged:
        if claimed.proof is Proof.TOKEN:
            # Without a name we would not know whose session it is.
            if not claimed.login:
                return Judged.UNAVAILABLE
            return await primary.verify_token(
                claimed.mechanism, claimed.message, MECHANISMS[claimed.mechanism].dismissal
            )
        try:
            password = claimed.secret.decode("utf-8")
        except UnicodeDecodeError:
            return Judged.REFUSED  # not "unavailable": strangers shall not talk the primary down
        return await primary.verify(claimed.login, password)
