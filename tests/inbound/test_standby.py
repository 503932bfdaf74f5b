"""The path without a primary: transcripts, order of commands, content, chunks, pressure."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from relay.accounts.directory import Verdict
from relay.core.envelope import BodyType, Recipient
from relay.core.item import ItemState
from relay.inbound.settings import Limits
from tests.inbound.world import World
from tests.peers.smtpclient import SmtpClient, dot_stuff
from tests.proto_smtp.test_data import SMUGGLES

MESSAGE = b"Subject: hello\r\n\r\n.dots\r\n..\r\n...and more\r\n"


async def test_a_message_is_taken_as_it_is_and_answered_after_the_commit() -> None:
    async with World() as world, await world.client() as client:
        outcome = await client.transaction("a@example.net", ["bob@example.org"], MESSAGE)
        assert outcome.final is not None
        (item,) = world.spool.items
        assert outcome.final.lines == (f"2.0.0 Queued as {item}",)
        stored = world.spool.only
        assert stored.content == MESSAGE
        assert stored.state is ItemState.PENDING
        assert stored.envelope.reverse_path == "a@example.net"
        assert stored.envelope.recipients == (Recipient("bob@example.org"),)
        assert stored.origin.helo == "client.example.net"
        assert (stored.origin.client_address, stored.origin.protocol) == ("127.0.0.1", "ESMTP")
        assert stored.origin.received_at > 0
        await client.quit()
        assert stored.confirmed


async def test_a_connection_leaves_nothing_to_the_garbage_collector() -> None:
    gc.disable()
    try:
        async with World() as world:
            async with await world.client() as client:
                await client.transaction("a@example.net", ["bob@example.org"], MESSAGE)
                (connection,) = map(weakref.ref, world.listener._conversations)
                await client.quit()
            await world.until_gone()
            await asyncio.sleep(0)  # who waited for its end lets go of it
            assert connection() is None
    finally:
        gc.enable()


async def test_a_sender_of_many_commands_at_once_does_not_have_the_loop_for_itself() -> None:
    async with World() as world, await world.client() as client:
        turns, at = 0, []
        verdict = world.directory.verdict

        async def seen(address: str) -> Verdict:
            at.append(turns)
            return await verdict(address)

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        world.directory.verdict = seen  # type: ignore[method-assign]  # a spy
        waiting = asyncio.create_task(others())
        rcpts = [f"RCPT TO:<b{number}@example.org>" for number in range(200)]
        answers = await client.pipeline("MAIL FROM:<a@example.net>", *rcpts)
        waiting.cancel()
        assert {answer.code for answer in answers} == {250}
        assert len(at) == 200
        assert max(map(at.count, at)) <= 16


async def test_ehlo_says_what_is_true_and_every_extension_works() -> None:
    async with World(limits=Limits(message_size=1000)) as world, await world.client(hello=False) as client:
        offered = await client.ehlo()
        assert offered == {
            "SIZE": "1000",
            "PIPELINING": "",
            "8BITMIME": "",
            "SMTPUTF8": "",
            "ENHANCEDSTATUSCODES": "",
            "CHUNKING": "",
            "DSN": "",
            "LIMITS": "RCPTMAX=1000 MAILMAX=1000",
        }
        mail = "MAIL FROM:<ä@example.net> SIZE=30 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=Ab+2Bc"
        rcpt = "RCPT TO:<b@BÜCHER.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B@x.example"
        answers = await client.pipeline(mail, rcpt, "DATA")
        assert [answer.code for answer in answers] == [250, 250, 354]
        await client.send("Subject: ä\r\n\r\n".encode() + b".\r\nNOOP\r\nQUIT\r\n")
        assert [(await client.reply()).code for _ in range(3)] == [250, 250, 221]
        envelope = world.spool.only.envelope
        assert envelope.smtputf8
        assert (envelope.body, envelope.ret, envelope.envid) == (BodyType.EIGHT_BIT, "HDRS", "Ab+2Bc")
        assert envelope.recipients == (Recipient("b@BÜCHER.example", ("SUCCESS", "DELAY"), "rfc822;B@x.example"),)
        assert world.spool.only.origin.protocol == "UTF8SMTP"


async def test_a_whole_session_in_one_segment() -> None:
    async with World() as world, await world.client(hello=False) as client:
        one = b"MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\nSubject: %d\r\n\r\n.\r\n"
        await client.send(b"EHLO x\r\n" + one % 1 + one % 2 + b"QUIT\r\n")
        codes = [(await client.reply()).code for _ in range(10)]
        assert codes == [250, 250, 250, 354, 250, 250, 250, 354, 250, 221]
        await client.expect_closed()
        assert [stored.content for stored in world.spool.items.values()] == [
            b"Subject: 1\r\n\r\n",
            b"Subject: 2\r\n\r\n",
        ]
        assert all(stored.confirmed for stored in world.spool.items.values())


async def test_a_client_that_sends_and_half_closes_gets_its_answers() -> None:
    async with World() as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\nx: y\r\n\r\n.\r\n")
        writer.write_eof()
        async with asyncio.timeout(10):
            said = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert [line[:3] for line in said.splitlines()] == [b"220", b"250", b"250", b"250", b"354", b"250"]
        assert world.spool.only.origin.protocol == "SMTP"
        assert not world.spool.only.confirmed


async def test_bdat_in_chunks_without_dots_or_line_ends_at_their_edges() -> None:
    async with World() as world, await world.client() as client:
        await client.pipeline("MAIL FROM:<a@example.net>", "RCPT TO:<b@example.org>")
        answers = await client.bdat([b"Subject: x\r", b"\n\r\n.\r\n", b"..\r\n", b""])
        assert [answer.code for answer in answers] == [250] * 4
        assert answers[-1].text.startswith("2.0.0 Queued")
        assert world.spool.only.content == b"Subject: x\r\n\r\n.\r\n..\r\n"


async def test_bdat_out_of_order_eats_its_chunk() -> None:
    async with World() as world, await world.client() as client:
        assert [answer.code for answer in await client.bdat([b"QUIT\r\n"])] == [503]
        await client.command("MAIL FROM:<>")
        assert [answer.code for answer in await client.bdat([b"QUIT\r\n"])] == [554]
        await client.command("RCPT TO:<a@example.org>")
        assert [answer.code for answer in await client.bdat([b"bare\nlf", b"more"])] == [550, 503]
        assert (await client.command("DATA")).code == 503
        assert (await client.command("RSET")).code == 250
        await client.pipeline("MAIL FROM:<>", "RCPT TO:<a@example.org>")
        await client.send(b"BDAT 4\r\nx: y")
        assert (await client.reply()).code == 250
        assert (await client.command("DATA")).code == 503
        assert (await client.command("RCPT TO:<b@example.org>")).code == 503
        assert (await client.command("BDAT 0 LAST")).code == 250
        assert world.spool.only.content == b"x: y"
        assert (await client.command("BDAT nonsense")).code == 501
        await client.expect_closed()


async def test_order_of_commands() -> None:
    async with World() as world, await world.client(hello=False) as client:
        for line, code in [
            ("MAIL FROM:<>", 503),
            ("RCPT TO:<a@example.org>", 503),
            ("DATA", 503),
            ("NOOP anything", 250),
            ("VRFY bob", 252),
            ("EXPN list", 502),
            ("HELP", 214),
            ("RSET", 250),
            ("HELO", 501),
            ("EHLO a b", 501),
            ("EHLO x", 250),
            ("RCPT TO:<a@example.org>", 503),
            ("DATA", 503),
            ("STARTTLS", 502),
            ("AUTH PLAIN", 502),
            ("MAIL FROM:<>", 250),
            ("MAIL FROM:<>", 503),
            ("DATA", 554),
            ("RCPT TO:<a@example.org>", 250),
            ("EHLO x", 250),
            ("RCPT TO:<a@example.org>", 503),
            ("RSET now", 501),
            ("FOO", 500),
        ]:
            answer = await client.command(line)
            assert (line, answer.code) == (line, code)
            assert line.startswith(("EHLO", "HELO")) or answer.text[:2] in {"2.", "4.", "5."}
        await client.quit()
        assert not world.spool.items


async def test_helo_knows_no_parameters() -> None:
    async with World() as world, await world.client(hello=False) as client:
        assert (await client.command("HELO x")).code == 250
        assert (await client.command("MAIL FROM:<> SIZE=1")).code == 555
        assert (await client.command("MAIL FROM:<>")).code == 250
        assert not world.spool.items


@pytest.mark.parametrize("trick", SMUGGLES, ids=repr)
async def test_smuggling_ends_in_a_refusal_or_in_one_message(trick: bytes) -> None:
    async with World() as world, await world.client() as client:
        inner = b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nx: y\r\n\r\nx"
        await client.pipeline("MAIL FROM:<a@example.net>", "RCPT TO:<b@example.org>", "DATA")
        await client.send(b"Subject: x\r\n\r\nbody" + trick + inner + b"\r\n.\r\n")
        answer = await client.reply()
        assert answer.code in {250, 550}
        assert (await client.command("NOOP")).code == 250
        assert len(world.spool.items) == (answer.code == 250)
        assert all(stored.envelope.reverse_path == "a@example.net" for stored in world.spool.items.values())


@pytest.mark.parametrize(
    ("content", "code", "status"),
    [
        (b"bare\nlf\r\n", 550, "5.5.2"),
        (b"bare\rcr\r\n", 550, "5.5.2"),
        (b"nul\0\r\n", 550, "5.6.0"),
        (b"x" * 70_000 + b"\r\n", 550, "5.6.0"),
        (b"0123456789" * 30_000, 552, "5.3.4"),
    ],
    ids=["lf", "cr", "nul", "line", "size"],
)
async def test_bad_content_is_read_to_its_end_and_refused(content: bytes, code: int, status: str) -> None:
    async with World(limits=Limits(message_size=200_000)) as world, await world.client() as client:
        for _ in range(2):
            await client.pipeline("MAIL FROM:<>", "RCPT TO:<a@example.org>", "DATA")
            await client.send(dot_stuff(content))
            answer = await client.reply()
            assert (answer.code, answer.text[:5]) == (code, status)
        assert (await client.transaction("", ["a@example.org"], MESSAGE)).accepted
        assert world.spool.discarded == 2
        assert world.spool.only.content == MESSAGE


async def test_endless_content_ends_the_connection_with_a_reason() -> None:
    async with World(limits=Limits(message_size=100_000)) as world, await world.client() as client:
        await client.pipeline("MAIL FROM:<>", "RCPT TO:<a@example.org>", "DATA")
        await client.send(b"x" * 600_000)
        assert (await client.reply()).code == 552
        await client.expect_closed()
        assert not world.spool.items


async def test_declared_size_over_the_limit() -> None:
    async with World(limits=Limits(message_size=1000)) as world, await world.client() as client:
        assert (await client.command("MAIL FROM:<> SIZE=1001")).code == 552
        assert (await client.command("MAIL FROM:<> SIZE=1000")).code == 250
        await client.command("RCPT TO:<a@example.org>")
        await client.send(b"BDAT 99999999999999 LAST\r\n")
        assert (await client.reply()).code == 552
        await client.expect_closed()
        assert not world.spool.items


async def test_a_thousand_recipients_and_not_one_more() -> None:
    async with World() as world, await world.client() as client:
        await client.command("MAIL FROM:<>")
        answers = await client.pipeline(*[f"RCPT TO:<u{n}@example.org>" for n in range(1001)])
        assert [answer.code for answer in answers] == [250] * 1000 + [452]
        assert answers[-1].text.startswith("4.5.3")
        assert (await client.command("DATA")).code == 354
        await client.send(b".\r\n")
        assert (await client.reply()).code == 250
        assert len(world.spool.only.envelope.recipients) == 1000


async def test_the_same_recipient_twice_is_one() -> None:
    async with World() as world, await world.client() as client:
        outcome = await client.transaction("", ["a@example.org", "a@example.org"], MESSAGE)
        assert outcome.accepted
        assert len(world.spool.only.envelope.recipients) == 1


async def test_the_directory_decides_and_postmaster_is_always_there() -> None:
    async with World() as world, await world.client() as client:
        world.directory.default = Verdict.NO_SUCH
        world.directory.verdicts = {
            "known@example.org": Verdict.KNOWN,
            "maybe@example.org": Verdict.UNKNOWN_ACCEPT,
            "later@example.org": Verdict.NOT_YET,
        }
        await client.command("MAIL FROM:<>")
        for address, code in [
            ("Known@EXAMPLE.org.", 250),
            ("maybe@example.org", 250),
            ("later@example.org", 450),
            ("nobody@example.org", 550),
            ("Postmaster", 250),
            ("postmaster@example.org", 250),
            ("POSTMASTER@example.net", 550),
        ]:
            assert (address, (await client.command(f"RCPT TO:<{address}>")).code) == (address, code)
        world.directory.fail = True
        assert (await client.command("RCPT TO:<other@example.org>")).code == 450


async def test_pressure_and_store_trouble_are_4xx() -> None:
    async with World() as world, await world.client() as client:
        spool = world.spool
        spool.admit = False
        assert (await client.command("MAIL FROM:<>")).lines[0].startswith("4.3.1")
        spool.admit = True
        await client.pipeline("MAIL FROM:<>", "RCPT TO:<a@example.org>")
        spool.admit = False
        assert (await client.command("DATA")).code == 452
        spool.admit = True
        spool.fail_write = True
        final = (await client.transaction("", ["a@example.org"], MESSAGE)).final
        assert final is not None
        assert (final.code, final.text[:5]) == (451, "4.3.0")
        spool.fail_write = False
        spool.fail_commit = True
        final = (await client.transaction("", ["a@example.org"], MESSAGE)).final
        assert final is not None
        assert final.code == 451
        spool.fail_commit = False
        assert (await client.transaction("", ["a@example.org"], MESSAGE)).accepted


async def test_a_commit_outlives_its_sender_who_sends_again() -> None:
    async with World() as world:
        world.spool.commit_gate.clear()
        client = await world.client()
        await client.pipeline("MAIL FROM:<>", "RCPT TO:<a@example.org>", "DATA")
        await client.send(dot_stuff(MESSAGE))
        async with asyncio.timeout(10):
            await world.spool.committing.wait()
        client.abort()
        await world.until_gone()
        assert not world.spool.items
        world.spool.commit_gate.set()
        await world.spool.until(1)
        again = await world.client()
        assert (await again.transaction("", ["a@example.org"], MESSAGE)).accepted
        assert len(world.spool.items) == 1
        before = world.spool.only.confirmed
        await again.quit()
        assert (before, world.spool.only.confirmed) == (False, True)
        third = await world.client()
        assert (await third.transaction("", ["a@example.org"], MESSAGE)).accepted
        assert len(world.spool.items) == 2
        await again.close()
        await third.close()


async def test_a_sender_that_breaks_off_leaves_nothing() -> None:
    async with World() as world:
        client: SmtpClient = await world.client()
        await client.pipeline("MAIL FROM:<>", "RCPT TO:<a@example.org>", "DATA")
        await client.send(b"Subject: half\r\n")
        client.abort()
        await world.until_gone()
        assert not world.spool.items
        assert world.spool.discarded == world.spool.drafts == 1
