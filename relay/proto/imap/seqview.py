"""One client's view of message numbers (RFC 9051 2.3.1.2, 7.5.1): what it was told, and what it is yet to be told.

Enters: arrivals and removals as they happen in the mailbox, in any mixture, repeated or not. Leaves: `Told` events, to
be written in their order. Promises:

1. Between two `tell` calls number and UID of every message stay paired: numbers never lie.
2. Applying what was told to what the client knew gives exactly what this object holds.
3. Once nothing changes any more, one `tell(expunges=True)` brings the view to the mailbox's own list.
4. A message that came and went untold is never mentioned.
5. The saved result (`$`) holds only messages that the client knows.

The UIDs lie in one array of 32-bit numbers that several views of a mailbox may share until one of them changes its own.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from relay.proto.imap.sequence import SequenceSet


class Expunged(msgspec.Struct, frozen=True):
    """`* n EXPUNGE`"""

    number: int
    uid: int


class Exists(msgspec.Struct, frozen=True):
    """`* n EXISTS`"""

    messages: int


Told: TypeAlias = Expunged | Exists


class SeqView:
    """Message numbers of one selected mailbox in one session."""

    def __init__(self, uids: array[int]) -> None:
        self._uids = uids
        self._shared = True
        self._gone: set[int] = set()
        self._arrived: list[int] = []
        self._saved: array[int] = array("I")

    def __len__(self) -> int:
        """Messages the client knows of, those gone but untold included."""
        return len(self._uids)

    @property
    def largest_uid(self) -> int:
        """The highest UID the client knows of; 0 for none."""
        return self._uids[-1] if self._uids else 0

    @property
    def newest_uid(self) -> int:
        """The highest UID this view has heard of, told or not."""
        return self._arrived[-1] if self._arrived else self.largest_uid

    @property
    def dirty(self) -> bool:
        """Whether something is yet to be told."""
        return bool(self._gone or self._arrived)

    # -- what happens in the mailbox -------------------------------------------------------------------------------

    def arrive(self, uids: Iterable[int]) -> None:
        """Messages appeared. UIDs ascend (RFC 9051 2.3.1.1): what is not above all others is a repetition."""
        for uid in uids:
            if uid > self.newest_uid:
                self._arrived.append(uid)

    def vanish(self, uids: Iterable[int]) -> None:
        """Messages were removed; unknown ones are passed over."""
        for uid in uids:
            if self.number(uid):
                self._gone.add(uid)
            else:
                at = bisect_left(self._arrived, uid)
                if at < len(self._arrived) and self._arrived[at] == uid:
                    del self._arrived[at]

    # -- what the client is told -----------------------------------------------------------------------------------

    def tell(self, *, expunges: bool) -> list[Told]:
        """What may be told now, in order; afterwards the view counts it as known."""
        told: list[Told] = list(self.tell_expunged()) if expunges else []
        if self._arrived:
            self._own()
            self._uids.extend(self._arrived)
            self._arrived.clear()
            told.append(Exists(len(self._uids)))
        return told

    def tell_expunged(self) -> list[Expunged]:
        """Only the removals: from the highest number down, so that no number shifts under a later one."""
        if not self._gone:
            return []
        self._own()
        told = []
        for uid in sorted(self._gone, reverse=True):
            at = bisect_left(self._uids, uid)
            del self._uids[at]
            told.append(Expunged(at + 1, uid))
        # RFC 5182 2.1: what is expunged is no longer in the saved result.
        self._saved = array("I", (uid for uid in self._saved if uid not in self._gone))
        self._gone.clear()
        return told

    # -- the saved result ------------------------------------------------------------------------------------------

    def save(self, uids: Iterable[int]) -> None:
        """What `$` names from now on (RFC 5182 2.1), ascending; nothing after a search that failed."""
        self._saved = array("I", uids)

    @property
    def saved(self) -> array[int]:
        """UIDs that `$` names, ascending, those included that are gone but untold; not to be changed."""
        return self._saved

    def share(self, uids: array[int]) -> None:
        """Hold this list instead of an equal one of its own; nothing where they differ."""
        if not self._shared and uids == self._uids:
            self._uids, self._shared = uids, True

    def _own(self) -> None:
        if self._shared:
            self._uids = array("I", self._uids)
            self._shared = False

    # -- numbers ---------------------------------------------------------------------------------------------------

    def number(self, uid: int) -> int:
        """The message number of a UID; 0 when the client does not know it."""
        at = bisect_left(self._uids, uid)
        return at + 1 if at < len(self._uids) and self._uids[at] == uid else 0

    def numbers(self, uids: Iterable[int]) -> list[int]:
        """`number` of each of ascending UIDs: neighbours cost no search."""
        found: list[int] = []
        known, at = self._uids, 0
        for uid in uids:
            if not (at < len(known) and known[at] == uid):
                at = bisect_left(known, uid, at)
            if at < len(known) and known[at] == uid:
                at += 1
                found.append(at)
            else:
                found.append(0)
        return found

    def uid(self, number: int) -> int:
        """The UID behind a number; IndexError outside `1..len`."""
        if not 1 <= number <= len(self._uids):
            raise IndexError(number)
        return self._uids[number - 1]

    def uids(self) -> array[int]:
        """All UIDs the client knows, ascending; not to be changed."""
        return self._uids

    def is_gone(self, uid: int) -> bool:
        """Removed already, but the client has not been told."""
        return uid in self._gone

    def resolve(self, numbers: SequenceSet, *, by_uid: bool) -> list[int] | None:
        """UIDs named by a set, ascending; None when a message number is out of range (RFC 9051 9 seq-number: BAD).

        UIDs that do not exist are passed over in silence (RFC 9051 6.4.9); `$` names the same messages either way.
        """
        if numbers.saved:
            return list(self._saved)
        if by_uid:
            return numbers.select(self._uids)
        spans = numbers.resolve(len(self._uids))
        if not spans or spans[-1][1] > len(self._uids):
            return None
        return self.within(spans, by_uid=False)

    def within(self, spans: Iterable[tuple[int, int]], *, by_uid: bool) -> list[int]:
        """UIDs in ascending, disjoint spans; what is not there is passed over."""
        chosen: list[int] = []
        for low, high in spans:
            if by_uid:
                chosen.extend(self._uids[bisect_left(self._uids, low) : bisect_right(self._uids, high)])
            else:
                chosen.extend(self._uids[low - 1 : high])
        return chosen
