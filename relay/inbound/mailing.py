"""One mail transaction of a sender: MAIL, RCPT*, content (RFC 5321 3.3), up or down.

Commands enter, the reply that the sender gets leaves. The same path with and without the primary: what it does not
answer (it is away, or has lost contact, or quarrels with us) the recipient directory decides.

1. A recipient is asked of the primary where one is there; its 5xx is the sender's 5xx. Its 4xx is passed on, unless
   the recipient is known to exist: then the message is taken here and the queue delivers it.
2. After `commit` the message is ours: the sender hears 5xx only when the primary refused it and that was recorded.
3. From `commit` to the recorded outcome nothing is interrupted, not even by the sender hanging up. A commit keeps that
   by itself; what follows from it with the primary runs in `Finishing`.
4. Recipients taken here while others were taken by the primary stay WAITING when it takes the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable

import msgspec

from relay.accounts.directory import Verdict
from relay.core.envelope import Envelope, Origin, Recipient, canonical, is_postmaster
from relay.core.errors import Damaged, LeaseLost, NotNow
from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.core.mode import USES_PRIMARY
from relay.core.reply import Reply
from relay.inbound import replies
from relay.inbound.cutthrough import Answered, Attempt, Lost, Outcome, Unsure
from relay.inbound.keeping import Keeping
from relay.inbound.ports import Draft, Services
from relay.obs.logs import logger
from relay.obs.metrics import CutThrough
from relay.proto.smtp.command import MailCommand
from relay.spool.queue import Result
from relay.store.records import Accepted, Lease

_log = logger("inbound.mailing")
_MOMENT = 0.001
"""Seconds."""


class Taken(msgspec.Struct, frozen=True):
    """A recipient that we said 250 to; `there` = the primary did."""

    recipient: Recipient
    there: bool


class Finished(msgspec.Struct, frozen=True):
    """The end of a transaction: what the sender is told, and the item to confirm when it has heard that."""

    reply: Reply
    accepted: Accepted | None = None
    delivered: bool = False
    """The primary has it."""


class _NotOurs(Exception):
    """Another has it: the same message came before, or the lease may have run out."""


class Mailing:
    """Use it from MAIL to the final reply or `abort`."""

    def __init__(self, services: Services, command: MailCommand, origin: Origin) -> None:
        self.command = command
        self.taken: list[Taken] = []
        self._services = services
        self._origin = origin
        self._attempt: Attempt | None = None
        pool, board, service = services.pool, services.board, services.service
        if pool is not None and USES_PRIMARY[board.mode(service)]:
            self._attempt = Attempt(pool, board, self._envelope(()), origin, command.size, service=service)
        self._seen: set[str] = set()
        self._rest_timer: asyncio.TimerHandle | None = None

    async def rcpt(self, recipient: Recipient) -> Reply:
        """RCPT."""
        address = recipient.address
        refusal = self._services.policy.refuses(address, login=self._origin.login)
        if refusal is not None:
            return refusal
        if len(self.taken) >= self._services.settings.limits.recipients:
            return replies.TOO_MANY_RECIPIENTS  # RFC 5321 4.5.3.1.10
        if address in self._seen:
            return replies.RCPT_OK
        answer = await self._ask(recipient)
        if answer is not None and answer.positive:
            return self._take(recipient, there=True, answer=answer)
        if is_postmaster(address):
            return self._take(recipient, there=False)  # RFC 5321 4.5.1
        if answer is not None and answer.permanent:
            return answer
        verdict = await self._verdict(address)
        if answer is not None and verdict is not Verdict.KNOWN:
            return answer
        if verdict in (Verdict.KNOWN, Verdict.UNKNOWN_ACCEPT):
            return self._take(recipient, there=False)
        return replies.NO_SUCH_RECIPIENT if verdict is Verdict.NO_SUCH else replies.UNKNOWN_FOR_NOW

    def begin(self) -> Draft:
        """The content follows: where it goes."""
        return self._services.intake.begin()

    def receiving(self) -> None:
        """The content begins to come: a slow sender must not occupy a connection to the primary, nor let it expire."""
        if self._attempt is not None and self._rest_timer is None:
            wait = self._services.settings.deadlines.rest
            self._rest_timer = asyncio.get_running_loop().call_later(wait, self._attempt.rest)
            if any(taken.there for taken in self.taken):
                self._attempt.data_follows()

    async def finish(self, draft: Draft, held: tuple[bytes, ...] | None) -> Finished:
        """The content is complete: commit, hand over, answer. Invariant 3 holds when the caller is cancelled."""
        if self._attempt is None:
            return await self._finish(draft, held)  # a commit ends by itself, and nothing follows from it
        return await self._services.finishing.run(self._finish_shielded(draft, held))

    async def _finish_shielded(self, draft: Draft, held: tuple[bytes, ...] | None) -> Finished:
        try:
            self._awake()
            return await self._finish(draft, held)
        finally:
            self.abort()

    async def _finish(self, draft: Draft, held: tuple[bytes, ...] | None) -> Finished:
        services, attempt = self._services, self._attempt
        asked = attempt is not None and attempt.alive and any(taken.there for taken in self.taken)
        envelope = self._envelope(taken.recipient for taken in self.taken)
        origin = msgspec.structs.replace(self._origin, received_at=services.clock.now())
        if attempt is None or not asked:
            try:
                accepted = await draft.commit(envelope, origin, intent=False)
            except NotNow:
                return Finished(replies.TRY_LATER)
            return Finished(replies.queued(accepted.item), accepted)
        trace = services.trace(envelope, origin, draft.item)
        committing = asyncio.ensure_future(draft.commit(envelope, origin, intent=True))
        content = _blocks(held) if held is not None else self._from_spool(draft.item, committing)
        outcome = await self._hand_over(attempt, content, trace, committing)
        try:
            accepted = await committing
        except NotNow:
            return Finished(replies.TRY_LATER)
        if accepted.lease is None:
            # Sent again while the primary still judges the first one: it may be refused, so nothing is promised yet.
            judged = accepted.state is not ItemState.INTENT
            return Finished(replies.queued(accepted.item), accepted) if judged else Finished(replies.TRY_LATER)
        return await self._settle(accepted, outcome)

    async def _settle(self, accepted: Accepted, outcome: Outcome) -> Finished:
        """Record what the primary said, and say it."""
        services = self._services
        assert accepted.lease is not None
        delivered = isinstance(outcome, Answered) and outcome.reply.positive
        recording = self._record(accepted.lease, outcome, patient=delivered)
        if isinstance(outcome, Answered) and delivered:
            # The item is durable and so is the intent: what a crash leaves unrecorded is looked for in the primary,
            # whether the sender has heard of it or not. So the sender need not wait for this commit.
            services.finishing.start(_afterwards(recording))
            return Finished(replies.with_code(outcome.reply), accepted, delivered=True)
        if await recording and isinstance(outcome, Answered):
            services.intake.confirm(accepted.item)  # should it come again, it is another message
            return Finished(replies.with_code(outcome.reply))
        return Finished(replies.queued(accepted.item), accepted)

    def abort(self) -> None:
        """RSET, a new MAIL, or the end of the connection. Idempotent."""
        self._awake()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.close()

    def _awake(self) -> None:
        timer, self._rest_timer = self._rest_timer, None
        if timer is not None:
            timer.cancel()

    def _take(self, recipient: Recipient, *, there: bool, answer: Reply = replies.RCPT_OK) -> Reply:
        self.taken.append(Taken(recipient, there))
        self._seen.add(recipient.address)
        return answer

    async def _ask(self, recipient: Recipient) -> Reply | None:
        if self._attempt is None or not (self._attempt.alive or self._attempt.sender_refused):
            return None
        answer = await self._attempt.rcpt(recipient)
        if answer is None:
            return None
        if not answer.transient and self._attempt.sender_refused is None:
            await self._learn(canonical(recipient.address), answer)
        return replies.with_code(answer)

    async def _learn(self, address: str, answer: Reply) -> None:
        try:
            await self._services.directory.learn(address, answer)
        except NotNow:
            return  # the next answer is learned again

    async def _verdict(self, address: str) -> Verdict:
        try:
            return await self._services.directory.verdict(canonical(address))
        except NotNow:
            return Verdict.NOT_YET

    async def _from_spool(self, item: ItemId, committing: asyncio.Future[Accepted]) -> AsyncIterator[bytes]:
        await _committed(committing)
        async for block in self._services.read(item):
            yield block

    async def _hand_over(
        self,
        attempt: Attempt,
        content: AsyncIterator[bytes],
        trace: bytes,
        committing: asyncio.Future[Accepted],
    ) -> Outcome:
        """Give the content to the primary while it is committed here; its end follows the commit (promise 3)."""
        services = self._services

        start = services.clock.monotonic()
        try:
            there = self._envelope(taken.recipient for taken in self.taken if taken.there)
            keeping = Keeping(services.queue, services.clock, lambda: _lease(committing), services.lease_seconds)
            async with keeping:
                outcome = await attempt.data(there, content, trace, lambda: _may_end(committing, keeping))
        except (_NotOurs, NotNow):
            return Lost()  # `finish` says why
        except Damaged as damage:  # met while reading, so before the end of data: the connection was cut
            _log.error("cut_through_damaged", exc_info=damage)
            return Lost()
        except Exception as bug:  # perhaps after the end of data: looked for in the primary, not sent again
            _log.exception("cut_through_failed", exc_info=bug)
            return Unsure()
        services.metrics.cut_through_seconds.observe(services.clock.monotonic() - start)
        return outcome

    async def _record(self, lease: Lease, outcome: Outcome, *, patient: bool) -> bool:
        """Settle the item; False = it could not be recorded, and the lease's end makes it UNKNOWN."""
        services = self._services
        state, there, reply, retry_at = self._result(outcome)
        refused = state is ItemState.REFUSED
        # A refusal is the sender's answer for all recipients (RFC 5321 4.2.5): also those taken here are not owed.
        results = [Result(index, there, reply) for index, taken in enumerate(self.taken) if taken.there or refused]
        services.metrics.cut_through[_counted(state, reply)].inc()
        try:
            await services.queue.settle(lease, state, results, note=reply, next_attempt_at=retry_at, patient=patient)
        except (LeaseLost, NotNow) as trouble:
            _log.warning("cut_through_not_recorded", item=lease.item, detail=str(trouble))
            return False
        return True

    def _result(self, outcome: Outcome) -> tuple[ItemState, RecipientState, Reply | None, float]:
        """State of the item, state of the recipients that the primary took, its reply, when to try again."""
        now = self._services.clock.now()
        if isinstance(outcome, Unsure):
            return ItemState.UNKNOWN, RecipientState.UNKNOWN, None, now
        if isinstance(outcome, Lost):
            wait = 0.0 if outcome.reply is None else self._services.settings.deadlines.retry
            return ItemState.PENDING, RecipientState.WAITING, outcome.reply, now + wait
        if not outcome.reply.positive:
            return ItemState.REFUSED, RecipientState.REFUSED, outcome.reply, 0.0
        all_there = all(taken.there for taken in self.taken)
        state = ItemState.DELIVERED if all_there else ItemState.PENDING
        return state, RecipientState.DELIVERED, outcome.reply, now

    def _envelope(self, recipients: Iterable[Recipient]) -> Envelope:
        command = self.command
        return Envelope(
            reverse_path=command.reverse_path,
            recipients=tuple(recipients),
            body=command.body,
            smtputf8=command.smtputf8,
            ret=command.ret,
            envid=command.envid,
        )


async def _afterwards(work: Awaitable[object]) -> None:
    """First the reply leaves; what nobody waits for comes a moment later."""
    await asyncio.sleep(_MOMENT)
    await work


async def _may_end(committing: asyncio.Future[Accepted], keeping: Keeping) -> None:
    """Before the final dot: the item is durable, and nobody else is about to settle it."""
    await _committed(committing)
    if not keeping.in_force:
        _log.warning("cut_through_too_late", item=committing.result().item)
        raise _NotOurs


async def _committed(committing: asyncio.Future[Accepted]) -> None:
    if (await committing).lease is None:  # a cancelled wait does not undo it (store contract 3)
        raise _NotOurs


def _lease(committing: asyncio.Future[Accepted]) -> Lease | None:
    return committing.result().lease if committing.done() and committing.exception() is None else None


def _counted(state: ItemState, reply: Reply | None) -> CutThrough:
    if state is ItemState.UNKNOWN:
        return "unknown"
    if reply is None:
        return "no_contact"
    if reply.positive:
        return "delivered"
    return "refused" if state is ItemState.REFUSED else "deferred"


async def _blocks(held: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for block in held:
        yield block
