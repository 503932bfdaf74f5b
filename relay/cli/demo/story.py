"""The acts, one after the other, each ended by what it waited for or by its deadline.

Leaves: a `Tally`. Raises `DemoTrouble` when something that had to happen did not; then nothing is claimed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum

import msgspec

from relay.cli.demo import mailbox
from relay.cli.demo.board import Board, Kind
from relay.cli.demo.site import HOST, USER, Site, SiteTrouble
from relay.cli.demo.tally import Tally, count
from relay.cli.demo.traffic import Traffic
from relay.cli.demo.watch import Watcher

ACTS = ("mail flows", "primary dies", "a user reads", "primary returns", "count")
_LOOK = 0.05
"""Seconds between two looks at the board."""


class Sabotage(StrEnum):
    """What is done to the primary's mailbox before the count, to show that the count notices."""

    LOSE = "lose"
    DOUBLE = "double"


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How long things take that only wait for the audience, and how long anything may take. Seconds."""

    watch: float = 4.0
    deadline: float = 60.0


class DemoTrouble(Exception):
    """The demo could not be played to its end."""


class Story:
    """One run on a site."""

    def __init__(self, site: Site, traffic: Traffic, board: Board, pace: Pace, sabotage: Sabotage | None) -> None:
        self._site, self._traffic, self._board, self._pace = site, traffic, board, pace
        self._sabotage = sabotage
        self._watcher = Watcher(site, traffic, board)

    def play(self) -> Tally:
        """All acts."""
        try:
            self._flows()
            self._dies()
            self._reads()
            self._returns()
            return self._counts()
        except (SiteTrouble, mailbox.MailboxTrouble) as error:
            raise DemoTrouble(str(error)) from error
        finally:
            self._watcher.stop()
            self._traffic.stop()

    def _flows(self) -> None:
        board = self._board
        board.begin(0)
        self._site.open()
        board.say(f"a primary and the relay in front of it run, as processes, on {HOST}", Kind.STEP)
        self._watcher.start()
        self._traffic.start()
        self._until(lambda: board.now.mode == "normal" and board.now.present > 0, "mail to reach the primary")
        board.say("senders deliver to the relay; each 250 is the primary's own")
        with self._login(self._site.relay.imap_port) as client:
            board.say(f"{USER} logs in through the relay: {mailbox.newest(client)} messages, served by the primary")
        self._pause(self._pace.watch)

    def _dies(self) -> None:
        board = self._board
        board.begin(1)
        self._site.primary.kill()
        board.say("the primary is killed (SIGKILL), with mail on its way", Kind.STEP)
        self._until(lambda: board.now.mode == "standby", "the relay to take over")
        before = len(self._traffic.accepted)
        self._until(lambda: len(self._traffic.accepted) > before + 20, "mail to be accepted in the outage")
        board.say("senders notice nothing: still 250, now into the encrypted spool", Kind.GOOD)

    def _reads(self) -> None:
        board = self._board
        board.begin(2)
        with self._login(self._site.relay.imap_port) as client:
            board.say(f"{USER} logs in with the same password, answered by the relay", Kind.GOOD)
            number, subject = mailbox.read_newest(client)
            board.say(f"opens message {number}: “{subject}”", Kind.GOOD)
            mailbox.idle_until_new(client, number)
            board.say("and is told of new mail while the client idles (IDLE)", Kind.GOOD)
        self._pause(self._pace.watch)

    def _returns(self) -> None:
        board = self._board
        board.begin(3)
        waiting = board.most_waiting
        self._site.primary.start()
        board.say(f"the primary is back; {waiting:,} messages wait for it", Kind.STEP)
        self._until(lambda: board.now.mode in ("recovery", "normal"), "the relay to believe in the primary")
        self._pause(self._pace.watch)
        if not self._traffic.stop():
            raise DemoTrouble("a sender did not get its answer")
        self._until(lambda: board.now.mode == "normal" and board.now.waiting == 0, "the queue to drain")
        board.say("the queue is empty", Kind.GOOD)

    def _counts(self) -> Tally:
        board = self._board
        board.begin(4)
        with self._login(self._site.primary.imap_port) as client:
            if self._sabotage is Sabotage.LOSE:
                mailbox.delete_newest(client)
                board.say("on purpose: one message is deleted from the primary", Kind.BAD)
            elif self._sabotage is Sabotage.DOUBLE:
                mailbox.send_again(client, HOST, self._site.primary.smtp_port, USER)
                board.say("on purpose: one message is delivered to the primary again", Kind.BAD)
            tally = count(
                self._traffic.sent, self._traffic.accepted, mailbox.everything(client), spooled=board.most_waiting
            )
        board.say(f"{tally.present:,} of {tally.accepted:,} read back from the primary by IMAP and compared", Kind.STEP)
        board.begin(len(ACTS))
        return tally

    def _login(self, port: int) -> mailbox.Session:
        return mailbox.session(HOST, port, USER, self._site.password)

    def _pause(self, seconds: float) -> None:
        threading.Event().wait(seconds)

    def _until(self, what: Callable[[], bool], hope: str) -> None:
        """Look again until it is so."""
        deadline = time.monotonic() + self._pace.deadline
        while not what():
            if time.monotonic() > deadline:
                raise DemoTrouble(
                    f"waited {self._pace.deadline:.0f} s for {hope}, in vain\n{self._site.relay.log_tail()}"
                )
            if not self._site.relay.running:
                raise DemoTrouble(f"the relay ended by itself while waiting for {hope}\n{self._site.relay.log_tail()}")
            self._pause(_LOOK)
