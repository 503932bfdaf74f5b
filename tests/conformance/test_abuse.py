"""Strangers and users at their worst against a running relay: bounded memory and time, clear words, others unhurt."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import pytest

from relay.proto.imap.client import Malformed, ResponseReader
from tests.bench.stands import resident_bytes
from tests.conformance.conftest import add_user, logged_in
from tests.conformance.wire import Wire, literal
from tests.peers.certs import Pair
from tests.peers.relay import Relay, RelaySettings
from tests.peers.smtpclient import SmtpClient
from tests.serve.test_abuse import nonsense

USER, BYSTANDER = "u070@example.org", "u071@example.org"
GROWTH: Final = 96 << 20
"""Octets that the relay may take more than it had, whatever is done to it."""
LONGEST: Final = 20.0
"""Seconds for one answer to anything, on a machine that is busy with other tests."""
HELD_UP: Final = 5.0
"""Seconds for which somebody else may be held up."""
ROUNDS: Final = 20
STATES: Final = ("stranger", "logged in", "selected", "idle")


@dataclass
class Witness:
    """Another user's session that works all the while, and what it saw."""

    relay: Relay
    answers: int = 0
    slowest: float = 0.0
    most: int = 0
    """Octets of memory, the most that was seen."""
    trouble: list[BaseException] = field(default_factory=list)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Works in a thread of its own; at the end all must have been well."""
        before = resident_bytes(self.relay.pid)
        done = threading.Event()
        worker = threading.Thread(target=self._work, args=(done,))
        worker.start()
        try:
            yield
        finally:
            done.set()
            worker.join()
        assert not self.trouble, self.trouble
        assert self.answers
        assert self.slowest < HELD_UP
        assert self.most - before < GROWTH, f"{self.most - before:,} octets more"

    def _work(self, done: threading.Event) -> None:
        try:
            with logged_in(self.relay.imap_port, BYSTANDER) as wire:
                wire.ok(b"SELECT INBOX")
                while True:
                    started = time.monotonic()
                    assert wire.ok(b"UID FETCH 1 (UID BODY.PEEK[HEADER])").fetched()[1][b"UID"] == 1
                    self.slowest = max(self.slowest, time.monotonic() - started)
                    self.answers += 1
                    self.most = max(self.most, resident_bytes(self.relay.pid))
                    if done.wait(0.02):
                        return
        except BaseException as trouble:
            self.trouble.append(trouble)


@pytest.fixture(scope="module")
def relay(server_pair: Pair) -> Iterator[Relay]:
    with Relay(RelaySettings(certificate=server_pair)) as relay:
        for address in (USER, BYSTANDER):
            add_user(relay, address)
        _deliver(relay, BYSTANDER, b"Subject: mine\r\n\r\nall well\r\n")
        _deliver(relay, USER, b"Subject: yours\r\n\r\nall well\r\n")
        yield relay


def _deliver(relay: Relay, user: str, message: bytes) -> None:
    async def send() -> None:
        async with await SmtpClient.connect(relay.mx_port) as client:
            await client.ehlo()
            outcome = await client.transaction("sender@example.net", [user], message)
            assert outcome.accepted, outcome

    asyncio.run(send())


def _to(relay: Relay, state: str) -> Wire:
    """A connection in one of the four states."""
    if state == "stranger":
        return Wire(relay.imap_port)
    wire = logged_in(relay.imap_port, USER)
    if state != "logged in":
        wire.ok(b"SELECT INBOX")
    if state == "idle":
        wire.begin(b"IDLE")
        assert wire.line().startswith(b"+ ")
    return wire


def _exchange(wire: Wire, data: bytes) -> bytes:
    """Say it all as far as the server takes it, LOGOUT behind it; all that the server says."""
    said: list[bytes] = []
    listener = threading.Thread(target=lambda: said.append(wire.rest()))
    listener.start()
    with contextlib.suppress(OSError):  # cut off in the middle: the answer says why
        wire.send(data + b"\r\nzz LOGOUT\r\n")
        wire.socket.shutdown(socket.SHUT_WR)
    listener.join()
    return b"".join(said)


EVERYWHERE: Final = {
    "literal of 10 GB": b"a LOGIN {10000000000}",
    "literal of 10 GB that comes": b"a LOGIN {10000000000+}\r\n" + b"x" * 30_000_000,
    "100,000 parentheses": b"a ID " + b"(" * 100_000 + b")" * 100_000,
    "100,000 parentheses in small lines": b"a ID " + b"({1+}\r\nx " * 100_000,
    "ID with 100,000 parameters": b"a ID (" + b'"k" "v" ' * 100_000 + b")",
    "a line without end": b"a " + b"x" * 30_000_000,
    "garbage": random.Random("garbage").randbytes(2_000_000),
    "empty lines": b"\r\n" * 500_000,
    "NUL": b"a LOGIN \x00 \x00\r\nb SELECT {3+}\r\nA\x00B",
    "CR and LF in names": b"a LOGIN {6+}\r\nu\r\n* O {1+}\r\nx\r\n"
    b"b SELECT {8+}\r\nIN\r\nBOX\r\nc SELECT a\rb\r\nd SELECT a\nb",
}
LOGGED_IN: Final = {
    "exponential wildcards": b'a LIST "" "' + b"*%" * 10_000 + b'x"\r\nb LIST "" "' + b"*a" * 10_000 + b'"',
    "many patterns": b'a LIST "" (' + b" ".join(b'"%d*%%*"' % n for n in range(5_000)) + b")",
    "10 GB to APPEND": b"a APPEND INBOX {10000000000}",
    "10 GB to APPEND that come": b"a APPEND INBOX {10000000000+}\r\n" + b"x" * 30_000_000,
    "nested criteria": b"a SEARCH " + b"(" * 100_000 + b"ALL" + b")" * 100_000,
    "negated criteria": b"a SEARCH " + b"NOT " * 100_000 + b"ALL",
    "names": b"a CREATE {4+}\r\na\x00bc\r\nb CREATE {4+}\r\na\r\nb\r\nc CREATE {5+}\r\na/\x7f/b\r\nd CREATE "
    + b"a/" * 30_000
    + b"b",
    "a huge set": b"a UID FETCH " + b"1:4294967295," * 100_000 + b"1 UID",
    "a huge list of fields": b"a FETCH 1 BODY[HEADER.FIELDS (" + b"x " * 100_000 + b")]",
}


@pytest.mark.parametrize("state", STATES)
def test_one_line_does_no_harm(relay: Relay, state: str) -> None:
    cases = EVERYWHERE if state == "stranger" else EVERYWHERE | LOGGED_IN
    with Witness(relay).watching():
        for name, data in cases.items():
            started = time.monotonic()
            with _to(relay, state) as wire:
                answer = _exchange(wire, data)
            assert time.monotonic() - started < LONGEST, name
            words = [line.split(b" ", 2)[1] for line in answer.splitlines() if line.count(b" ") > 1]
            assert {b"BAD", b"NO", b"BYE"} & {*words}, (name, answer[:300])


@pytest.mark.parametrize("state", STATES)
def test_live_fuzz(relay: Relay, state: str) -> None:
    seed = random.Random(f"conformance {state}")
    with Witness(relay).watching():
        for number in range(ROUNDS):
            with _to(relay, state) as wire:
                answer = _exchange(wire, nonsense(seed))
            reader = ResponseReader()
            reader.feed(answer)
            while (event := reader.next()) is not None:
                assert not isinstance(event, Malformed), (number, event)


def _nested(count: int) -> bytes:
    return (
        b"".join(b"Subject: %d\r\nContent-Type: message/rfc822\r\n\r\n" % n for n in range(count)) + b"\r\nbottom\r\n"
    )


def _parts(count: int) -> bytes:
    opened = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(count))
    return opened + b"\r\nbottom\r\n"


BOMBS: Final[dict[str, Callable[[], bytes]]] = {
    "500,000 header lines": lambda: (
        b"".join(b"X-%d: y\r\n" % n for n in range(500_000)) + b"Subject: s\r\n\r\nbody\r\n"
    ),
    "500,000 folds": lambda: b"Subject: s\r\nX: y\r\n" + b" z\r\n" * 500_000 + b"\r\nbody\r\n",
    "100,000 addresses": lambda: b"Subject: s\r\nTo: " + b",\r\n ".join([b"a@b"] * 100_000) + b"\r\n\r\nbody\r\n",
    "1,000 messages in messages": lambda: _nested(1_000),
    "1,000 multiparts in multiparts": lambda: _parts(1_000),
    "100,000 empty parts": lambda: (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 100_000 + b"--b--\r\n"
    ),
    "50,000 parameters": lambda: (
        b"Content-Type: text/plain" + b"".join(b";\r\n name*%d*=%%41" % n for n in range(50_000)) + b"\r\n\r\nbody\r\n"
    ),
    "50,000 other parameters": lambda: (
        b"Content-Type: text/plain"
        + b"".join(b";\r\n p%d*=utf-8''%%41" % n for n in range(50_000))
        + b"\r\n\r\nbody\r\n"
    ),
    "50,000 encoded words": lambda: b"Subject: " + b"=?utf-8?Q?=C3=A4?=\r\n " * 50_000 + b"end\r\n\r\nbody\r\n",
    "comments": lambda: b"From: " + b"(" * 20_000 + b")" * 20_000 + b" <a@b>\r\nSubject: s\r\n\r\nbody\r\n",
}


def test_messages_that_were_made_to_hurt(relay: Relay) -> None:
    with Witness(relay).watching(), logged_in(relay.imap_port, USER) as wire:
        for name, make in BOMBS.items():
            _deliver(relay, USER, make())
            number = wire.ok(b"SELECT INBOX").named(b"EXISTS")[0][0]
            for text in (
                b"FETCH %d (ENVELOPE BODYSTRUCTURE RFC822.SIZE)",
                b"FETCH %d (BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[1.1.1.1.1.HEADER] BODY.PEEK[99.MIME])",
                b"SEARCH %d OR BODY bottom SUBJECT s",
                b"SORT (SUBJECT FROM) UTF-8 %d",
                b"THREAD REFERENCES UTF-8 %d",
            ):
                started = time.monotonic()
                reply = wire.command(text % number)
                assert reply.status in ("OK", "NO"), (name, reply)
                assert time.monotonic() - started < LONGEST, (name, text)


def test_readers_that_do_not_read(relay: Relay) -> None:
    _deliver(relay, USER, b"Subject: large\r\n\r\n" + b"0123456789abcde\r\n" * 100_000)
    with Witness(relay).watching(), contextlib.ExitStack() as stack:
        for _ in range(10):
            wire = stack.enter_context(_to(relay, "logged in"))
            last = wire.ok(b"SELECT INBOX").named(b"EXISTS")[0][0]
            wire.send(b"".join(b"f%d FETCH %d BODY.PEEK[]\r\n" % (n, last) for n in range(50)))
        # The others are served while these wait, and one of these that begins to read gets all that it asked for.
        with _to(relay, "selected") as other:
            for _ in range(50):
                other.ok(b"FETCH 1 BODY.PEEK[]")
        got = 0
        while not wire.line().startswith(b"f49 OK"):
            got += 1
        assert got == 50 + 49


def test_a_name_is_a_name(relay: Relay) -> None:
    """What no mailbox can be called is refused, and nothing of it is seen in what others are told."""
    with _to(relay, "logged in") as wire:
        for name in (
            b"a\x00b",
            b"a\rb",
            b"a\nb",
            b"a\r\n* BYE\r\n",
            b"\x7f",
            b"/",
            b"a//b",
            b"/a",
            b"",
            b"&",
            b"&AGE-",
            b"*",
            b"a%",
        ):
            for verb in (b"CREATE ", b"SUBSCRIBE ", b"RENAME INBOX "):
                assert wire.command(verb + literal(name)).status in ("NO", "BAD"), (verb, name)
                assert wire.ok(b"NOOP").untagged == []
