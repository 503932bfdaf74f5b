"""Settling what nobody knows: the final dot went out and the reply was lost, or whoever waited for it died.

UNKNOWN items enter; each becomes DELIVERED (seen in the primary's mailbox) or PENDING (to be sent again). Our item id
in the Received line that we put in front is the mark, so that a hit is certain.

1. FOUND settles at once. Absence settles only when it was seen at the end of `unknown_wait` seconds in which the
   primary was healthy: until then it may still be delivering from its own queue.
2. Who cannot be looked at is sent to again after the same wait, and counted as possibly twice. Who could not be looked
   at just now (no login, no answer) is looked at again, for six times that wait.
3. The primary takes or refuses a transaction as a whole: where it is recorded who was in it (UNKNOWN recipients), one
   sighting settles all. Where the worker died before it could be recorded, each recipient is settled alone.
4. What is sent again is counted and named as possibly twice, also where it was looked for and not found; it is looked
   for once more right before it goes (`again`).
5. Nothing is held while waiting: leases are given back between looks, so that the operator can step in.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import msgspec

from relay.core.clock import Clock
from relay.core.errors import Damaged, LeaseLost
from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.core.mode import ModeBoard, Service
from relay.core.reply import reply
from relay.core.retry import Backoff
from relay.obs.logs import logger
from relay.obs.metrics import ReplayMetrics, Verification
from relay.primary.imap import Sight
from relay.replay.eyes import HEALTHY, Eyes, look, mark_of, usable
from relay.replay.outcome import settled_state
from relay.replay.settings import ReplaySettings
from relay.spool.queue import Queue, Result
from relay.spool.read import Reader
from relay.spool.replaying import SENT_AGAIN, SentAgain, decode_sent_again, encode
from relay.store.api import IllegalTransition, StoreUnavailable
from relay.store.records import Change, ChangeKind, ItemRow, Lease, Route

_log = logger("replay.verify")

_BETWEEN_LOOKS = Backoff(first=2.0, factor=2.0, most=60.0)
_BATCH = 100
_PATIENCE = 6
"""Times `unknown_wait` in which a mailbox that is usually seen must be seen."""
_AGAIN = reply(451, "4.4.2 The reply was lost and no mailbox holds the message: sent again, it may arrive twice")
_BLINDLY = reply(451, "4.4.2 The reply was lost and not every mailbox can be seen: sent again, it may arrive twice")


class Finding(msgspec.Struct, frozen=True):
    """What the looks at an item come to."""

    recipients: tuple[tuple[int, RecipientState], ...]
    found: bool
    twice: bool
    """Somebody is sent to again who could not be looked at."""


def in_doubt(states: Sequence[RecipientState]) -> tuple[int, ...]:
    """Indexes of those who may or may not have got it."""
    unknown = tuple(i for i, state in enumerate(states) if state is RecipientState.UNKNOWN)
    return unknown or tuple(i for i, state in enumerate(states) if state is RecipientState.WAITING)


def resolve(
    states: Sequence[RecipientState], sights: Mapping[int, Sight], *, waited_out: bool, patience_out: bool
) -> Finding | None:
    """What may be concluded; None = not yet. Pure."""
    doubtful = in_doubt(states)
    found = [i for i in doubtful if sights.get(i) is Sight.FOUND]
    if found and RecipientState.UNKNOWN in states:
        found = list(doubtful)  # invariant 3
    missing = [i for i in doubtful if i not in found]
    if missing and not waited_out:
        return None
    if not patience_out and any(sights.get(i) is Sight.TROUBLE for i in missing):
        return None
    # One mailbox that can be seen and lacks it speaks for a recorded transaction as a whole.
    absent = [i for i in missing if sights.get(i) is Sight.ABSENT]
    sure = len(absent) == len(missing) or (bool(absent) and RecipientState.UNKNOWN in states)
    return Finding(
        tuple((i, RecipientState.DELIVERED if i in found else RecipientState.WAITING) for i in doubtful),
        found=bool(found),
        twice=bool(missing) and not sure,
    )


class _Doubt:
    """What is remembered of an UNKNOWN item between looks; a restart only makes it wait longer."""

    __slots__ = ("looks", "next_look", "waited")

    def __init__(self) -> None:
        self.waited = 0.0
        """Seconds of a healthy primary."""
        self.looks = 0
        self.next_look = float("-inf")


class Verifier:
    """`run` is for the holder of the lease, beside the runner."""

    def __init__(
        self,
        *,
        queue: Queue,
        reader: Reader,
        eyes: Eyes | None,
        board: ModeBoard,
        clock: Clock,
        settings: ReplaySettings,
        metrics: ReplayMetrics,
        route: Route = Route.PRIMARY,
    ) -> None:
        self._queue = queue
        self._reader = reader
        self._eyes = usable(eyes)
        self._board = board
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._route = route
        self._doubts: dict[ItemId, _Doubt] = {}
        self._healthy_at: float | None = None
        self._news = asyncio.Event()

    def heed(self, change: Change) -> None:
        """A handler for the change feed (ITEM and SETTING): looks at once where it may matter."""
        if change.kind is ChangeKind.SETTING or change.new == ItemState.UNKNOWN:
            self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._news.clear()
            try:
                await self.look_around()
            except StoreUnavailable as error:
                _log.warning("verification_put_off", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.upkeep):
                    await self._news.wait()

    async def look_around(self) -> int:
        """One pass over the items in doubt; how many were settled."""
        now = self._clock.monotonic()
        services = (Service.SMTP, Service.IMAP, Service.LOGIN) if self._eyes is not None else (Service.SMTP,)
        if not all(self._board.mode(service) in HEALTHY for service in services):
            self._healthy_at = None
            return 0
        elapsed = now - self._healthy_at if self._healthy_at is not None else 0.0
        self._healthy_at = now
        rows = await self._queue.claim(
            limit=_BATCH, seconds=self._settings.lease_seconds, states=[ItemState.UNKNOWN], route=self._route
        )
        self._remember(rows, elapsed)
        left = list(rows)
        settled = 0
        try:
            for row in rows:
                if self._clock.monotonic() - now > self._settings.lease_seconds / 3:
                    break
                if self._doubts[row.id].next_look <= now and row.lease is not None and await self._look_at(row):
                    left.remove(row)
                    settled += 1
        finally:
            await self._queue.release([row.lease for row in left if row.lease is not None])
        return settled

    def _remember(self, rows: Sequence[ItemRow], elapsed: float) -> None:
        known, self._doubts = self._doubts, {}
        for row in rows:
            doubt = self._doubts[row.id] = known.get(row.id) or _Doubt()
            if row.id in known:
                doubt.waited += elapsed

    async def _look_at(self, row: ItemRow) -> bool:
        doubt = self._doubts[row.id]
        doubt.looks += 1
        doubt.next_look = self._clock.monotonic() + _BETWEEN_LOOKS.delay(doubt.looks, 1.0)
        states = [recipient.state for recipient in row.recipients]
        try:
            sights = await self._sights(row, in_doubt(states))
        except Damaged as damage:
            _log.error("item_quarantined", item=row.id, problem=str(damage), remedy="check the disk and the memory")
            await self._queue.quarantine(row.id, damage)
            return True
        wait = self._settings.unknown_wait
        finding = resolve(
            states, sights, waited_out=doubt.waited >= wait, patience_out=doubt.waited >= _PATIENCE * wait
        )
        if finding is None or row.lease is None:
            return False
        return await self._settle(row, row.lease, states, finding)

    async def _settle(self, row: ItemRow, lease: Lease, states: Sequence[RecipientState], finding: Finding) -> bool:
        after = list(states)
        for index, recipient in finding.recipients:
            after[index] = recipient
        state = settled_state(after)
        try:
            await self._queue.settle(
                lease,
                state,
                [Result(index, recipient) for index, recipient in finding.recipients],
                note=(_BLINDLY if finding.twice else _AGAIN) if state is ItemState.PENDING else None,
                next_attempt_at=self._clock.now() if state is ItemState.PENDING else 0.0,
                counts_as_attempt=False,
            )
        except (LeaseLost, IllegalTransition) as error:
            _log.warning("verification_not_written", item=row.id, error=type(error).__name__)
            return True
        self._doubts.pop(row.id, None)
        result: Verification = "unsure" if finding.twice else "found" if finding.found else "absent"
        self._metrics.verifications[result].inc()
        if finding.twice:
            self._metrics.possibly_twice.inc()
        if state is ItemState.PENDING:
            await self._count_again(row, result)
        _log.info("doubt_settled", item=row.id, result=result, state=state.value)
        return True

    async def _count_again(self, row: ItemRow, result: Verification) -> None:
        """For the operator: absence is no proof, the primary may still have it in its own queue."""
        _log.warning(
            "sent_again", item=row.id, result=result, remedy="it may arrive twice; `relay audit` names all of these"
        )
        store, now = self._queue.store, self._clock.now()
        with contextlib.suppress(StoreUnavailable):  # the ledger has it
            while True:
                before = await store.setting(SENT_AGAIN)
                after = SentAgain(decode_sent_again(before).count + 1, now)
                if await store.swap_setting(SENT_AGAIN, encode(after), expected=before, now=now):
                    return

    async def _sights(self, row: ItemRow, indexes: Sequence[int]) -> dict[int, Sight]:
        message = self._reader.open(row)
        if self._eyes is None:
            return {}
        mark = await mark_of(message)
        sights: dict[int, Sight] = {}
        atomic = any(recipient.state is RecipientState.UNKNOWN for recipient in row.recipients)
        for index in indexes:
            sights[index] = await look(self._eyes, message, index, mark)
            if atomic and sights[index] is Sight.FOUND:
                break
        return sights
