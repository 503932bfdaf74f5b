"""The life of one attempt, from a claimed row to what is written down about it.

    open -> MAIL, RCPT -> content -> final dot -> reply  |  settle
       '-- [intend] ------------^               lane free -^

1. `intend` is durable before the final dot, and only under a lease that is in force: from the dot on, whoever finds the
   item finds INTENT and asks the primary before sending again. For a small message it is written while the primary
   answers the envelope; for a large one at its end, because a crash on the way would put it in doubt for nothing.
2. The lane is free at the reply; the settlement follows by itself, so that the next MAIL does not wait for our disk.
3. What cannot be settled (lost lease, unavailable store) stays INTENT and becomes UNKNOWN by `rescue`: never "not
   delivered" by default.
4. Who was in doubt and turns out to have the message is not sent to again (`again`).
5. Damage cuts the connection before the dot, quarantines the item and tells the operator.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from relay.core.clock import Clock
from relay.core.errors import Damaged, LeaseLost
from relay.core.ids import ItemId
from relay.core.item import LEGAL, ItemState, RecipientState
from relay.core.reply import reply
from relay.core.retry import Backoff
from relay.obs import crash
from relay.obs.logs import logger
from relay.replay.again import SecondLook
from relay.replay.destination import SMALL, Destination
from relay.replay.hold import Holding
from relay.replay.outcome import OPEN, Decision, Result, Verdict, decide
from relay.spool.queue import Queue
from relay.spool.queue import Result as RecipientOutcome
from relay.spool.read import Reader
from relay.store.api import IllegalTransition, StoreUnavailable
from relay.store.records import ItemRow, Sealed

_log = logger("replay")

DELIVERED = RecipientState.DELIVERED
_SEEN = reply(250, "2.0.0 Was in the mailbox already: not sent again")


class Attempt:
    """One message on its way."""

    def __init__(self, row: ItemRow, body: Sealed | None, attempts: Attempts) -> None:
        self.row = row
        self._body = body
        self.seconds = 0.0
        self.in_doubt = False
        """The final dot may be out: to be waited for, not cancelled."""
        self.verdict: Verdict | None = None
        self._intent: asyncio.Task[None] | None = None
        self._shared = attempts

    async def run(self) -> Decision | None:
        """Carry it out; None when there is nothing to settle (damaged, lease lost, store unavailable)."""
        shared, row = self._shared, self.row
        began = shared.clock.monotonic()
        wanted = [recipient.index for recipient in row.recipients if recipient.state in OPEN]
        try:
            message = shared.reader.open(row, self._body)
            there = await shared.second_look.there(row, message, wanted)
            left = [index for index in wanted if index not in there]
            self.verdict = Verdict()
            if left:
                if row.size <= SMALL:
                    self._begin_intent()
                self.verdict = await shared.destination.attempt(message, left, self._before_dot)
        except Damaged as damage:
            await self._quarantine(damage)
            return None
        except (LeaseLost, StoreUnavailable, IllegalTransition) as error:
            _log.warning("attempt_given_up", item=row.id, error=type(error).__name__)
            await self._undo()
            return None
        except asyncio.CancelledError:
            if not self.in_doubt:
                await self._undo()
            raise
        finally:
            self.in_doubt = False
            self.seconds = shared.clock.monotonic() - began
        states = [DELIVERED if recipient.index in there else recipient.state for recipient in row.recipients]
        decision = decide(states, self.verdict)
        if not there or decision.untouched:
            return decision
        seen = tuple((index, DELIVERED, _SEEN) for index in sorted(there))
        note = decision.note or (None if left else _SEEN)
        return msgspec.structs.replace(decision, recipients=(*seen, *decision.recipients), note=note)

    async def settle(self, decision: Decision) -> None:
        """Write down what it came to."""
        shared, item = self._shared, self.row.id
        if decision.untouched and self._intent is None:
            await shared.holding.release([item])
            return
        delay = 0.0
        if decision.state is ItemState.PENDING and decision.retry:
            attempt = self.row.attempts + 1
            delay = shared.backoff.delay(min(attempt, 63), shared.fraction())
        try:
            if self._intent is not None or decision.state not in LEGAL[ItemState.PENDING]:
                await self._intended()
            lease = shared.holding.lease(item)
            if lease is None:
                raise LeaseLost("lease ran out before the outcome was written down")  # noqa: TRY301
            crash.point("replay.before_settle")
            await shared.queue.settle(
                lease,
                decision.state,
                [RecipientOutcome(index, state, reply) for index, state, reply in decision.recipients],
                note=decision.note,
                next_attempt_at=shared.clock.now() + delay if decision.state is ItemState.PENDING else 0.0,
                counts_as_attempt=decision.counts,
            )
            crash.point("replay.after_settle")
        except (LeaseLost, StoreUnavailable) as error:
            _log.warning("outcome_not_written", item=item, result=decision.result.value, error=type(error).__name__)
        finally:
            shared.holding.drop(item)
        if decision.state is ItemState.HELD:
            code = decision.note.code if decision.note else 0
            _log.warning("item_held", item=item, code=code, reason="it was refused for good")

    async def _before_dot(self) -> None:
        self.in_doubt = True
        await self._intended()
        if self._shared.holding.lease(self.row.id) is None:
            raise LeaseLost("lease ran out before the final dot")
        crash.point("replay.before_dot")

    def _begin_intent(self) -> asyncio.Task[None]:
        self._intent = asyncio.get_running_loop().create_task(self._intend())
        self._intent.add_done_callback(_seen)
        return self._intent

    async def _intend(self) -> None:
        lease = self._shared.holding.lease(self.row.id)
        if lease is None:
            raise LeaseLost("lease ran out before the attempt")
        await self._shared.queue.intend([lease])

    async def _intended(self) -> None:
        """Once for all transactions of the attempt."""
        await asyncio.shield(self._intent or self._begin_intent())

    async def _undo(self) -> None:
        """No dot was sent: take the intent back, if it was written."""
        shared, item = self._shared, self.row.id
        lease = shared.holding.lease(item)
        if self._intent is not None and lease is not None:
            try:
                await self._intended()
                await shared.queue.settle(
                    lease, ItemState.PENDING, next_attempt_at=shared.clock.now(), counts_as_attempt=False
                )
                shared.holding.drop(item)
            except (StoreUnavailable, LeaseLost, IllegalTransition):
                pass  # not written, or INTENT until the lease ends and UNKNOWN then
        await shared.holding.release([item])

    async def _quarantine(self, damage: Damaged) -> None:
        shared, item = self._shared, self.row.id
        _log.error("item_quarantined", item=item, problem=str(damage), remedy="check the disk and the memory")
        shared.on_damage(item)
        try:
            await shared.queue.quarantine(item, damage)
        except (StoreUnavailable, LeaseLost, IllegalTransition, KeyError):
            _log.warning("quarantine_not_written", item=item)
        finally:
            shared.holding.drop(item)


def _seen(intent: asyncio.Task[None]) -> None:
    """Whoever waits for it gets its error; where nobody does any more, it is no news."""
    if not intent.cancelled():
        intent.exception()


class Attempts:
    """What all attempts of a runner share."""

    def __init__(
        self,
        *,
        queue: Queue,
        reader: Reader,
        destination: Destination,
        second_look: SecondLook,
        holding: Holding,
        clock: Clock,
        backoff: Backoff,
        fraction: Callable[[], float],
        on_damage: Callable[[ItemId], None],
    ) -> None:
        self.queue = queue
        self.reader = reader
        self.destination = destination
        self.second_look = second_look
        self.holding = holding
        self.clock = clock
        self.backoff = backoff
        self.fraction = fraction
        self.on_damage = on_damage

    async def prepare(self, rows: Sequence[ItemRow]) -> list[Attempt]:
        """An attempt for each claimed row. Small bodies are read here, all at once: no lane waits for the disk."""
        try:
            bodies = await self.reader.ahead(rows)
        except StoreUnavailable:
            bodies = {}  # each reads for itself, and says what is wrong
        return [Attempt(row, bodies.get(row.id), self) for row in rows]


def counts_for_gate(decision: Decision, verdict: Verdict | None) -> bool | None:
    """Whether the gate hears good or bad of it; None when it says nothing about the primary: limits on our side, or
    nothing had to be sent."""
    if verdict == Verdict():
        return None
    if decision.result is Result.NO_CONTACT:
        return False if verdict is not None and verdict.evidence else None
    return decision.result is Result.DELIVERED
