"""One client's message numbers: random interleavings converge, and numbers never lie."""

from __future__ import annotations

from array import array

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from relay.proto.imap import sequence
from relay.proto.imap.seqview import Exists, Expunged, SeqView


class OneMailboxThreeClients(RuleBasedStateMachine):
    """The mailbox, three views of it, and for each the list that its client has built from what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.mailbox: list[int] = [3, 4, 9]
        self.ever = set(self.mailbox)
        self.next_uid = 10
        shared = array("I", self.mailbox)
        self.views = [SeqView(shared) for _ in range(3)]
        self.clients = [list(self.mailbox) for _ in range(3)]
        self.queues: list[list[tuple[str, int]]] = [[], [], []]
        self.saved: list[list[int]] = [[], [], []]

    @rule(which=st.integers(0, 2), missing=st.integers(0, 1))
    def share(self, which: int, missing: int) -> None:
        """With who has the mailbox as it is, or as it was: nobody sees a difference."""
        self.views[which].share(array("I", self.mailbox[missing:]))

    @rule(count=st.integers(1, 3), gap=st.integers(0, 5))
    def arrive(self, count: int, gap: int) -> None:
        for _ in range(count):
            uid = self.next_uid + gap
            self.next_uid = uid + 1
            self.mailbox.append(uid)
            self.ever.add(uid)
            for queue in self.queues:
                queue.append(("arrive", uid))

    @rule(data=st.data())
    def expunge(self, data: st.DataObject) -> None:
        if not self.mailbox:
            return
        uid = data.draw(st.sampled_from(self.mailbox))
        self.mailbox.remove(uid)
        for queue in self.queues:
            queue.append(("vanish", uid))

    @rule(who=st.integers(0, 2), count=st.integers(1, 5), repeat=st.booleans())
    def hear(self, who: int, count: int, repeat: bool) -> None:
        """The feed reaches a session, perhaps the same entry twice."""
        for _ in range(min(count, len(self.queues[who]))):
            kind, uid = self.queues[who].pop(0)
            for _ in range(2 if repeat else 1):
                (self.views[who].arrive if kind == "arrive" else self.views[who].vanish)([uid])

    @rule(who=st.integers(0, 2), expunges=st.booleans())
    def tell(self, who: int, expunges: bool) -> None:
        self._tell(who, expunges)

    @rule(who=st.integers(0, 2), data=st.data())
    def save(self, who: int, data: st.DataObject) -> None:
        """SEARCH RETURN (SAVE)."""
        known = self.clients[who]
        self.saved[who] = sorted(data.draw(st.sets(st.sampled_from(known)))) if known else []
        self.views[who].save(self.saved[who])

    def _tell(self, who: int, expunges: bool) -> None:
        client = self.clients[who]
        for told in self.views[who].tell(expunges=expunges):
            if isinstance(told, Expunged):
                assert expunges
                assert client.pop(told.number - 1) == told.uid
                self.saved[who] = [uid for uid in self.saved[who] if uid != told.uid]
            else:
                assert isinstance(told, Exists)
                # The client learns the UIDs by fetching the new numbers.
                assert told.messages > len(client)
                client.extend(self.views[who].uid(n) for n in range(len(client) + 1, told.messages + 1))

    @invariant()
    def numbers_never_lie(self) -> None:
        for view, client, saved in zip(self.views, self.clients, self.saved, strict=True):
            assert list(view.saved) == saved
            assert view.resolve(sequence.SAVED, by_uid=True) == saved
            assert view.resolve(sequence.SAVED, by_uid=False) == saved
            assert list(view.uids()) == client
            assert client == sorted(set(client))
            for number, uid in enumerate(client, 1):
                assert view.number(uid) == number
                assert view.uid(number) == uid
            everything = sequence.parse(b"1:*")
            assert everything is not None
            assert view.resolve(everything, by_uid=True) == client
            assert view.resolve(everything, by_uid=False) == (client or None)

    def teardown(self) -> None:
        for who, view in enumerate(self.views):
            self.hear(who, 10_000, repeat=False)
            self._tell(who, expunges=True)
            assert self.clients[who] == self.mailbox
            assert not view.dirty


OneMailboxThreeClients.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestInterleavings = OneMailboxThreeClients.TestCase


def test_what_came_and_went_untold_is_never_mentioned() -> None:
    view = SeqView(array("I", [1]))
    view.arrive([2, 3])
    view.vanish([2])
    assert view.tell(expunges=True) == [Exists(2)]
    assert list(view.uids()) == [1, 3]


def test_views_share_one_array_until_one_changes() -> None:
    shared = array("I", [1, 2])
    one, two = SeqView(shared), SeqView(shared)
    one.vanish([1])
    assert one.tell(expunges=True) == [Expunged(1, 1)]
    assert list(two.uids()) == [1, 2]
    assert two.uids() is shared


def test_numbers_out_of_range_are_no_numbers() -> None:
    view = SeqView(array("I", [7]))
    for text in (b"2", b"1:2", b"4294967295"):
        numbers = sequence.parse(text)
        assert numbers is not None
        assert view.resolve(numbers, by_uid=False) is None
        assert view.resolve(numbers, by_uid=True) == []
    star = sequence.parse(b"99:*")
    assert star is not None
    assert view.resolve(star, by_uid=True) == [7]


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)), st.integers(1, 60), st.integers(1, 60))
def test_many_numbers_at_once_are_the_single_ones(known: set[int], asked: set[int], low: int, high: int) -> None:
    view = SeqView(array("I", sorted(known)))
    assert view.numbers(sorted(asked)) == [view.number(uid) for uid in sorted(asked)]
    assert view.within([(low, high)], by_uid=True) == [uid for uid in sorted(known) if low <= uid <= high]
    assert view.within([(low, high)], by_uid=False) == sorted(known)[low - 1 : high]


def test_equal_lists_are_held_once() -> None:
    view, uids = SeqView(array("I", [1, 2])), array("I", [1, 2, 7])
    view.arrive([7])
    view.tell(expunges=True)
    view.share(array("I", [1, 2]))
    assert view.uids() is not uids
    view.share(uids)
    assert view.uids() is uids
    view.arrive([8])
    view.tell(expunges=True)
    assert list(uids) == [1, 2, 7]
