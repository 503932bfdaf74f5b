"""Random lives of two users in their mailboxes: SQLite answers as the model does, and mailboxes keep their promises."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from relay.core.item import ItemState
from relay.store.mailbox_records import (
    CreateFolder,
    DeleteFolder,
    FolderChange,
    Quota,
    RenameFolder,
    Replaced,
    Subscribe,
    Unsubscribe,
    Usage,
)
from relay.store.records import FlagChange, SystemFlag
from tests.store.samples import JOURNAL, NOW, account, item_id, name_of, new_item, new_message, word
from tests.store.two_engines import TwoEngines

USERS = st.sampled_from(["ann", "bob"])
BOXES = st.integers(1, 7)
UIDS = st.lists(st.integers(1, 9), max_size=4)
FLAGS = st.integers(0, 31)
WORDS = st.lists(st.sampled_from(["one", "two", "three"]), max_size=2, unique=True)
NAMES = st.sampled_from("abc").map(name_of)
QUOTAS = st.none() | st.builds(Quota, st.none() | st.integers(0, 12), st.none() | st.integers(0, 1200))


def changes_of(boxes: list[int]) -> st.SearchStrategy[list[FolderChange]]:
    """What `change_folders` may be asked for by somebody who knows these mailboxes."""
    box = st.sampled_from([*boxes * 3, 99])
    one: list[st.SearchStrategy[FolderChange]] = [
        st.builds(CreateFolder, NAMES, st.just(b"sealed"), st.sampled_from([None, "\\Sent"])),
        st.builds(DeleteFolder, box),
        st.builds(Subscribe, NAMES, st.just(b"sealed")),
        st.builds(Unsubscribe, NAMES),
    ]
    renames = st.lists(st.builds(RenameFolder, box, NAMES, st.just(b"renamed")), min_size=1, max_size=2)
    return st.one_of(*(each.map(lambda change: [change]) for each in one), renames, renames)


class UserLives(TwoEngines):
    """Two engines, one story."""

    def __init__(self) -> None:
        super().__init__()
        self.highest: dict[int, int] = {}
        """Mailbox -> the highest UID that was ever seen in it."""
        self.shown: dict[tuple[bytes, bytes], dict[int, int]] = {}
        """(account, name) -> UIDVALIDITY -> the mailbox that showed it."""

    @initialize()
    def begin(self) -> None:
        """With two accounts that have mail and a folder."""
        create = [CreateFolder(name_of("a"), b"sealed")]
        for one in (account("ann"), account("bob")):
            self.both(lambda store, one=one: store.ensure_account(one, now=NOW))  # type: ignore[misc]  # a default binds the loop's value
            self.both(lambda store, mac=one.mac: store.change_folders(mac, 0, create, JOURNAL, now=NOW))  # type: ignore[misc]  # as above
        for _ in range(3):
            self.arrive()

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def arrive(self) -> None:
        self.count += 1
        new, now = new_item(self.count, "ann", "bob", at=self.now, size=self.count), self.now
        self.both(lambda store: store.accept(new, now=now))

    @rule(user=USERS, data=st.data(), stale=st.sampled_from([0, 0, 0, 1]))
    def change_folders(self, user: str, data: st.DataObject, stale: int) -> None:
        now, mac = self.now, account(user).mac
        tree = self.both(lambda store: store.folders(mac))
        changes = data.draw(changes_of([row.id for row in tree.mailboxes]))
        self.both(lambda store: store.change_folders(mac, tree.version + stale, changes, JOURNAL, now=now))

    @rule(box=BOXES, uids=UIDS, add=FLAGS, remove=FLAGS, words=WORDS, others=WORDS, replace=st.booleans())
    def store_flags(
        self, *, box: int, uids: list[int], add: int, remove: int, words: list[str], others: list[str], replace: bool
    ) -> None:
        now = self.now
        added, removed = tuple(map(word, words)), tuple(word(text).mac for text in others)
        changes = [FlagChange(uid, add, remove, added, removed, replace) for uid in uids]
        self.both(lambda store: store.change_flags(box, changes, JOURNAL, now=now))

    @rule(box=BOXES, uids=UIDS)
    def expunge(self, box: int, uids: list[int]) -> None:
        now = self.now
        self.both(lambda store: store.expunge(box, uids, JOURNAL, now=now))

    @rule(box=BOXES, uids=UIDS, goal=BOXES, remove=st.booleans(), quota=QUOTAS)
    def transfer(self, *, box: int, uids: list[int], goal: int, remove: bool, quota: Quota | None) -> None:
        now = self.now
        self.both(lambda store: store.transfer(box, uids, goal, JOURNAL, remove=remove, now=now, quota=quota))

    @rule(
        box=BOXES,
        count=st.integers(0, 3),
        flags=FLAGS,
        words=WORDS,
        quota=QUOTAS,
        replaced=st.none() | st.builds(Replaced, BOXES, st.integers(1, 9), st.just(JOURNAL)),
        again=st.sampled_from([0, 0, 0, 1]),
        staged=st.booleans(),
    )
    def append(
        self,
        *,
        box: int,
        count: int,
        flags: int,
        words: list[str],
        quota: Quota | None,
        replaced: Replaced | None,
        again: int,
        staged: bool,
    ) -> None:
        now = self.now
        numbers = range(self.count + 1 - again, self.count + 1 - again + count)
        self.count += max(0, count - again)
        new = [new_message(n, *words, size=n, flags=flags, chunk_count=1 + staged) for n in numbers]
        for one in new if staged else ():
            ahead = one.item.id
            self.both(lambda store, ahead=ahead: store.put_chunks(ahead, 0, [b"ahead"], now=now))  # type: ignore[misc]  # a default binds the loop's value
        self.both(lambda store: store.append(box, new, JOURNAL, now=now, quota=quota, replaced=replaced))

    @rule(
        number=st.integers(1, 12),
        to=st.sampled_from([ItemState.QUARANTINED, ItemState.PENDING, ItemState.DELIVERED, ItemState.STORED]),
    )
    def move_item(self, number: int, to: ItemState) -> None:
        now = self.now
        self.both(lambda store: store.move(item_id(number), to=to, now=now))

    @rule(ago=st.sampled_from([-1.0, 5.0]))
    def purge(self, ago: float) -> None:
        now = self.now
        self.both(lambda store: store.purge(states=list(ItemState), changed_before=now - ago, now=now, limit=9))

    @rule(user=USERS, through=st.integers(0, 20))
    def forget(self, user: str, through: int) -> None:
        self.both(lambda store: store.forget_journal(account(user).mac, through=through))

    @invariant()
    def promises(self) -> None:
        """Counters equal a recount; a UID never comes back; UIDVALIDITY never names two mailboxes, and grows."""
        for user in ("ann", "bob"):
            mac = account(user).mac
            tree = self.loop.run_until_complete(self.sqlite.folders(mac))
            total = Usage(0, 0)
            for row in () if tree is None else tree.mailboxes:
                there = self.loop.run_until_complete(self.sqlite.messages(row.id))
                recount = (
                    len(there),
                    sum(not one.flags & SystemFlag.SEEN for one in there),
                    sum(bool(one.flags & SystemFlag.DELETED) for one in there),
                    sum(one.size for one in there),
                )
                assert (row.messages, row.unseen, row.deleted, row.size) == recount
                total = Usage(total.messages + row.messages, total.size + row.size)
                assert row.uidnext > self.highest.get(row.id, 0)
                assert all(one.uid < row.uidnext for one in there)
                self.highest[row.id] = row.uidnext - 1
                history = self.shown.setdefault((mac, row.name_mac), {})
                assert history.setdefault(row.uidvalidity, row.id) == row.id
                assert row.uidvalidity == max(history)
            assert self.loop.run_until_complete(self.sqlite.usage(mac)) == total

    @rule()
    def compare(self) -> None:
        self.both(lambda store: store.items(states=list(ItemState)))
        self.both(lambda store: store.changes(after=0, limit=10_000))
        self.both(lambda store: store.journal(after=0, limit=10_000))
        self.both(lambda store: store.counts())
        everything = [item_id(number) for number in range(self.count + 2)]
        self.both(lambda store: store.bodies(everything))
        for user in ("ann", "bob"):
            mac = account(user).mac
            self.both(lambda store, mac=mac: store.folders(mac))  # type: ignore[misc]  # a default binds the loop's value
            self.both(lambda store, mac=mac: store.keywords(mac))  # type: ignore[misc]  # as above
            self.both(lambda store, mac=mac: store.journal(after=3, limit=5, account=mac))  # type: ignore[misc]  # as above
        for box in range(1, 9):
            self.both(lambda store, box=box: store.messages(box))  # type: ignore[misc]  # as above
            self.both(lambda store, box=box: store.messages(box, after_uid=1, up_to=4, limit=2))  # type: ignore[misc]  # as above
            self.both(lambda store, box=box: store.message_rows(box, [5, 1, 2, 2]))  # type: ignore[misc]  # as above


TestUserLives = UserLives.TestCase
TestUserLives.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
