"""Appends of every kind in one pipe, cut into arbitrary pieces: each is answered once, in order, as it should be."""

from __future__ import annotations

import random

import pytest

from relay.proto.imap.client import Status
from tests.serve.conftest import MakeFront

LIMIT = 20_000


def letter(chance: random.Random, size: int | None = None) -> bytes:
    """Octets that look like commands and literals as well."""
    size = chance.choice([1, 10, 500, 5_000, LIMIT]) if size is None else size
    line = b"zz LOGOUT {5+}\r\na NOOP\r\n{999999}\r\n"
    return (b"Subject: x\r\n\r\n" + line * (size // len(line) + 1))[:size]


def order(chance: random.Random, tag: bytes) -> tuple[bytes, tuple[str, str | None], int]:
    """A command, its answer and how many messages it leaves."""
    body = letter(chance)
    one = b"{%d+}\r\n%b" % (len(body), body)
    big = letter(chance, chance.choice([LIMIT + 1, 2 * LIMIT]))
    too_big = b"{%d+}\r\n%b" % (len(big), big)
    text, answer, left = chance.choice(
        [
            (b"APPEND INBOX " + one, ("OK", "APPENDUID"), 1),
            (b"APPEND INBOX (\\Seen) " + one + b" (\\Draft) " + one, ("OK", "APPENDUID"), 2),
            (b'APPEND INBOX () "17-Jul-2026 02:44:25 -0700" ' + one, ("OK", "APPENDUID"), 1),
            (b"APPEND {5+}\r\nINBOX " + one, ("OK", "APPENDUID"), 1),
            (b"APPEND nothing " + one + b" " + one, ("NO", "TRYCREATE"), 0),
            (b"APPEND INBOX {0+}\r\n", ("NO", None), 0),
            (b"APPEND INBOX " + one + b" {0+}\r\n", ("NO", None), 0),
            (b"APPEND INBOX " + one + b" " + too_big, ("NO", "TOOBIG"), 0),
            (b"APPEND INBOX " + too_big + b" " + one, ("NO", "TOOBIG"), 0),
            (b"APPEND INBOX " + one + b" rest", ("BAD", None), 0),
            (b"APPEND INBOX nonsense " + one, ("BAD", None), 0),
            (b"APPEND INBOX " + one + b" nonsense " + one, ("BAD", None), 0),
            (b"APPEND INBOX", ("BAD", None), 0),
            (b"REPLACE 1 INBOX " + one, ("BAD", None), 0),
            (b"NOOP", ("OK", None), 0),
        ]
    )
    return tag + b" " + text + b"\r\n", answer, left


@pytest.mark.parametrize("seed", range(6))
async def test_every_append_is_answered_once(make_front: MakeFront, seed: int) -> None:
    chance = random.Random(seed)
    front = await make_front(append_limit=LIMIT)
    client = await front.user(None)
    orders = [order(chance, b"t%d" % n) for n in range(60)]
    # A good command between two bad ones: only mistakes in a row end a conversation.
    wire = b"".join(text + b"n%d NOOP\r\n" % n for n, (text, _, _) in enumerate(orders))
    answers: list[tuple[str | None, str, str | None]] = []
    while wire or len(answers) < 2 * len(orders):
        cut = chance.choice([1, 7, 100, 4_096, 70_000])
        client.send(wire[:cut])
        wire = wire[cut:]
        await client.writer.drain()
        if not wire:
            event = await client.event()
            assert isinstance(event, Status), event
            answers.append((event.tag, event.status, event.code))
    wanted: list[tuple[str | None, str, str | None]] = []
    for n, (_, (status, code), _) in enumerate(orders):
        wanted += [(f"t{n}", status, code), (f"n{n}", "OK", None)]
    assert answers == wanted
    account = await front.services.mailboxes.open_account("bob@example.org")
    inbox = await front.services.mailboxes.folder(account, "INBOX")
    assert inbox is not None
    assert inbox.row.messages == sum(left for _, _, left in orders)
    assert front.spool.pressure.in_flight == 0
