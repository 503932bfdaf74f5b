"""Where a new connection belongs: the rule, the rows, and random lives and deaths after which the numbers are right."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from relay.listen.balance import Balance, Rows

WORKERS = 3


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    made = Rows.create(tmp_path / "connections", WORKERS)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("ours", "others", "place"),
    [
        (0, (0, 0), None),
        (1, (1, 1), None),
        (1, (0, 1), 1),  # with the newcomer we would have two, it none
        (1, (0, 0), 1),  # the first of equals
        (5, (4, 3), 2),
        (5, (5, 4), 2),
        (5, (6, 5), None),
        (9, (None, 8), 2),
        (9, (None, None), None),
        (0, (None, 0), None),
    ],
)
def test_a_newcomer_goes_where_there_are_two_fewer(
    rows: Rows, ours: int, others: tuple[int | None, ...], place: int | None
) -> None:
    for worker, held in enumerate(others, start=1):
        if held is not None:
            rows.hold(worker, held)
    assert Balance(rows, 0).place(ours) == place


@given(held=st.lists(st.integers(0, 4), min_size=WORKERS, max_size=WORKERS), where=st.lists(st.integers(0, 2)))
def test_wherever_the_kernel_puts_it_a_newcomer_ends_where_fewest_are(held: list[int], where: list[int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        rows = Rows.create(Path(directory) / "connections", WORKERS)
        for accepted_by in where:
            for worker in range(WORKERS):
                rows.hold(worker, held[worker])
            place = Balance(rows, accepted_by).place(held[accepted_by])
            chosen = accepted_by if place is None else place
            assert held[chosen] == min(held)
            assert place is None or held[chosen] < held[accepted_by]  # nobody is sent away for nothing
            held[chosen] += 1
        rows.close()


def test_what_is_on_its_way_counts_for_all(rows: Rows) -> None:
    """Ten that come at once are not all sent to the one that is empty; whoever looks, sees them."""
    first, second, third = (Balance(rows, worker) for worker in range(WORKERS))
    for balance in (first, second, third):
        balance.begin()
    first.hold(6)
    second.hold(0)
    third.hold(4)
    sent = []
    while (place := first.place(6)) is not None:
        number = first.number(place)
        first.sent(place, number)
        sent.append(place)
    assert sent == [1, 1, 1, 1, 1, 2, 1, 2]
    assert [rows.on_the_way(worker) for worker in range(WORKERS)] == [0, 6, 2]
    assert (second.place(0), third.place(4)) == (None, None)
    for taken in range(1, 7):
        second.hold(taken)
        second.taken(0, taken)
        assert rows.on_the_way(1) == 6 - taken
    assert second.place(6) is None


def test_the_rows_are_those_of_so_many_workers(tmp_path: Path, rows: Rows) -> None:
    with pytest.raises(OSError, match="another number of workers"):
        Rows(tmp_path / "connections", WORKERS + 1)
    with pytest.raises(FileNotFoundError):
        Rows(tmp_path / "elsewhere", WORKERS)


def test_a_new_node_begins_at_zero_and_old_workers_keep_their_file(tmp_path: Path, rows: Rows) -> None:
    rows.hold(2, 7)
    new = Rows.create(tmp_path / "connections", 2)
    assert [new.held(worker) for worker in range(2)] == [None, None]
    assert rows.held(2) == 7
    new.close()


@dataclass
class Worker:
    """One that lives: what it holds, and its socket."""

    balance: Balance
    held: int = 0
    inbox: deque[tuple[int, int]] = field(default_factory=deque)
    unsure: set[int] = field(default_factory=set)
    """Senders one of whose connections waits here, and they died before they wrote that down."""


class Lives(RuleBasedStateMachine):
    """Workers that come and go, and connections that are accepted, sent, taken and closed, in any order."""

    workers = st.integers(0, WORKERS - 1)

    @initialize()
    def all_start(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.rows = Rows.create(Path(self.directory.name) / "connections", WORKERS)
        self.alive: dict[int, Worker] = {}
        for worker in range(WORKERS):
            self.starts(worker)

    @rule(worker=workers)
    def starts(self, worker: int) -> None:
        """Also one that was told to be dead a moment ago: `begin` is all that it needs."""
        if worker not in self.alive:
            self.alive[worker] = Worker(Balance(self.rows, worker))
            self.alive[worker].balance.begin()
            self.alive[worker].balance.hold(0)

    @rule(worker=workers, told=st.booleans())
    def dies(self, worker: int, told: bool) -> None:
        """With all that it holds and all that waits for it. Perhaps nobody has told the others yet."""
        if self.alive.pop(worker, None) is not None and told:
            self.rows.forget(worker)

    @rule(worker=workers)
    def stops(self, worker: int) -> None:
        """It takes what waits, and ends."""
        if worker in self.alive:
            self.alive[worker].balance.close()
            while self.alive[worker].inbox:
                self.takes(worker)
            del self.alive[worker]

    @rule(worker=workers, number=st.integers(1, 5))
    def accepts(self, worker: int, number: int) -> None:
        """So many come at once."""
        for _ in range(number):
            self.accepts_one(worker)

    @rule(worker=workers, number=st.integers(1, 5))
    def dies_while_it_sends(self, worker: int, number: int) -> None:
        """It has sent one, and has not written that down; its successor begins before anybody else does anything."""
        self.accepts(worker, number)
        self.accepts_one(worker, written_down=False)
        self.starts(worker)

    def accepts_one(self, worker: int, *, written_down: bool = True) -> None:
        if worker not in self.alive:
            return
        me = self.alive[worker]
        place = me.balance.place(me.held)
        if place is None or place not in self.alive:  # ECONNREFUSED
            me.held += 1
            me.balance.hold(me.held)
            return
        number = me.balance.number(place)
        self.alive[place].inbox.append((worker, number))
        if written_down:
            me.balance.sent(place, number)
        else:
            self.alive[place].unsure.add(worker)
            self.dies(worker, told=True)

    @rule(worker=workers)
    def takes_all(self, worker: int) -> None:
        """What waits."""
        while worker in self.alive and self.alive[worker].inbox:
            self.takes(worker)

    @rule(worker=workers)
    def takes(self, worker: int) -> None:
        """One of those that wait."""
        if worker in self.alive and (inbox := self.alive[worker].inbox):
            sender, number = inbox.popleft()
            self.alive[worker].held += 1
            self.alive[worker].balance.taken(sender, number)
            self.alive[worker].unsure &= {one for one, _ in inbox}

    @rule(worker=workers)
    def closes(self, worker: int) -> None:
        """One of its clients goes."""
        if worker in self.alive and self.alive[worker].held:
            self.alive[worker].held -= 1
            self.alive[worker].balance.hold(self.alive[worker].held)

    @invariant()
    def what_is_on_the_way_is_what_waits(self) -> None:
        """By the numbers, whoever has died when; too much never, or a worker would be left alone for ever."""
        for number, worker in self.alive.items():
            assert self.rows.on_the_way(number) <= len(worker.inbox)
            if not worker.unsure:
                assert self.rows.on_the_way(number) == len(worker.inbox)

    def teardown(self) -> None:
        if hasattr(self, "rows"):
            self.rows.close()
            self.directory.cleanup()


TestLives = Lives.TestCase
