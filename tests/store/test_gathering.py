"""When a commit waits for company."""

from __future__ import annotations

from relay.store.sqlite.gathering import Gathering


class Desk:
    """Jobs that arrive while one waits, so many per slice of the wait."""

    def __init__(self, per_slice: int = 0, most: int = 1000) -> None:
        self.per_slice = per_slice
        self.most = most
        self.queued = 0
        self.slept = 0.0
        self.gathering = Gathering(0.004, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.queued = min(self.most, self.queued + self.per_slice)

    def groups(self, count: int) -> int:
        """Commit so many groups; how many jobs they held."""
        done = 0
        for _ in range(count):
            self.gathering.pause(lambda: self.queued)
            done += 1 + self.queued
            self.gathering.flushed(1 + self.queued)
            self.queued = 0
        return done


def test_one_alone_waits_a_few_times_in_a_hundred() -> None:
    desk = Desk()
    assert desk.groups(320) == 320
    assert desk.slept < 0.004 * 10.5


def test_many_share_as_soon_as_it_was_seen_to_pay() -> None:
    desk = Desk(per_slice=2)
    desk.groups(32)
    assert desk.groups(100) >= 500


def test_two_that_take_turns_wait_no_longer_than_for_each_other() -> None:
    desk = Desk(per_slice=1, most=1)
    desk.groups(64)
    desk.slept = 0.0
    assert desk.groups(100) == 200
    assert desk.slept < 100 * 0.001 + 0.004 * 4


def test_a_crowd_that_is_gone_is_forgotten() -> None:
    desk = Desk(per_slice=10)
    desk.groups(64)
    desk.per_slice = 0
    desk.groups(64)
    desk.slept = 0.0
    desk.groups(100)
    assert desk.slept <= 0.004 * 4
