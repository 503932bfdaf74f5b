"""The same doors in front of the real spool: what is on disk afterwards, and how much memory it took."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.core.item import ItemState, RecipientState
from relay.store.records import ItemRow
from tests.inbound.world import TRACE, World
from tests.peers.smtpclient import SmtpClient
from tests.primary.fake import Act, FakeSmtp, Session
from tests.spool.conftest import Spool, open_spool

SMALL = b"Message-ID: <small@example.net>\r\nSubject: hello\r\n\r\n.dots\r\n"
LARGE = b"Message-ID: <large@example.net>\r\nSubject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 60_000


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """An open spool."""
    async with open_spool(tmp_path) as opened:
        yield opened


async def only(spool: Spool) -> tuple[ItemRow, bytes]:
    """The one item, when its outcome is recorded (which no sender waits for), and its content as read back."""
    async with asyncio.timeout(20):
        seen = 0
        while (row := (await spool.store.items(states=list(ItemState)))[0]).state is ItemState.INTENT:
            seen = await spool.store.wait_change(after=seen, timeout=1)
    (row,) = await spool.store.items(states=list(ItemState))
    return row, await spool.reader.open(row).read()


@pytest.mark.parametrize("message", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("chunked", [False, True], ids=["data", "bdat"])
async def test_standby(spool: Spool, message: bytes, chunked: bool) -> None:
    async with World(real=spool) as world:
        for _ in range(2):  # the second time as a sender whose 250 was lost
            client = await world.client()
            if chunked:
                await client.pipeline("MAIL FROM:<a@example.net>", "RCPT TO:<bob@example.org>")
                half = len(message) // 2
                assert (await client.bdat([message[:half], message[half:]]))[-1].ok
            else:
                outcome = await client.transaction("a@example.net", ["bob@example.org"], message)
                assert outcome.accepted
            client.abort()
            await world.until_gone()
        row, content = await only(spool)
        assert (row.state, content) == (ItemState.PENDING, message)
        opened = spool.reader.open(row)
        assert opened.origin.client_address == "127.0.0.1"
        assert [recipient.address for recipient in opened.envelope.recipients] == ["bob@example.org"]


@pytest.mark.parametrize("message", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("what", "code", "state", "recipient"),
    [
        (None, 250, ItemState.DELIVERED, RecipientState.DELIVERED),
        ("554 5.7.1 no", 554, ItemState.REFUSED, RecipientState.REFUSED),
        ("451 4.3.0 later", 250, ItemState.PENDING, RecipientState.WAITING),
        (Act.CUT, 250, ItemState.UNKNOWN, RecipientState.UNKNOWN),
    ],
    ids=["taken", "refused", "deferred", "cut"],
)
async def test_cut_through(
    spool: Spool, *, message: bytes, what: str | Act | None, code: int, state: ItemState, recipient: RecipientState
) -> None:
    def script(step: str, _line: str, _session: Session) -> str | Act | None:
        return what if step == "DOT" else None

    async with FakeSmtp(script) as primary, World(real=spool, primary=primary.port) as world:
        async with await world.client() as client:
            outcome = await client.transaction("a@example.net", ["bob@example.org"], message)
            assert outcome.final is not None
            assert outcome.final.code == code
            await client.quit()
        row, content = await only(spool)
        assert (row.state, content) == (state, message)
        assert [one.state for one in row.recipients] == [recipient]
        assert [taken.content for taken in primary.taken] == ([TRACE + message] if what is None else [])


async def test_mixed_recipients(spool: Spool) -> None:
    def script(step: str, line: str, _session: Session) -> str | None:
        return "450 4.2.1 full" if step == "RCPT" and "eve" in line else None

    async with FakeSmtp(script) as primary, World(real=spool, primary=primary.port) as world:
        world.directory.default = type(world.directory.default).KNOWN
        async with await world.client() as client:
            assert (await client.transaction("", ["bob@example.org", "eve@example.org"], SMALL)).accepted
        row, _ = await only(spool)
        assert row.state is ItemState.PENDING
        assert [one.state for one in row.recipients] == [RecipientState.DELIVERED, RecipientState.WAITING]
        assert primary.taken[0].recipients == ["bob@example.org"]


async def test_what_is_broken_off_leaves_nothing_behind(spool: Spool) -> None:
    async with World(real=spool) as world:
        client = await world.client()
        await client.pipeline("MAIL FROM:<>", "RCPT TO:<bob@example.org>", "DATA")
        await client.send(LARGE)
        client.abort()
        await world.until_gone()
    assert spool.pressure.in_flight == 0
    assert await spool.store.items(states=list(ItemState)) == []
    assert await spool.store.sweep_staged(before=spool.clock.now() + 1, limit=10) == 0


async def test_memory_does_not_grow_with_the_messages(tmp_path: Path) -> None:
    """24 senders of 8 MB at once: 192 MB pass through a process that may grow by half of that."""
    senders, line = 24, b"0123456789abcdef" * 4 + b"\r\n"
    message = b"Subject: large\r\n\r\n" + line * (8 * 1024 * 1024 // len(line))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.inbound.alone", str(tmp_path), stdin=-1, stdout=-1
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        before = peak(process.pid)

        async def send(number: int) -> bool:
            client = await SmtpClient.connect(port, timeout=100)
            try:
                await client.ehlo()
                return (await client.transaction("", [f"u{number}@example.org"], message)).accepted
            finally:
                await client.close()

        assert all(await asyncio.gather(*(send(number) for number in range(senders))))
        grown = peak(process.pid) - before
    finally:
        process.stdin.close()
        await process.wait()
    assert grown < senders * len(message) / 2


def peak(pid: int) -> int:
    """The most memory a process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")
