"""Transactions against a server that misbehaves at every step."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from relay.core.clock import ManualClock
from relay.core.envelope import BodyType, Envelope, Origin, Recipient
from relay.core.errors import Damaged
from relay.core.reply import Reply
from relay.primary.errors import NoContact, ReplyLost
from relay.primary.settings import Deadlines, Endpoint, Forward, PoolSettings, SmtpSettings, TlsMode
from relay.primary.smtp import SmtpPool
from tests.primary.fake import Act, FakeSmtp, Script, Session, blocks

ENVELOPE = Envelope("sender@example.net", (Recipient("alice@example.org"), Recipient("bob@example.org")))
ORIGIN = Origin(client_address="192.0.2.7", client_port=4711, helo="client.example.net", client_name="mail.example.net")
QUICK = Deadlines(open=0.5, command=0.2, block=0.3, final=0.2)


def pool_for(
    server: FakeSmtp,
    *,
    tls: TlsMode = TlsMode.NONE,
    forward: Forward = Forward.NONE,
    limits: PoolSettings | None = None,
    deadlines: Deadlines | None = None,
    clock: ManualClock | None = None,
) -> SmtpPool:
    endpoint = Endpoint("127.0.0.1", server.port, tls)
    settings = SmtpSettings(endpoint, helo="relay.example.org", forward=forward, deadlines=deadlines or Deadlines())
    return SmtpPool(settings, limits or PoolSettings(), clock or ManualClock())


async def deliver(pool: SmtpPool, *body: bytes, prepend: bytes = b"", envelope: Envelope = ENVELOPE) -> Reply:
    async with pool.transaction(ORIGIN) as tx:
        mail, rcpts = await tx.envelope(envelope, 100)
        if not mail.positive:
            return mail
        if not any(reply.positive for reply in rcpts):
            return rcpts[0]
        return await tx.data(blocks(*body), prepend=prepend)


def at(verb: str, what: str | Act, *, session: int | None = None) -> Script:
    def script(step: str, _line: str, seen: Session) -> str | Act | None:
        return what if step == verb and session in (None, seen.number) else None

    return script


async def test_content_arrives_byte_for_byte_with_the_prepended_line_first() -> None:
    async with FakeSmtp() as server:
        pool = pool_for(server)
        reply = await deliver(pool, b"Subject: x\r\n\r\n.dot\r", b"\n..two\r\n.", b"\r\n", b"end", prepend=b"R: y\r\n")
        await pool.close()
    assert reply.code == 250
    assert server.taken[0].content == b"R: y\r\nSubject: x\r\n\r\n.dot\r\n..two\r\n.\r\nend\r\n"
    assert server.taken[0].recipients == ["alice@example.org", "bob@example.org"]
    assert not server.faults


async def test_bare_line_ends_never_leave() -> None:
    async with FakeSmtp() as server:
        pool = pool_for(server)
        await deliver(pool, b"a\n.\nMAIL FROM:<evil@example.net>\r.\rb\r", b"c\r\n.\n")
        await pool.close()
    assert not server.faults
    assert len(server.taken) == 1
    assert server.taken[0].content.replace(b"\r\n", b"").count(b"\r") == 0


async def test_pipelined_envelope_is_one_round_trip_and_connections_are_reused_without_rset() -> None:
    async with FakeSmtp() as server:
        pool = pool_for(server)
        for _ in range(3):
            assert (await deliver(pool, b"x\r\n")).positive
        await pool.close()
    assert len(server.sessions) == 1
    assert "RSET" not in server.sessions[0].commands
    assert len(server.taken) == 3


async def test_parameters_follow_what_the_server_offers() -> None:
    envelope = Envelope(
        "søren@example.net",
        (Recipient("alice@example.org", ("FAILURE", "DELAY"), "rfc822;a@example.org"),),
        body=BodyType.EIGHT_BIT,
        smtputf8=True,
        ret="HDRS",
        envid="QQ+2B",
    )
    async with FakeSmtp() as server:
        pool = pool_for(server)
        await deliver(pool, b"x\r\n", envelope=envelope)
        await pool.close()
        mail, rcpt = server.sessions[0].commands[1:3]
        assert mail == "MAIL FROM:<søren@example.net> SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B"
        assert rcpt == "RCPT TO:<alice@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a@example.org"
    async with FakeSmtp(keywords=()) as server:
        pool = pool_for(server)
        refused = await deliver(pool, b"x\r\n", envelope=envelope)
        assert refused.code == 553
        plain = Envelope("a@example.net", envelope.recipients, body=BodyType.EIGHT_BIT, ret="FULL")
        assert (await deliver(pool, b"\xe9\r\n", envelope=plain)).positive
        await pool.close()
    assert server.sessions[0].commands[1:4] == [
        "MAIL FROM:<a@example.net>",
        "RCPT TO:<alice@example.org>",
        "DATA",
    ]


async def test_one_refused_recipient_does_not_fail_the_others() -> None:
    def script(verb: str, line: str, _session: Session) -> str | None:
        return "550 5.1.1 unknown" if verb == "RCPT" and "bob" in line else None

    async with FakeSmtp(script) as server:
        pool = pool_for(server)
        async with pool.transaction(ORIGIN) as tx:
            mail, rcpts = await tx.envelope(ENVELOPE, 3)
            assert [mail.code, *(r.code for r in rcpts)] == [250, 250, 550]
            assert (await tx.data(blocks(b"x\r\n"))).positive
        await pool.close()
    assert server.taken[0].recipients == ["alice@example.org"]


async def test_a_server_that_takes_data_for_nobody_gets_an_empty_end_and_stays_usable() -> None:
    def script(verb: str, _line: str, session: Session) -> str | None:
        if len(session.commands) > 5:
            return None
        return {"RCPT": "450 4.2.1 later", "DATA": "354 go"}.get(verb)

    async with FakeSmtp(script) as server:
        pool = pool_for(server)
        assert (await deliver(pool, b"x\r\n")).code == 450
        assert (await deliver(pool, b"x\r\n")).code == 250
        await pool.close()
    assert len(server.sessions) == 1
    assert len(server.taken) == 1


async def test_an_open_transaction_is_reset_in_the_next_ones_first_packet() -> None:
    async with FakeSmtp() as server:
        pool = pool_for(server)
        async with pool.transaction(ORIGIN) as tx:
            assert all(
                reply is not None and reply.positive for reply in await tx.begin(ENVELOPE, 3, ENVELOPE.recipients[0])
            )
        async with pool.transaction(ORIGIN) as tx:
            assert all(
                reply is not None and reply.positive for reply in await tx.begin(ENVELOPE, 3, ENVELOPE.recipients[1])
            )
            assert (await tx.data(blocks(b"x\r\n"))).positive
        await pool.close()
    assert len(server.sessions) == 1
    assert server.taken[0].recipients == ["bob@example.org"]


@pytest.mark.parametrize("verb", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT"])
@pytest.mark.parametrize("act", [Act.CUT, Act.STALL])
async def test_trouble_before_the_dot_is_no_contact(verb: str, act: Act) -> None:
    async with FakeSmtp(at(verb, act)) as server:
        pool = pool_for(server, deadlines=QUICK)
        # More than the socket's buffers take, so that a server that stops reading is noticed before the dot.
        body = [b"x" * 65_534 + b"\r\n"] * 300
        with pytest.raises(NoContact) as caught:
            await deliver(pool, *body)
        await pool.close()
    assert caught.value.evidence
    assert caught.value.in_data == (verb == "CONTENT")
    assert not server.taken


@pytest.mark.parametrize("act", [Act.CUT, Act.STALL, Act.TAKE_AND_CUT, Act.TAKE_AND_STALL])
async def test_trouble_after_the_dot_is_a_lost_reply(act: Act) -> None:
    async with FakeSmtp(at("DOT", act)) as server:
        pool = pool_for(server, deadlines=QUICK)
        with pytest.raises(ReplyLost):
            await deliver(pool, b"x\r\n")
        await pool.close()


async def test_a_refused_connection_is_no_contact() -> None:
    async with FakeSmtp() as server:
        pool = pool_for(server)
    with pytest.raises(NoContact, match="connection refused"):
        await deliver(pool, b"x\r\n")


@pytest.mark.parametrize(("verb", "said", "code"), [("DOT", "452 4.3.1 full", 452), ("DATA", "451 4.3.0 no", 451)])
async def test_replies_are_handed_out_as_they_are(verb: str, said: str, code: int) -> None:
    async with FakeSmtp(at(verb, said)) as server:
        pool = pool_for(server)
        assert (await deliver(pool, b"x\r\n")).code == code
        assert (await deliver(pool, b"x\r\n")).code == code
        await pool.close()
    assert len(server.sessions) == 1
    assert not server.taken


async def test_a_refusal_within_the_content_is_the_answer() -> None:
    async with FakeSmtp(at("CONTENT", "552 5.3.4 too big")) as server:
        pool = pool_for(server, deadlines=QUICK)
        reply = await deliver(pool, *[b"x" * 65_534 + b"\r\n"] * 300)
        await pool.close()
    assert reply.code == 552
    assert not server.taken


async def test_before_dot_runs_after_the_content_and_its_failure_delivers_nothing() -> None:
    async with FakeSmtp() as server:
        pool = pool_for(server)
        ran = asyncio.Event()

        async def fail() -> None:
            ran.set()
            raise Damaged("chunk 3")

        with pytest.raises(Damaged):
            async with pool.transaction(ORIGIN) as tx:
                await tx.envelope(ENVELOPE, 3)
                await tx.data(blocks(b"x\r\n"), before_dot=fail)
        assert ran.is_set()
        assert (await deliver(pool, b"y\r\n")).positive
        await pool.close()
    assert [taken.content for taken in server.taken] == [b"y\r\n"]


async def test_cancellation_within_the_content_cuts_the_connection() -> None:
    async with FakeSmtp() as server:
        pool = pool_for(server)
        there = asyncio.Event()

        async def hang() -> None:
            there.set()
            await asyncio.Event().wait()

        async def attempt() -> None:
            async with pool.transaction(ORIGIN) as tx:
                await tx.envelope(ENVELOPE, 3)
                await tx.data(blocks(b"x\r\n"), before_dot=hang)

        task = asyncio.create_task(attempt())
        await there.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert pool.idle == 0
        await pool.close()
    assert not server.taken


async def test_a_stale_idle_connection_is_replaced_without_a_word() -> None:
    def script(verb: str, _line: str, session: Session) -> Act | None:
        return Act.CUT if verb == "MAIL" and session.number == 1 and session.commands.count("DATA") else None

    async with FakeSmtp(script) as server:
        pool = pool_for(server)
        assert (await deliver(pool, b"1\r\n")).positive
        assert (await deliver(pool, b"2\r\n")).positive
        await pool.close()
    assert [taken.content for taken in server.taken] == [b"1\r\n", b"2\r\n"]


async def test_the_pool_is_bounded_and_says_so_without_blaming_the_primary() -> None:
    async with FakeSmtp() as server:
        pool = pool_for(server, limits=PoolSettings(connections=2, wait=0.05))
        async with pool.transaction(ORIGIN), pool.transaction(ORIGIN):
            with pytest.raises(NoContact) as caught:
                await deliver(pool, b"x\r\n")
        assert not caught.value.evidence
        assert (await deliver(pool, b"x\r\n")).positive
        await pool.close()
    assert server.most_open == 2


async def test_worn_and_old_connections_are_not_used_again() -> None:
    clock = ManualClock()
    async with FakeSmtp() as server:
        pool = pool_for(server, limits=PoolSettings(uses=2, age=100, idle=10), clock=clock)
        for seconds in (0, 0, 0, 11, 5, 5):
            clock.advance(seconds)
            assert (await deliver(pool, b"x\r\n")).positive
        await pool.close()
    assert [sum(c.startswith("MAIL") for c in s.commands) for s in server.sessions] == [2, 1, 2, 1]


async def test_a_reply_out_of_turn_breaks_the_connection_rather_than_the_pairing() -> None:
    async with FakeSmtp(at("MAIL", "250 ok\n250 surplus\n250 surplus\n250 surplus\n250 surplus")) as server:
        pool = pool_for(server)
        with pytest.raises(NoContact):
            await deliver(pool, b"x\r\n")
        await pool.close()
    assert not server.taken
