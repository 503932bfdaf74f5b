"""Logins where the session itself is not passed through (submission): the primary is asked first, the standby after.

1. While the primary's logins are in use, its OK and its refusal stand; an OK is remembered for the outage.
2. Where it cannot be asked, or does not answer, what we know decides, at once.
"""

from __future__ import annotations

from typing import Protocol

from relay.accounts.login import LoginResult, LoginService, Reason, Verdict
from relay.accounts.names import Naming
from relay.core.errors import NotNow
from relay.core.mode import USES_PRIMARY, ModeBoard, Service, Signal
from relay.obs.logs import logger
from relay.primary.imap import Verdict as Judged

_log = logger("accounts.upstream")


class Judge(Protocol):
    """`primary.imap.ImapPrimary`."""

    async def verify(self, user: str, password: str) -> Judged:
        """Try a login."""
        ...


class PrimaryFirst:
    """Judges a login by the primary or, where that cannot be, by what is known here."""

    def __init__(self, logins: LoginService, naming: Naming, board: ModeBoard, primary: Judge | None) -> None:
        self._logins = logins
        self._naming = naming
        self._board = board
        self._primary = primary

    async def login(self, login: str, password: str, *, client: str) -> LoginResult:
        """The judgement. NotNow: the store or the hashing pool cannot at the moment."""
        secret = password.encode()
        if self._primary is None or not USES_PRIMARY[self._board.mode(Service.LOGIN)]:
            return await self._logins.check(login, secret, client=client)
        if not await self._logins.admits(login, client=client):
            return LoginResult(Verdict.REFUSED, Reason.THROTTLED)
        judged = await self._primary.verify(login, password)
        if judged is Judged.UNAVAILABLE:
            self._board.evidence(Service.LOGIN, Signal.FAIL, "a login could not be judged by the primary")
            return await self._logins.check(login, secret, client=client)
        if judged is Judged.REFUSED:
            await self._logins.refused(login, client=client)
            return LoginResult(Verdict.REFUSED, Reason.MISMATCH)
        self._board.evidence(Service.LOGIN, Signal.OK, "a login was judged by the primary")
        try:
            await self._logins.remember(login, secret, client=client)
        except NotNow as trouble:
            _log.warning("login_not_remembered", reason=str(trouble))
        return LoginResult(Verdict.OK, Reason.PRIMARY, self._naming.account_of_login(login))
