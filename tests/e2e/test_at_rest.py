"""What lies on the disk: nothing of it is readable, and what was changed there is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scene import ALICE, BOB, Scene, copies, message, once, scene
from tests.peers.certs import Pair
from tests.peers.ports import LOOPBACK

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]

MARKS = {
    "reverse-path": "sendermarkqx",
    "recipient": "recipientmarkqx",
    "subject": "SubjectMarkQx",
    "header": "HeaderMarkQx",
    "body": "BodyMarkQx",
    "folder": "FolderMarkQx",
    "password": "PasswordMarkQx",
    "Message-ID": "idmarkqx",
}


@pytest.fixture
def here(server_pair: Pair) -> Iterator[Scene]:
    """A scene with one worker, and a log that says all it ever says."""
    person = f"{MARKS['recipient']}@example.org"
    with scene(server_pair, config={"log": {"level": "debug"}}, more_people=[person]) as made:
        yield made


def _marked(number: int) -> bytes:
    body = f"{MARKS['body']} {number}\r\n" * 3_000
    return (
        f"From: {MARKS['reverse-path']}@example.net\r\nTo: {MARKS['recipient']}@example.org\r\n"
        f"Subject: {MARKS['subject']} {number}\r\nX-Mark: {MARKS['header']}\r\n"
        f"Message-ID: <{MARKS['Message-ID']}.{number}@example.net>\r\n\r\n{body}"
    ).encode()


async def test_nothing_readable_in_files_and_logs(here: Scene) -> None:
    user = f"{MARKS['recipient']}@example.org"
    sender = f"{MARKS['reverse-path']}@example.net"
    await asyncio.to_thread(here.dovecot.set_password, user, MARKS["password"])
    with here.login(user) as client:
        assert client.create(MARKS["folder"])[0] == "OK"
        assert client.select(MARKS["folder"])[0] == "OK"
    assert (await here.send(_marked(0), user, sender=sender)).accepted
    await here.primary_down()
    for number in range(1, 4):
        assert (await here.send(_marked(number), user, sender=sender)).accepted
    with here.login(user) as client:
        assert client.select("INBOX")[0] == "OK"
        client.search(None, "SUBJECT", f'"{MARKS["subject"]}"')
        client.fetch("1:*", "(ENVELOPE BODYSTRUCTURE BODY.PEEK[])")
        client.store("1", "+FLAGS", r"(\Seen)")
        with contextlib.suppress(Exception):
            client.select(MARKS["folder"])
    once(here.read(user), *(_marked(n) for n in range(1, 4)))
    with pytest.raises(Exception, match=r"(?i)auth|unavail"), here.login(user, f"{MARKS['password']}-wrong"):
        pass
    assert not (await here.send(_marked(4), f"{MARKS['recipient']}@elsewhere.example", sender=sender)).accepted
    await here.primary_up()
    await here.drained()
    with here.login(user) as client:
        assert client.select(MARKS["folder"])[0] == "OK"
    # All of that is in the log, each thing once, and says nothing about whose it was.
    messages, replayed, logins = (_lines(here, event) for event in ("message", "replayed", "login_failed"))
    assert [line["result"] for line in messages] == ["delivered", "spooled", "spooled", "spooled", "refused"]
    assert [line["code"] for line in messages] == [250, 250, 250, 250, 550]
    assert len({line["conn"] for line in messages}) == 5
    delivered = {line["item"] for line in replayed if line["result"] == "delivered"}
    assert delivered == {line["item"] for line in messages[1:4]}
    assert [(line["protocol"], line["reason"]) for line in logins] == [("imap", "mismatch")]
    assert {line["client"] for line in (*messages, *logins)} == {LOOPBACK}
    # Both while it runs (write-ahead log, temporary files) and after it has stopped.
    assert _readable(here) == []
    await asyncio.to_thread(here.relay.stop)
    assert _readable(here) == []


def _lines(here: Scene, event: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [json.loads(line) for line in here.relay.log.read_text().splitlines()]
    return [line for line in found if line["event"] == event]


def _readable(here: Scene) -> list[str]:
    files = [path for path in here.relay.data_dir.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 10_000
    contents = {path.name: path.read_bytes().lower() for path in (*files, here.relay.log)}
    return [
        f"the {place} is in {name}"
        for name, content in contents.items()
        for place, mark in MARKS.items()
        if any(mark.lower().encode(encoding) in content for encoding in ("utf-8", "utf-16-le", "utf-16-be"))
    ]


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("flipped", _flip),
        ("cut", lambda data: data[:-1]),
        ("emptied", lambda _: b""),
        ("lengthened", lambda d: d + b"\0"),
    ],
)
async def test_a_changed_chunk_is_quarantined_and_the_rest_goes_on(
    here: Scene, what: str, change: Callable[[bytes], bytes]
) -> None:
    def damage(database: sqlite3.Connection, keys: list[int]) -> None:
        (data,) = database.execute("SELECT data FROM chunk WHERE key = ?", (keys[0],)).fetchone()
        database.execute("UPDATE chunk SET data = ? WHERE key = ?", (change(data), keys[0]))

    await _damaged(here, damage, quarantined=1)
    assert what


async def test_a_missing_chunk_is_quarantined_and_the_rest_goes_on(here: Scene) -> None:
    def damage(database: sqlite3.Connection, keys: list[int]) -> None:
        database.execute("DELETE FROM chunk WHERE key = ?", (keys[0],))

    await _damaged(here, damage, quarantined=1)


async def test_swapped_chunks_are_quarantined_and_the_rest_goes_on(here: Scene) -> None:
    def damage(database: sqlite3.Connection, keys: list[int]) -> None:
        one, other = (
            database.execute("SELECT data FROM chunk WHERE key = ?", (key,)).fetchone()[0]
            for key in (keys[0], keys[-1])
        )
        database.execute("UPDATE chunk SET data = ? WHERE key = ?", (other, keys[0]))
        database.execute("UPDATE chunk SET data = ? WHERE key = ?", (one, keys[-1]))

    await _damaged(here, damage, quarantined=2)


async def _damaged(here: Scene, damage: Callable[[sqlite3.Connection, list[int]], None], *, quarantined: int) -> None:
    """Spool, damage the file while the relay is stopped, let it replay: the damaged are told, all others arrive."""
    await here.primary_down()
    contents = [message(f"chunk-{n}", size=200_000 if n % 2 else 0) for n in range(6)]
    for content in contents:
        await here.accept(content, ALICE)
    await asyncio.to_thread(here.relay.stop)
    (file,) = (path for path in here.relay.data_dir.iterdir() if _is_database(path))
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        keys = [key for (key,) in database.execute("SELECT key FROM chunk ORDER BY key")]
        damage(database, keys)
    await asyncio.to_thread(here.relay.start)
    await here.primary_up()
    await here.until(lambda: here.relay.owed() == {"quarantined": quarantined})
    await here.until(lambda: len(here.arrived(ALICE)) == 6 - quarantined)
    there = here.arrived(ALICE)
    assert sum(copies(there, content) for content in contents) == 6 - quarantined
    assert here.relay.metric("relay_spool_quarantined_total") == quarantined
    # The service goes on.
    after = message("after the damage")
    await here.accept(after, BOB)
    await here.arrives(after, BOB)


def _is_database(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[:16] == b"SQLite format 3\0"
