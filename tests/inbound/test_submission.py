"""Submission: who may send as whom and to whom, what a message becomes, and the way through the primary."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from relay.accounts.directory import Verdict
from relay.core.item import ItemState, RecipientState
from relay.core.mode import Mode, Signal
from relay.inbound.submission import share
from relay.primary.settings import Endpoint, PoolSettings, SmtpSettings, TlsMode
from relay.primary.smtp import SmtpPool
from relay.proto.mime.header import scan
from relay.proto.sasl.credentials import Credentials
from relay.store.records import Route
from tests.inbound.tls import Tls
from tests.inbound.world import BOB, QUICK, TRACE, World
from tests.peers.smtpclient import SmtpClient
from tests.primary.fake import Act, FakeSmtp, Session
from tests.spool.conftest import open_spool

S, R = ItemState, RecipientState
PLAIN = base64.b64encode(b"\0bob\0secret").decode()
MAIL = b"From: Bob <bob@example.org>\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@x>\r\n\r\nhello\r\n"


@asynccontextmanager
async def user(world: World, tls: Tls) -> AsyncIterator[SmtpClient]:
    """A client of bob's, logged in."""
    async with await world.client() as client:
        await client.starttls(tls.client)
        await client.ehlo()
        assert (await client.command(f"AUTH PLAIN {PLAIN}")).code == 235
        yield client


def logged_in(primary: FakeSmtp) -> SmtpPool:
    """The primary's submission, as bob."""
    settings = SmtpSettings(
        Endpoint("127.0.0.1", primary.port, TlsMode.NONE),
        helo="relay.example.org",
        credentials=Credentials("bob", b"secret"),
        deadlines=QUICK,
    )
    from relay.core.clock import SystemClock

    return SmtpPool(settings, PoolSettings(connections=1, wait=0.5), SystemClock())


# --- on the standby ---------------------------------------------------------------------------------------------------


async def test_one_message_becomes_an_item_for_each_route(tls: Tls) -> None:
    async with World(listener="submission", context=tls.server) as world, user(world, tls) as client:
        outcome = await client.transaction(BOB, ["x@far.example", "eve@example.org", "y@far.example"], MAIL)
        assert outcome.accepted
    first, second = world.spool.items.values()
    assert (first.route, [one.address for one in first.envelope.recipients]) == (Route.PRIMARY, ["eve@example.org"])
    assert second.route is Route.WORLD
    assert [one.address for one in second.envelope.recipients] == ["x@far.example", "y@far.example"]
    assert first.content == second.content == MAIL
    assert first.state is second.state is S.PENDING
    assert (first.origin.login, first.origin.protocol) == (BOB, "ESMTPSA")


async def test_missing_fields_are_added_and_nothing_else(tls: Tls) -> None:
    async with World(listener="submission", context=tls.server) as world, user(world, tls) as client:
        content = b"From: bob@example.org\r\nBcc: secret@far.example\r\n\r\nhello\r\n"
        assert (await client.transaction(BOB, ["x@far.example", "eve@example.org"], content)).accepted
    first, second = world.spool.items.values()
    assert first.content == second.content
    assert first.content.endswith(content)
    added = scan(first.content)
    assert added.message_id() is not None
    assert added.date() is not None
    assert len(added.fields) == 4


@pytest.mark.parametrize("pieces", [1, 7, 4096])
async def test_the_header_may_come_in_any_pieces(pieces: int, tls: Tls) -> None:
    content = b"Subject: x\r\nFrom: bob@example.org\r\n\r\n" + b"line\r\n" * 40_000
    async with World(listener="submission", context=tls.server) as world, user(world, tls) as client:
        await client.command(f"MAIL FROM:<{BOB}>")
        await client.command("RCPT TO:<x@far.example>")
        head = content[: pieces * 5]
        parts = [head[i : i + pieces] for i in range(0, len(head), pieces)]
        assert all(answer.code == 250 for answer in await client.bdat([*parts, content[len(head) :]]))
    assert world.spool.only.content.endswith(content)


@pytest.mark.parametrize(
    ("sender", "code"),
    [
        (BOB, 250),
        ("Bob@EXAMPLE.org", 250),
        ("bob+lists@example.org", 250),
        ("robert@example.org", 250),
        ("sales@example.org", 250),
        ("any@lists.example.net", 250),
        ("noreply@example.org", 250),
        ("", 250),
        ("eve@example.org", 553),
        ("bob@example.net", 553),
        ("sales@example.net", 553),
        ("any@sub.lists.example.net", 553),
    ],
)
async def test_reverse_paths(sender: str, code: int, tls: Tls) -> None:
    async with World(listener="submission", context=tls.server) as world, user(world, tls) as client:
        assert (await client.command(f"MAIL FROM:<{sender}>")).code == code


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"From: bob@example.org", 250),
        (b"From: The Sales <sales@example.org>", 250),
        (b"From : bob@example.org", 250),
        (b"From:\r\n bob@example.org", 250),
        (b"From: eve@example.org", 550),
        (b"From: bob@example.org, eve@example.org", 550),
        (b"From: bob@example.org\r\nFrom: eve@example.org", 550),
        (b'From: "bob@example.org" <eve@example.org>', 550),
        (b"From: bob@example.org <eve@example.org>", 550),
        (b"Sender: bob@example.org", 554),
        (b"From:", 554),
        (b"From: undisclosed:;", 550),
        (b"From: <eve@example.org> bob@example.org", 550),
        (b"From: bob@example.org (eve@example.org)", 250),
        (b'From: "eve@example.org" <bob@example.org>', 250),
        (b"From: bob@example.org@evil.example", 550),
        (b"From: bob@example.org\r\n\t<eve@example.org>", 550),
        (b"From: bob@example.org " + b"\r\n " * 5_000 + b"<eve@example.org>", 554),
        (b"X: " + b"y" * 400_000 + b"\r\nFrom: bob@example.org", 550),
        (b"X: y\r\n" * 3_000 + b"From: bob@example.org", 554),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else None,
)
async def test_authors(header: bytes, code: int, tls: Tls) -> None:
    async with World(listener="submission", context=tls.server) as world, user(world, tls) as client:
        outcome = await client.transaction(BOB, ["x@far.example"], header + b"\r\n\r\nhello\r\n")
        assert outcome.final is not None
        # A line of 400,000 octets is a fault of its own.
        assert outcome.final.code // 100 == code // 100
        if len(header) < 10_000:
            assert outcome.final.code == code
        assert bool(world.spool.items) is (code == 250)
        assert world.spool.discarded == (code != 250)
        assert (await client.transaction(BOB, ["x@far.example"], MAIL)).accepted


async def test_an_unknown_local_recipient_is_for_the_directory_to_judge(tls: Tls) -> None:
    async with World(listener="submission", context=tls.server) as world, user(world, tls) as client:
        world.directory.verdicts = {"no@example.org": Verdict.NO_SUCH, "x@far.example": Verdict.NOT_OURS}
        outcome = await client.transaction(BOB, ["no@example.org", "x@far.example"], MAIL)
        assert [answer.code for answer in outcome.recipients] == [550, 250]
    assert world.spool.only.route is Route.WORLD


async def test_a_spool_that_fails_takes_neither_part(tls: Tls) -> None:
    async with World(listener="submission", context=tls.server) as world, user(world, tls) as client:
        world.spool.fail_commit = True
        outcome = await client.transaction(BOB, ["x@far.example", "eve@example.org"], MAIL)
        assert outcome.final is not None
        assert outcome.final.code == 451
    assert not world.spool.items


async def test_the_real_spool_shows_it_to_local_readers_only(tls: Tls, tmp_path: Path) -> None:
    async with open_spool(tmp_path) as spool:
        async with World(listener="submission", context=tls.server, real=spool) as world, user(world, tls) as client:
            assert (await client.transaction(BOB, ["eve@example.org", "x@far.example"], MAIL)).accepted
        rows = sorted(await spool.store.items(states=[S.PENDING]), key=lambda row: row.route.value)
        assert [row.route for row in rows] == [Route.PRIMARY, Route.WORLD]
        inbox = await spool.mailboxes.folder(await spool.mailboxes.open_account("eve@example.org"), "INBOX")
        assert inbox is not None
        assert [message.item for message in await spool.mailboxes.messages(inbox)] == [rows[0].id]


# --- AUTH -------------------------------------------------------------------------------------------------------------


async def test_loopback_may_log_in_in_clear_where_that_is_allowed(tls: Tls) -> None:
    async with World(listener="submission", context=tls.server, plaintext_auth="loopback") as world:
        async with await world.client(hello=False) as client:
            assert (await client.ehlo())["AUTH"] == "PLAIN LOGIN"
            assert (await client.command(f"AUTH PLAIN {PLAIN}")).code == 235
            assert (await client.command("STARTTLS")).code == 503
            assert (await client.transaction(BOB, ["x@far.example"], MAIL)).accepted
        assert world.spool.only.origin.protocol == "ESMTPA"


async def test_a_refused_token_is_told_why(tls: Tls) -> None:
    async with World(listener="submission", context=tls.server) as world, await world.client() as client:
        world.logins.offered = ("PLAIN", "OAUTHBEARER", "XOAUTH2")
        await client.starttls(tls.client)
        assert (await client.ehlo())["AUTH"] == "PLAIN OAUTHBEARER XOAUTH2"
        assert (await client.command("AUTH LOGIN")).code == 504
        token = base64.b64encode(b"n,a=bob,\x01auth=Bearer abc\x01\x01").decode()
        told = await client.command(f"AUTH OAUTHBEARER {token}")
        assert (told.code, base64.b64decode(told.text)) == (334, b'{"status":"invalid_token"}')
        assert (await client.command("AQ==")).code == 535
        assert world.logins.tried == [("bob", "abc")]


# --- through the primary ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def through(primary: FakeSmtp, tls: Tls, mode: Mode = Mode.NORMAL) -> AsyncIterator[tuple[World, SmtpClient]]:
    """bob, whose session is passed through."""
    async with World(listener="submission", context=tls.server, primary=primary.port, mode=mode) as world:
        world.logins.upstream = lambda: logged_in(primary)
        async with user(world, tls) as client:
            yield world, client


def auth(verb: str, line: str, session: Session) -> str | None:
    """A primary that takes AUTH."""
    del line, session
    return {"EHLO": "250-there\r\n250 AUTH PLAIN", "AUTH": "235 2.7.0 ok"}.get(verb)


async def test_the_primary_has_the_word(tls: Tls) -> None:
    def script(verb: str, line: str, session: Session) -> str | None:
        if verb == "RCPT" and "no@" in line:
            return "550 5.1.1 its own words"
        return "250 2.0.0 its own queue" if verb == "DOT" else auth(verb, line, session)

    async with FakeSmtp(script) as primary, through(primary, tls) as (world, client):
        whom = ["no@far.example", "x@far.example", "a@example.org"]
        outcome = await client.transaction("eve@example.org", whom, MAIL)
        assert outcome.recipients[0].text == "5.1.1 its own words"
        assert outcome.final is not None
        assert outcome.final.text == "2.0.0 its own queue"
        await world.services.finishing.drain()
        assert [stored.state for stored in world.spool.items.values()] == [S.DELIVERED, S.DELIVERED]
        assert [stored.route for stored in world.spool.items.values()] == [Route.PRIMARY, Route.WORLD]
        (taken,) = primary.taken
        assert taken.recipients == ["x@far.example", "a@example.org"]
        assert taken.content == TRACE + MAIL
        assert primary.sessions[0].commands.count(f"AUTH PLAIN {PLAIN}") == 1
        # The next one goes over the same connection, without another login.
        assert (await client.transaction(BOB, ["x@far.example"], MAIL + b"more\r\n")).accepted
        assert len(primary.sessions) == 1


async def test_its_refusal_of_the_message_is_the_users(tls: Tls) -> None:
    def script(verb: str, line: str, session: Session) -> str | None:
        return "554 5.7.1 spam" if verb == "DOT" else auth(verb, line, session)

    async with FakeSmtp(script) as primary, through(primary, tls) as (world, client):
        outcome = await client.transaction(BOB, ["x@far.example", "a@example.org"], MAIL)
        assert outcome.final is not None
        assert outcome.final.text == "5.7.1 spam"
        assert [stored.state for stored in world.spool.items.values()] == [S.REFUSED, S.REFUSED]


@pytest.mark.parametrize(
    ("verb", "act", "states"),
    [
        ("DATA", Act.CUT, [S.PENDING, S.PENDING]),
        ("DOT", Act.CUT, [S.UNKNOWN, S.UNKNOWN]),
        ("RCPT", Act.CUT, [S.PENDING, S.PENDING]),
        ("MAIL", Act.CUT, [S.PENDING, S.PENDING]),
    ],
)
async def test_the_message_during_which_it_dies_is_ours(verb: str, act: Act, states: list[ItemState], tls: Tls) -> None:
    def script(said: str, line: str, session: Session) -> str | Act | None:
        return act if said == verb else auth(said, line, session)

    async with FakeSmtp(script) as primary, through(primary, tls) as (world, client):
        outcome = await client.transaction(BOB, ["x@far.example", "a@example.org"], MAIL)
        assert outcome.accepted
        assert [stored.state for stored in world.spool.items.values()] == states
        assert Signal.FAIL in world.board.signals


async def test_what_the_primary_did_not_judge_is_checked_here(tls: Tls) -> None:
    """It is gone before the content: then its silence about the sender is no permission."""

    def script(verb: str, line: str, session: Session) -> str | Act | None:
        return Act.CUT if verb == "MAIL" else auth(verb, line, session)

    async with FakeSmtp(script) as primary, through(primary, tls) as (world, client):
        outcome = await client.transaction("eve@example.org", ["x@far.example"], MAIL)
        assert outcome.final is not None
        assert outcome.final.code == 553
        assert not world.spool.items


async def test_a_primary_that_is_down_is_not_asked(tls: Tls) -> None:
    async with FakeSmtp(auth) as primary, through(primary, tls, Mode.STANDBY) as (world, client):
        assert (await client.command("MAIL FROM:<eve@example.org>")).code == 553
        assert (await client.transaction(BOB, ["x@far.example"], MAIL)).accepted
        assert world.spool.only.state is S.PENDING
        assert not primary.sessions


@pytest.mark.parametrize(
    ("state", "states", "count", "mine"),
    [
        (S.REFUSED, [R.REFUSED], 1, S.REFUSED),
        (S.REFUSED, [], 1, S.REFUSED),
        (S.UNKNOWN, [R.UNKNOWN], 2, S.UNKNOWN),
        (S.UNKNOWN, [], 1, S.PENDING),
        (S.PENDING, [R.DELIVERED], 1, S.DELIVERED),
        (S.PENDING, [R.DELIVERED], 2, S.PENDING),
        (S.DELIVERED, [R.DELIVERED, R.DELIVERED], 2, S.DELIVERED),
        (S.PENDING, [R.WAITING], 1, S.PENDING),
        (S.PENDING, [], 1, S.PENDING),
    ],
)
def test_each_item_has_its_share_of_the_outcome(
    state: ItemState, states: list[RecipientState], count: int, mine: ItemState
) -> None:
    assert share(state, states, count) is mine
