"""One line for each message and each login that failed, with its connection, and nothing about people in it."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from relay.accounts.directory import Verdict
from relay.core.item import ItemState
from relay.inbound.mailing import Mailing
from relay.inbound.settings import Deadlines, Limits
from tests.inbound.tls import Tls
from tests.inbound.world import World
from tests.obs.written import Written, written
from tests.primary.fake import FakeSmtp

FROM, TO, NOBODY = "sendermark@example.net", "recipientmark@example.org", "nobodymark@example.org"
CONTENT = b"Subject: subjectmark\r\nX-Mark: headermark\r\n\r\nbodymark\r\n"
PLAIN = base64.b64encode(b"\0bob\0secret").decode()
KEYS = ("result", "code", "enhanced", "reason")


@pytest.fixture
def log() -> Iterator[Written]:
    """Read at the end of each test: nobody is in it."""
    with written() as into:
        yield into
        assert "mark" not in into.text
        assert "@" not in into.text
        assert "secret" not in into.text


async def test_a_message_is_one_line(log: Written) -> None:
    async with World() as world:
        for _ in range(2):
            async with await world.client() as client:
                assert (await client.transaction(FROM, [TO], CONTENT)).accepted
                assert (await client.transaction(FROM, [TO], CONTENT + b"other\r\n")).accepted
                await client.quit()
        items = list(world.spool.items)
    lines = log.lines("message")
    assert [line["result"] for line in lines] == ["spooled"] * 4
    assert [line["item"] for line in lines] == items
    assert [line["size"] for line in lines] == [len(CONTENT), len(CONTENT) + 7] * 2
    assert all((line["client"], line["listener"], line["code"]) == ("127.0.0.1", "mx", 250) for line in lines)
    assert all(0 <= line["seconds"] < 60 for line in lines)
    first, again, other, _ = [line["conn"] for line in lines]
    assert first == again
    assert first != other


async def test_what_the_primary_said_is_its_codes(log: Written) -> None:
    def script(verb: str, line: str, _session: object) -> str | None:
        if verb == "DOT":
            return answers.pop(0)
        return "550 5.1.1 <nobodymark@example.org> unknown" if "nobodymark" in line else None

    answers = ["250 2.0.0 ok", "554 5.7.1 recipientmark@example.org does not want this", "452 4.3.1 full"]
    async with FakeSmtp(script) as server, World(primary=server.port) as world, await world.client() as client:
        for number in range(3):
            await client.transaction(FROM, [NOBODY, TO] if number == 1 else [TO], CONTENT + b"%d\r\n" % number)
        await client.quit()
        items = list(world.spool.items)
    assert log.short("message", *KEYS) == [
        ("delivered", 250, None, None),
        ("refused", 554, "5.7.1", None),
        ("spooled", 250, None, None),
    ]
    assert [line["item"] for line in log.lines("message")] == items
    assert [line.get("turned_down") for line in log.lines("message")] == [None, 1, None]


async def test_what_we_refuse_or_put_off(log: Written) -> None:
    async with World(limits=Limits(message_size=1000)) as world, await world.client() as client:
        assert (await client.command(f"MAIL FROM:<{FROM}> SIZE=2000")).code == 552
        world.spool.admit = False
        assert (await client.command(f"MAIL FROM:<{FROM}>")).code == 452
        world.spool.admit = True
        await client.pipeline(f"MAIL FROM:<{FROM}>", f"RCPT TO:<{TO}>")
        world.spool.admit = False
        assert (await client.command("DATA")).code == 452
        world.spool.admit = True
        await client.transaction(FROM, [TO], b"x: " + b"y" * 900 + b"\r\n" + b"z" * 500 + b"\r\n")
        await client.transaction(FROM, [TO], b"bare\nnewline\r\n")
        world.spool.fail_commit = True
        await client.transaction(FROM, [TO], CONTENT)
        await client.quit()
    assert log.short("message", *KEYS) == [
        ("refused", 552, "5.3.4", None),
        ("deferred", 452, "4.3.1", None),
        ("deferred", 452, "4.3.1", None),
        ("refused", 552, "5.3.4", "size"),
        ("refused", 550, "5.5.2", "bare_newline"),
        ("deferred", 451, "4.3.0", None),
    ]
    assert all("item" not in line for line in log.lines("message"))


async def test_a_message_for_nobody_is_one_line_too(log: Written) -> None:
    async with World() as world, await world.client() as client:
        world.directory.verdicts[NOBODY] = Verdict.NO_SUCH
        assert [a.code for a in await client.pipeline(f"MAIL FROM:<{FROM}>", *[f"RCPT TO:<{NOBODY}>"] * 2)][1:] == [
            550
        ] * 2
        assert (await client.command("DATA")).code == 554
        await client.command("RSET")
        world.directory.fail = True
        await client.pipeline(f"MAIL FROM:<{FROM}>", f"RCPT TO:<{NOBODY}>")
        await client.quit()
    assert log.short("message", *KEYS, "turned_down") == [
        ("refused", 550, "5.1.1", "recipients", 2),
        ("deferred", 450, "4.1.1", "recipients", 1),
    ]


async def test_who_only_asks_is_not_a_message(log: Written) -> None:
    async with World() as world, await world.client() as client:
        await client.pipeline(f"MAIL FROM:<{FROM}>", f"RCPT TO:<{TO}>", "RSET", f"MAIL FROM:<{FROM}>")
        await client.quit()
    assert log.lines("message") == []


async def test_content_that_breaks_off(log: Written) -> None:
    async with World() as world:
        client = await world.client()
        await client.pipeline(f"MAIL FROM:<{FROM}>", f"RCPT TO:<{TO}>", "DATA")
        await client.send(CONTENT)
        await client.close()
        await world.until_gone()
        client = await world.client()
        await client.pipeline(f"MAIL FROM:<{FROM}>", f"RCPT TO:<{TO}>")
        await client.send(b"BDAT 4\r\nx: yBDAT 900\r\n")
        await client.reply()
        await client.close()
        await world.until_gone()
    assert log.short("message", "result", "reason") == [("aborted", "broke_off")] * 2


async def test_content_that_is_not_read_to_its_end(log: Written) -> None:
    limits, deadlines = Limits(message_size=1000), Deadlines(block=0.05, grace=0.05)
    async with World(limits=limits, deadlines=deadlines) as world:
        async with await world.client() as client:
            await client.pipeline(f"MAIL FROM:<{FROM}>", f"RCPT TO:<{TO}>", "DATA")
            assert (await client.reply()).code == 421
        async with await world.client() as client:
            await client.pipeline(f"MAIL FROM:<{FROM}>", f"RCPT TO:<{TO}>")
            await client.send(b"BDAT 9999999 LAST\r\n")
            assert (await client.reply()).code == 552
        await world.until_gone()
    assert log.short("message", "result", "code") == [("deferred", 421), ("refused", 552)]


async def test_a_sender_that_goes_while_its_message_is_committed(log: Written) -> None:
    async with World() as world:
        world.spool.commit_gate.clear()
        client = await world.client()
        await client.pipeline(f"MAIL FROM:<{FROM}>", f"RCPT TO:<{TO}>", "DATA")
        await client.send(CONTENT + b".\r\n")
        await world.spool.committing.wait()
        client.abort()
        await client.close()
        await world.until_gone()
        world.spool.commit_gate.set()
        await world.spool.until(1)
        (item,) = world.spool.items
    assert log.short("message", "result", "reason", "item") == [("aborted", "hung_up", item)]


async def test_chunks_are_one_message(log: Written) -> None:
    async with World() as world, await world.client() as client:
        await client.pipeline(f"MAIL FROM:<{FROM}>", f"RCPT TO:<{TO}>")
        await client.bdat([b"bare\nlf", b"more"])
        await client.command("RSET")
        await client.pipeline(f"MAIL FROM:<{FROM}>", f"RCPT TO:<{TO}>")
        await client.bdat([CONTENT, b"more\r\n"])
        await client.quit()
        assert world.spool.only.state is ItemState.PENDING
    assert log.short("message", *KEYS) == [("refused", 550, "5.5.2", "bare_newline"), ("spooled", 250, None, None)]


async def test_a_bug_is_one_line_too(log: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("bug mark")

    monkeypatch.setattr(Mailing, "finish", broken)
    async with World() as world, await world.client() as client:
        final = (await client.transaction(FROM, [TO], CONTENT)).final
        assert final is not None
        assert final.code == 451
        await client.quit()
    assert log.short("message", "result", "code") == [("deferred", 451)]
    assert log.lines("command_failed")[0]["conn"] == log.lines("message")[0]["conn"]


async def test_lines_of_a_connection_carry_its_name(log: Written) -> None:
    async with World() as world, await world.client() as client:
        world.directory.fail = True

        def broken(address: str, *, login: str | None) -> None:
            raise RuntimeError(f"policy broke on {address}")

        world.services.policy.refuses = broken  # type: ignore[method-assign]  # a bug, on purpose
        await client.pipeline(f"MAIL FROM:<{FROM}>", f"RCPT TO:<{TO}>")
        await client.quit()
    (failed,) = log.lines("command_failed")
    assert failed["client"] == "127.0.0.1"
    assert failed["conn"]


async def test_logins_that_fail(log: Written, tls: Tls) -> None:
    async with World(listener="submission", context=tls.server) as world, await world.client() as client:
        await client.starttls(tls.client)
        await client.ehlo()
        for available in (True, False):
            world.logins.available = available
            said = base64.b64encode(b"\0usermark\0secretmark").decode()
            assert not (await client.command(f"AUTH PLAIN {said}")).ok
        world.logins.available = True
        assert (await client.command(f"AUTH PLAIN {PLAIN}")).ok
        await client.quit()
    assert log.short("login_failed", "result", "reason", "protocol", "client") == [
        ("refused", "mismatch", "submission", "127.0.0.1"),
        ("unavailable", "unjudged", "submission", "127.0.0.1"),
    ]
    assert len({line["conn"] for line in log.lines("login_failed")}) == 1
