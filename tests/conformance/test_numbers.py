"""Message numbers never lie: three sessions in one mailbox, each with an idea of it made only of what it was told.

Each session keeps a list of UIDs: EXISTS appends unknown ones, EXPUNGE takes one out, FETCH with a UID must name the
one that is there. Whatever the others did, a UID that a session learned for a number stays right for that number, and
once all is quiet every list is the mailbox.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.conformance.conftest import Pairing, add_user, logged_in
from tests.conformance.wire import Reply, Wire, literal, values
from tests.peers.relay import Relay

ROUNDS = 300
PATIENCE = 20.0
USER = "u080@example.org"


class Model:
    """One session, and what it believes."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.uids: list[int | None] = []
        self.idle: bytes | None = None
        reply = wire.ok(b"SELECT INBOX")
        self.hear(reply.untagged)

    def hear(self, untagged: list[list[Any]]) -> None:
        """Follow what is told, in order."""
        for told in untagged:
            if told[1:] == [b"EXISTS"]:
                assert told[0] >= len(self.uids), "EXISTS never takes away"
                self.uids += [None] * (told[0] - len(self.uids))
            elif told[1:] == [b"EXPUNGE"]:
                assert 1 <= told[0] <= len(self.uids), "EXPUNGE of what is there"
                del self.uids[told[0] - 1]
            elif len(told) > 1 and told[1] == b"FETCH":
                assert 1 <= told[0] <= len(self.uids), "FETCH of what is there"
                data = dict(zip(told[2][::2], told[2][1::2], strict=True))
                if b"UID" in data:
                    self.learn(told[0], data[b"UID"])

    def learn(self, number: int, uid: int) -> None:
        """A number and its UID."""
        known = self.uids[number - 1]
        assert known in (None, uid), f"number {number} was UID {known} and is {uid}"
        self.uids[number - 1] = uid
        sure = [one for one in self.uids if one is not None]
        assert sure == sorted(set(sure)), "numbers follow UIDs"

    def say(self, text: bytes) -> Reply:
        """A command."""
        reply = self.wire.command(text)
        if text.startswith((b"FETCH", b"STORE", b"SEARCH")):
            # RFC 9051 7.5.1: they speak by number, so no number may change under them.
            assert not reply.named(b"EXPUNGE")
        self.hear(reply.untagged)
        return reply

    def begin_idle(self) -> None:
        """IDLE."""
        self.idle = self.wire.begin(b"IDLE")
        while not (line := self.wire.line()).startswith(b"+ "):
            self.hear([values(line)])

    def end_idle(self) -> None:
        """DONE."""
        assert self.idle is not None
        self.wire.send(b"DONE\r\n")
        self.hear(self.wire.finish(self.idle).untagged)
        self.idle = None


class Crowd:
    """Three sessions, and somebody outside who knows the truth."""

    def __init__(self, models: list[Model], outside: Wire, seed: random.Random) -> None:
        self.models = models
        self.outside = outside
        self.random = seed
        self.moves: list[Callable[[Model], None]] = [
            self._append, self._append, self._flag, self._flag, self._delete, self._expunge, self._uid_expunge,
            self._fetch, self._fetch, self._fetch_by_uid, self._search, self._noop, self._copy, self._move,
            self._pipeline, self._idle,
        ]  # fmt: skip

    def step(self) -> None:
        """Something by somebody."""
        self.random.choice(self.moves)(self.random.choice(self.models))

    def settle(self) -> None:
        """Once nobody does anything, all believe the same, and it is so."""
        truth = sorted(self.outside.ok(b"UID SEARCH ALL").named(b"SEARCH")[0]) if self._reselect() else []
        for model in self.models:
            if model.idle:
                model.end_idle()
            deadline = time.monotonic() + PATIENCE
            while True:
                model.say(b"NOOP")
                # As many are not the same ones yet: one may be gone and another have come, both still untold.
                if len(model.uids) == len(truth) and truth:
                    model.say(b"FETCH 1:* UID")
                if model.uids == truth:
                    break
                assert time.monotonic() < deadline, (model.uids, truth)

    def _reselect(self) -> int:
        count = self.outside.ok(b"EXAMINE INBOX").named(b"EXISTS")[0][0]
        assert isinstance(count, int)
        return count

    def _number(self, model: Model) -> int:
        return self.random.randint(1, len(model.uids)) if model.uids else 0

    def _do(self, model: Model, text: bytes) -> None:
        if model.idle:
            model.end_idle()
        if model.uids or b"%d" not in text:
            model.say(text % self._number(model) if b"%d" in text else text)

    def _append(self, model: Model) -> None:
        message = b"Subject: %d\r\n\r\nx\r\n" % self.random.getrandbits(32)
        self._do(model, b"APPEND INBOX " + literal(message))

    def _flag(self, model: Model) -> None:
        self._do(model, b"STORE %d " + self.random.choice((b"+FLAGS", b"-FLAGS", b"FLAGS.SILENT")) + b" (\\Seen)")

    def _delete(self, model: Model) -> None:
        self._do(model, b"STORE %d +FLAGS (\\Deleted)")

    def _expunge(self, model: Model) -> None:
        self._do(model, b"EXPUNGE")

    def _uid_expunge(self, model: Model) -> None:
        known = [uid for uid in model.uids if uid is not None]
        if known:
            self._do(model, f"UID EXPUNGE {self.random.choice(known)}:*".encode())

    def _fetch(self, model: Model) -> None:
        self._do(model, b"FETCH %d (UID FLAGS)")

    def _fetch_by_uid(self, model: Model) -> None:
        self._do(model, b"UID FETCH 1:* FLAGS")

    def _search(self, model: Model) -> None:
        if model.idle:
            model.end_idle()
        found = model.say(b"SEARCH ALL").named(b"SEARCH")[0]
        assert all(1 <= number <= len(model.uids) for number in found)

    def _noop(self, model: Model) -> None:
        self._do(model, b"NOOP")

    def _copy(self, model: Model) -> None:
        self._do(model, b"COPY %d INBOX")

    def _move(self, model: Model) -> None:
        self._do(model, b"MOVE %d Trash")

    def _idle(self, model: Model) -> None:
        if not model.idle:
            model.begin_idle()

    def _pipeline(self, model: Model) -> None:
        """Commands by number, sent before the answers to those before them are read."""
        if model.idle or not model.uids:
            return
        numbers = [self._number(model) for _ in range(4)]
        tags = [model.wire.begin(b"FETCH %d (UID FLAGS)" % number) for number in numbers]
        for tag in tags:
            reply = model.wire.finish(tag)
            assert not reply.named(b"EXPUNGE")
            model.hear(reply.untagged)


@pytest.fixture(scope="module")
def user(standby: Relay) -> str:
    add_user(standby, USER)
    return USER


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_message_numbers_never_lie(standby: Relay, user: str, seed: int) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(logged_in(standby.imap_port, user)) for _ in range(4)]
        for _ in range(6):
            wires[3].ok(b"APPEND INBOX " + literal(b"Subject: first\r\n\r\nx\r\n"))
        crowd = Crowd([Model(wire) for wire in wires[:3]], wires[3], random.Random(f"numbers {seed}"))
        for number in range(ROUNDS):
            crowd.step()
            if number % 30 == 29:
                crowd.settle()
        crowd.settle()


@pytest.mark.peers
def test_dovecot_passes_it_too(pairing: Pairing) -> None:
    """So that the test is one of the protocol, not of our ways."""
    user = pairing.user()
    with ExitStack() as stack:
        wires = [stack.enter_context(pairing.theirs(user)) for _ in range(4)]
        for _ in range(6):
            wires[3].ok(b"APPEND INBOX " + literal(b"Subject: first\r\n\r\nx\r\n"))
        crowd = Crowd([Model(wire) for wire in wires[:3]], wires[3], random.Random("numbers"))
        for _ in range(ROUNDS // 3):
            crowd.step()
        crowd.settle()
