"""Users and strangers at their worst: memory and time stay bounded, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tracemalloc

import pytest

from relay.proto.imap import commands as c
from relay.proto.imap.client import Malformed, ResponseReader, Status
from relay.serve.settings import Deadlines, Limits
from tests.serve.client import Client
from tests.serve.conftest import MESSAGE, Front, MakeFront

WORDS = [
    *(name.encode() for name in c.TABLE if name not in ("LOGOUT", "IDLE")),
    *b'( ) " \\ {3} {3+} ~{2+} {99999999999} {99999999999+} NIL 1:* * 1,2 INBOX "INBOX" FLAGS BODY[ BODY[] ]'.split(),
    *b"BODY.PEEK[HEADER.FIELDS (a)]<0.5> \\Seen +FLAGS NOT OR ALL SUBJECT x UID \xff \x00 DONE &AOk- % (UID".split(),
    b"\r",
    b"\n",
]
ROUNDS = 40


def nonsense(rng: random.Random) -> bytes:
    """A packet of lines made of real words, or of anything."""
    lines = []
    for n in range(rng.randint(1, 6)):
        if rng.random() < 0.15:
            lines.append(rng.randbytes(rng.randint(0, 200)))
        else:
            lines.append(b"f%d " % n + b" ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 7))))
    return b"\r\n".join(lines) + b"\r\n"


async def to_state(front: Front, state: str) -> Client:
    """A client in one of the four states."""
    if state == "stranger":
        return await front.client()
    client = await front.user(None if state == "logged in" else "INBOX")
    if state == "idle":
        await client.script("C: i IDLE\nS: + idling")
    return client


@pytest.mark.parametrize("state", ["stranger", "logged in", "selected", "idle"])
async def test_live_fuzz(make_front: MakeFront, state: str) -> None:
    front = await make_front(limits=Limits(errors=30, logins=3), deadlines=Deadlines(failure=0.0, goodbye=1.0))
    await front.deliver(MESSAGE, MESSAGE + b"2")
    bystander = await front.user()
    rng = random.Random(f"{state}: one seed per state, so that a failure can be repeated")
    for _ in range(ROUNDS):
        client = await to_state(front, state)
        client.send(nonsense(rng))
        client.writer.write_eof()
        reader = ResponseReader()
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while data := await client.reader.read(65536):
                    reader.feed(data)
        while (event := reader.next()) is not None:
            assert not isinstance(event, Malformed), event
        client.writer.transport.abort()
    await bystander.ok("NOOP")
    (found,) = await bystander.fetch("FETCH 1 UID")
    assert found.number == 1


async def test_a_client_that_does_not_read_costs_little_and_is_cut(make_front: MakeFront) -> None:
    front = await make_front(deadlines=Deadlines(write=0.5, failure=0.01, goodbye=1.0))
    await front.deliver(b"Subject: big\r\n\r\n" + b"x" * 998 * 1000)
    bystander, slow = await front.user(), await front.user()
    slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport
    tracemalloc.start()
    try:
        slow.send(b"a FETCH 1 BODY.PEEK[]\r\n" * 500)
        await front.left(1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40_000_000
    await bystander.nothing_left()


@pytest.mark.parametrize(
    "command",
    [
        b'LIST "" ' + b"%*" * 2000,
        b'LIST "" ' + b"%a*" * 300,
        b"SEARCH " + b"NOT " * 5000 + b"ALL",
        b"SEARCH " + b"(" * 5000 + b"ALL" + b")" * 5000,
        b"SEARCH " + b"OR ALL " * 5000 + b"ALL",
        b"FETCH " + b"1:4294967295," * 4000 + b"1 UID",
        b"UID FETCH " + b"1:4294967295," * 4000 + b"1 UID",
        b"FETCH 1 (" + b"BODY.PEEK[" + b"1." * 5000 + b"1])",
        b"FETCH 1 (" + b"UID FLAGS " * 6000 + b")",
        b"STORE 1 +FLAGS.SILENT (" + b" ".join(b"k%d" % n for n in range(3000)) + b")",
        b"SELECT {6+}\r\nIN\r\nBO",
        b"SELECT {5+}\r\nIN\x00BO",
        b"STATUS {9+}\r\nx\r\n* BYE (MESSAGES)",
        b"ID (" + b'"k" NIL ' * 5000 + b")",
        b"x" * 70_000,
        b"APPEND INBOX {10000000000}",
        b"APPEND INBOX {9000000+}\r\n" + bytes(9_000_000),
    ],
    ids=lambda data: repr(data[:30]),
)
async def test_a_users_worst_commands(front: Front, command: bytes) -> None:
    await front.deliver(MESSAGE)
    victim, bystander = await front.user(), await front.user()
    victim.send(b"a " + command + b"\r\nz LOGOUT\r\n")
    events = await victim.end()
    statuses = [event for event in events if isinstance(event, Status) and event.tag == "a"]
    assert len(statuses) <= 1
    assert [event.status for event in events if isinstance(event, Status)][-1] in ("OK", "BYE")
    await bystander.ok("NOOP")


async def test_errors_count_only_one_behind_the_other(make_front: MakeFront) -> None:
    client = await (await make_front(limits=Limits(errors=3))).user()
    for _ in range(5):
        assert [(await client.command("nonsense")).status for _ in range(2)] == ["BAD", "BAD"]
        await client.ok("NOOP")
    client.send(b"a nonsense\r\nb nonsense\r\nc nonsense\r\nd NOOP\r\n")
    events = await client.end()
    assert [event.status for event in events if isinstance(event, Status)] == ["BAD", "BAD", "BAD", "BYE"]
