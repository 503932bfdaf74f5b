"""SORT, THREAD and LIST of the same mailboxes by Dovecot and by us: the same answers."""

from __future__ import annotations

import imaplib
import random
from collections.abc import Iterator

import pytest

from relay.proto.imap import commands as c
from relay.proto.imap import dates, listing, responses, threads
from relay.proto.imap.grammar import Parsed
from relay.proto.imap.listing import Box
from relay.proto.imap.sortable import sortable, threadable
from relay.proto.imap.sorting import order
from tests.peers.dovecot import Dovecot
from tests.peers.people import PEOPLE
from tests.proto_imap.test_grammar import parse

pytestmark = pytest.mark.peers

MESSAGES = 60
SEED = 20261122
"""The mailbox is always the same: a difference must be found again."""
SUBJECTS = (
    "Hello", "Re: Hello", "hello", "[list] Hello", "Fwd: [list] Re: Hello", "[fwd: Hello]", "Hello (fwd)", "World",
    "RE[2]: World", "=?utf-8?q?=C3=84rger?=", "Re: =?iso-8859-1?q?=E4rger?=", "a\r\n b", "Zebra", "", "Re:", "[x]",
)  # fmt: skip
PEOPLE_NAMES = ('"Z" <anna@x>', "Bert@x", "<carla@y>, anna@x", "=?utf-8?q?=C3=84?= <dora@x>", "Group: anna@x;", "")
CRITERIA = (
    "ARRIVAL", "DATE", "REVERSE DATE", "SIZE DATE", "SUBJECT DATE", "REVERSE SUBJECT REVERSE SIZE", "FROM DATE",
    "TO CC", "CC REVERSE TO ARRIVAL",
)  # fmt: skip


def mailbox() -> list[bytes]:
    """Messages with subjects, people and references that cross."""
    chance = random.Random(SEED)
    made = []
    for number in range(1, MESSAGES + 1):
        lines = [
            f"Date: {chance.randint(1, 28)} Feb 2026 10:{number % 60:02d}:00 +0{chance.randint(0, 9)}00",
            f"From: {chance.choice(PEOPLE_NAMES)}",
            f"To: {chance.choice(PEOPLE_NAMES)}",
            f"Cc: {chance.choice(PEOPLE_NAMES)}",
            f"Subject: {chance.choice(SUBJECTS)}",
        ]
        if chance.random() < 0.95:
            lines.append(f"Message-ID: <{number if chance.random() < 0.95 else 5}@x>")
        kind = chance.random()
        # Only backwards: where headers contradict each other the RFC leaves the answer to the order of steps.
        earlier = sorted(chance.sample(range(max(1, number - 12), number + 1), min(number, chance.randint(1, 3))))
        known = [one for one in earlier if one < number]
        if kind < 0.35 and known:
            absent = [f"<gone{known[0]}@y>"] if chance.random() < 0.3 else []
            lines.append("References: " + " ".join([*absent, f"<{known[-1]}@x>"]))
        elif kind < 0.5 and known:
            lines.append(f"In-Reply-To: <{known[-1]}@x> of yesterday")
        made.append("\r\n".join([*lines, "", "x" * chance.randint(0, 5), ""]).encode())
    return made


@pytest.fixture
def client(dovecot: Dovecot) -> Iterator[imaplib.IMAP4]:
    """Logged in, with the mailbox selected."""
    with dovecot.login(PEOPLE[0]) as logged_in:
        if logged_in.create("orders")[0] == "OK":
            for number, message in enumerate(mailbox(), 1):
                assert logged_in.append("orders", "", day(number), message)[0] == "OK"
        assert logged_in.select("orders")[1] == [b"%d" % MESSAGES]
        yield logged_in


def day(number: int) -> str:
    """INTERNALDATE of a message."""
    return f'"{number * 7 % 27 + 1:02d}-Jan-2026 10:{number % 60:02d}:00 +0000"'


def arrival(number: int) -> float:
    found = dates.parse_date_time(day(number)[1:-1].encode())
    assert found is not None
    return found


def command(text: str) -> c.Command:
    parsed = parse(text.encode())
    assert isinstance(parsed, Parsed), parsed
    return parsed.command


def ask(client: imaplib.IMAP4, text: str) -> list[bytes]:
    """The untagged responses of one command that is named by its first word."""
    name, _, rest = text.partition(" ")
    status, _ = client.xatom(name, rest)
    assert status == "OK"
    kind = name.removeprefix("UID ")
    return [line for line in client.response(kind)[1] if isinstance(line, bytes)]


def test_sort(client: imaplib.IMAP4) -> None:
    messages = mailbox()
    for criteria in CRITERIA:
        asked = command(f"SORT ({criteria}) UTF-8 ALL")
        assert isinstance(asked, c.Sort)
        by = {one.by for one in asked.criteria}
        ours = order(
            [sortable(n, m, arrival=arrival(n), size=len(m), by=by) for n, m in enumerate(messages, 1)], asked.criteria
        )
        (theirs,) = ask(client, f"SORT ({criteria}) UTF-8 ALL")
        assert ours == [int(number) for number in theirs.split()], criteria


@pytest.mark.parametrize("algorithm", list(threads.Algorithm))
def test_thread(client: imaplib.IMAP4, algorithm: threads.Algorithm) -> None:
    messages = [threadable(n, m, arrival=arrival(n)) for n, m in enumerate(mailbox(), 1)]
    ours = threads.encode(threads.ALGORITHMS[algorithm](messages))
    (theirs,) = ask(client, f"THREAD {algorithm.value} UTF-8 ALL")
    assert ours == theirs


THEIRS = ("INBOX", "Drafts", "Junk", "Sent", "Trash")
FOLDERS = ("a", "a/b", "a/b/c", "b/c", "d d")
LISTS = (
    '"" *', '"" %', '"" %/%', "a/ %", '"" a*c', '"" INB%', '"" ""',
    '(SUBSCRIBED) "" * RETURN (CHILDREN)', '"" (a b/%) RETURN (SUBSCRIBED CHILDREN)',
    '(SUBSCRIBED RECURSIVEMATCH) "" % RETURN (CHILDREN)',
)  # fmt: skip
SUBSCRIBED = {"a/b", "Drafts", "Junk", "Sent", "Trash"}


def test_list(dovecot: Dovecot) -> None:
    with dovecot.login(PEOPLE[-1]) as client:
        for name in FOLDERS:
            client.create(f'"{name}"')
        client.subscribe("a/b")
        boxes = [Box(name, subscribed=name in SUBSCRIBED) for name in (*THEIRS, *FOLDERS)]
        for text in LISTS:
            asked = command(f"LIST {text}")
            assert isinstance(asked, c.ListMailboxes)
            ours = {responses.listed(entry)[len("* LIST ") : -2] for entry in listing.entries(asked, boxes)}
            theirs = set(ask(client, f"LIST {text}"))
            assert {names_of(line) for line in ours} == {names_of(line) for line in theirs}, text


def names_of(line: bytes) -> tuple[bytes, frozenset[bytes]]:
    """The name and those attributes that may not differ."""
    attributes, _, rest = line.partition(b") ")
    words = frozenset(attributes.strip(b"(").lower().split()) & {b"\\haschildren", b"\\hasnochildren", b"\\subscribed"}
    return rest.replace(b'"', b""), words
