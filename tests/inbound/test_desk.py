"""Who judges a login on submission: the primary's submission, the next best, and what is remembered of it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay.accounts.login import LoginResult, Reason, Verdict
from relay.accounts.names import Naming, NamingSettings
from relay.core.clock import SystemClock
from relay.core.errors import NotNow
from relay.core.mode import Mode, Signal
from relay.inbound.login import Desk
from relay.inbound.ports import Entry
from relay.primary.settings import Endpoint, SmtpSettings, TlsMode
from relay.primary.submission import SubmissionPrimary
from relay.proto.sasl.credentials import Credentials, Proof
from tests.inbound.world import BOB, QUICK, Board
from tests.primary.fake import Act, FakeSmtp, Script, Session

PASSWORD = Credentials("bob", b"s\xc3\xa9cret")
TOKEN = Credentials(
    "bob", b"abc", proof=Proof.TOKEN, mechanism="XOAUTH2", message=b"user=bob\x01auth=Bearer abc\x01\x01"
)


class Accounts:
    """Who judges where the primary does not, and what was told to the memory."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.admitting = True
        self.remembering = True

    async def judge(self, claimed: Credentials, *, client: str) -> LoginResult:
        """By what is known here."""
        del claimed, client
        self.told.append("judged here")
        return LoginResult(Verdict.OK, Reason.REMEMBERED, BOB)

    async def admits(self, login: str, *, client: str) -> bool:
        """As told."""
        del login, client
        return self.admitting

    async def refused(self, claimed: Credentials, *, client: str) -> None:
        """Note it."""
        del claimed, client
        self.told.append("refused")

    async def remember(self, claimed: Credentials, *, client: str) -> None:
        """Note it."""
        del claimed, client
        if not self.remembering:
            raise NotNow("told to fail")
        self.told.append("remembered")


@dataclasses.dataclass
class Site:
    """What a test touches."""

    desk: Desk
    accounts: Accounts
    board: Board
    server: FakeSmtp
    primary: SubmissionPrimary

    async def login(self, claimed: Credentials) -> Entry:
        """And let go of what came of it."""
        entry = await self.desk.login(claimed, client="192.0.2.7")
        if entry.upstream is not None:
            await entry.upstream.close()
        return entry

    @property
    def said(self) -> list[str]:
        """AUTH lines, and what follows them."""
        return [line for session in self.server.sessions for line in session.commands if not line.startswith("EHLO")]


@asynccontextmanager
async def site(script: Script, mode: Mode = Mode.NORMAL, *, offered: str = "PLAIN XOAUTH2") -> AsyncIterator[Site]:
    def answers(verb: str, line: str, session: Session) -> str | Act | None:
        return f"250-there\r\n250 AUTH {offered}" if verb == "EHLO" else script(verb, line, session)

    async with FakeSmtp(answers) as server:
        settings = SmtpSettings(Endpoint("127.0.0.1", server.port, TlsMode.NONE), helo="mx1", deadlines=QUICK)
        primary = SubmissionPrimary(settings, SystemClock())
        accounts, board = Accounts(), Board(mode)
        naming = Naming(NamingSettings("example.org"))
        desk = Desk(judge=accounts, memory=accounts, naming=naming, board=board, primary=primary, signed_tokens=False)
        yield Site(desk, accounts, board, server, primary)


def saying(reply: str) -> Script:
    """A server that answers AUTH so."""
    return lambda verb, _line, _session: reply if verb == "AUTH" else None


@pytest.mark.parametrize(
    ("claimed", "line"),
    [
        (PASSWORD, "AUTH PLAIN AGJvYgBzw6ljcmV0"),
        (TOKEN, "AUTH XOAUTH2 dXNlcj1ib2IBYXV0aD1CZWFyZXIgYWJjAQE="),
    ],
)
async def test_what_the_primary_takes_is_passed_through_and_remembered(claimed: Credentials, line: str) -> None:
    async with site(saying("235 2.7.0 ok")) as s:
        entry = await s.login(claimed)
        assert (entry.verdict, entry.account) == (Verdict.OK, BOB)
        assert entry.upstream is not None
        assert s.said[0] == line
        assert s.accounts.told == ["remembered"]
        # A login says nothing about how it takes messages.
        assert s.board.signals == []
        assert s.primary.tokens == ("XOAUTH2",)
        assert s.desk.mechanisms() == ("PLAIN", "LOGIN", "XOAUTH2")


@pytest.mark.parametrize("reply", ["535 5.7.8 no", "550 5.7.1 account disabled"])
async def test_its_refusal_stands(reply: str) -> None:
    async with site(saying(reply)) as s:
        assert await s.login(PASSWORD) == Entry(Verdict.REFUSED, reason=Reason.MISMATCH)
        assert s.accounts.told == ["refused"]
        assert s.board.signals == []


@pytest.mark.parametrize(
    ("script", "signals"),
    [
        (saying("454 4.7.0 the directory is down"), [Signal.FAIL]),
        (saying("504 5.5.4 what is that"), []),
        (lambda verb, _line, _session: Act.CUT if verb == "AUTH" else None, [Signal.FAIL]),
        (lambda verb, _line, _session: Act.STALL if verb == "AUTH" else None, [Signal.FAIL]),
        (lambda verb, _line, _session: "421 4.3.2 closing" if verb == "GREETING" else None, [Signal.FAIL]),
    ],
    ids=["454", "504", "cut", "stall", "421"],
)
async def test_where_it_does_not_judge_the_next_best_does(script: Script, signals: list[Signal]) -> None:
    async with site(script) as s:
        assert await s.login(PASSWORD) == Entry(Verdict.OK, BOB, reason=Reason.REMEMBERED)
        assert s.accounts.told == ["judged here"]
        assert s.board.signals == signals


async def test_a_token_that_it_does_not_take_is_no_sign_of_an_outage() -> None:
    async with site(saying("235 2.7.0 ok"), offered="PLAIN") as s:
        assert await s.login(TOKEN) == Entry(Verdict.OK, BOB, reason=Reason.REMEMBERED)
        assert s.accounts.told == ["judged here"]
        assert s.board.signals == []


async def test_a_primary_that_is_down_is_not_asked() -> None:
    async with site(saying("535 5.7.8 no"), Mode.STANDBY) as s:
        assert await s.login(PASSWORD) == Entry(Verdict.OK, BOB, reason=Reason.REMEMBERED)
        assert not s.server.sessions
        assert s.desk.mechanisms() == ("PLAIN", "LOGIN")


async def test_guessing_is_throttled_before_the_primary_hears_of_it() -> None:
    async with site(saying("535 5.7.8 no")) as s:
        s.accounts.admitting = False
        assert await s.login(PASSWORD) == Entry(Verdict.UNAVAILABLE, reason=Reason.THROTTLED)
        assert not s.server.sessions


async def test_nobody_acts_for_somebody_else() -> None:
    async with site(saying("235 2.7.0 ok")) as s:
        unusable = Entry(Verdict.REFUSED, reason=Reason.UNUSABLE)
        assert await s.login(Credentials("bob", b"secret", "eve")) == unusable
        assert await s.login(Credentials("bob", b"", proof=Proof.TOKEN, mechanism="XOAUTH2")) == unusable
        assert not s.server.sessions


async def test_what_cannot_be_remembered_is_no_reason_to_refuse() -> None:
    async with site(saying("235 2.7.0 ok")) as s:
        s.accounts.remembering = False
        assert (await s.login(PASSWORD)).verdict is Verdict.OK


async def test_a_connection_that_is_lost_logs_in_again() -> None:
    async with site(saying("235 2.7.0 ok")) as s:
        entry = await s.desk.login(PASSWORD, client="192.0.2.7")
        assert entry.upstream is not None
        await s.server.stop()
        await s.server.start()
        async with entry.upstream.transaction(None) as tx:
            assert tx.connection.usable
        await entry.upstream.close()
        assert sum(line.startswith("AUTH PLAIN") for line in s.said) == 2
