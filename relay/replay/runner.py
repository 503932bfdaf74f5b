"""The queue runner: keeps lanes filled with the oldest due items while everything that must agree agrees.

Messages go while the mode lets the queue go and no operator has paused it; `wake` (mode changed, item queued) makes it
look at once. `run` is called in one worker of all, the holder of the lease `settings.LEASE`. What it claims is leased,
so that a second runner, should there ever be one, could do no harm; what it cannot finish is handed back.

1. At most `gate.width` messages are under way, at most `4 * concurrency` outcomes wait for the disk.
2. Trouble with the connection is evidence for the mode board, once per attempt; it hands the claimed items back.
3. "Drained" is told to the board when the last claim was empty, nothing is under way and nothing waits to be settled;
   or, some seconds later, when the gate is open and everything that is left came in after the recovery began.
4. What goes through the gate as a canary is named in the store, so that it is looked for (`canaries`); one that is seen
   opens the gate at once.
5. At the end nothing is cut between a final dot and its reply, for `grace` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

import msgspec

from relay.core.clock import Clock
from relay.core.item import ItemState
from relay.core.mode import REPLAYS, Mode, ModeBoard, Service, Signal
from relay.obs.logs import logger
from relay.obs.metrics import ReplayMetrics, SpoolMetrics
from relay.obs.records import records
from relay.primary.pacing import Pacer
from relay.replay.again import SecondLook
from relay.replay.attempt import Attempt, Attempts, counts_for_gate
from relay.replay.destination import Destination
from relay.replay.eyes import Eyes, open_now, usable
from relay.replay.gate import Gate, GateSettings, GateState
from relay.replay.gate_report import GateReport
from relay.replay.hold import Holding
from relay.replay.outcome import Decision, Result, Verdict, code_of
from relay.replay.settings import PAUSED, ReplaySettings
from relay.spool.queue import Queue
from relay.spool.read import Reader
from relay.spool.replaying import CANARIES, Canaries, encode
from relay.store.api import StoreUnavailable
from relay.store.records import Change, ChangeKind, ItemRow, Route

_log = logger("replay")
_said = records("replay")
_STEADY = 5.0
"""Seconds of recovery after which it may end although the queue is never empty."""


class Runner:
    """One per worker and route; `run` is for the holder of the lease."""

    def __init__(
        self,
        *,
        queue: Queue,
        reader: Reader,
        destination: Destination,
        board: ModeBoard,
        pacer: Pacer,
        clock: Clock,
        settings: ReplaySettings,
        metrics: ReplayMetrics,
        spool_metrics: SpoolMetrics,
        eyes: Eyes | None = None,
        gate: GateSettings | None = None,
        fraction: Callable[[], float] = random.random,
    ) -> None:
        self._queue = queue
        self._destination = destination
        self._board = board
        self._pacer = pacer
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._eyes = usable(eyes)
        self._canaries = Canaries(0.0)
        self._canaries_of = 0
        """The gate's phase that they belong to."""
        self._spool_metrics = spool_metrics
        self.gate = Gate(gate or GateSettings(canaries=settings.canaries, width=settings.concurrency))
        self._gate_report = GateReport(queue.store, clock)
        self._holding = Holding(queue, clock, settings.lease_seconds)
        self._attempts = Attempts(
            queue=queue,
            reader=reader,
            destination=destination,
            second_look=SecondLook(
                queue=queue, eyes=eyes, board=board, clock=clock, settings=settings, metrics=metrics
            ),
            holding=self._holding,
            clock=clock,
            backoff=settings.backoff,
            fraction=fraction,
            on_damage=lambda _: spool_metrics.quarantined.inc(),
        )
        self._news = asyncio.Event()
        self._ready: deque[Attempt] = deque()
        self._running: dict[asyncio.Task[None], Attempt] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._claiming: asyncio.Task[None] | None = None
        self._empty_since: float | None = None
        self._paused = False
        self._allowed = False
        self._shown = ""
        self._mode: Mode | None = None
        self._recovering_since = 0.0
        self._claims_backlog = True
        """Whether the last claim brought mail from before the recovery; what is claimed comes oldest first."""
        self._look = asyncio.Event()

    def heed(self, change: Change) -> None:
        """A handler for the change feed (ITEM and SETTING): wakes the runner where it may matter."""
        if change.kind is ChangeKind.SETTING:
            if change.new == PAUSED:
                self._look.set()
            self.wake()
        elif change.new == ItemState.PENDING:
            self.wake()
        elif change.new == ItemState.VERIFIED and change.item in self._canaries.items:
            if self._canaries_of == self.gate.phase:
                self.gate.prove()
            self.wake()

    def wake(self) -> None:
        """Something changed that may let a message go: the mode, the queue, the operator's mind."""
        self._empty_since = None
        self._news.set()

    async def run(self) -> None:
        """Until cancelled; may be called again."""
        self.gate.reset()
        self._empty_since = None
        await self._look_after()
        keeper = asyncio.get_running_loop().create_task(self._keep(), name="replay-leases")
        try:
            while True:
                self._news.clear()
                if self._may_go():
                    self._fill()
                elif self._ready:
                    await self._hand_back()
                await self._gate_report.tell(self._shown, self.gate)
                await self._wait()
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await asyncio.shield(self._end())

    # --- may it? ---

    def _may_go(self) -> bool:
        mode = self._board.mode(Service.SMTP)
        if mode is not self._mode:
            if mode is Mode.RECOVERY:
                self.gate.reset()
                self._recovering_since, self._claims_backlog = self._clock.now(), True
            self._mode, self._empty_since = mode, None
        self._allowed = REPLAYS[mode] and not self._paused
        self._show_gate()
        return self._allowed

    async def _keep(self) -> None:
        """Leases and the operator's pause, looked after while attempts go on."""
        while True:
            self._look.clear()
            await self._look_after()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._settings.upkeep, self._settings.lease_seconds / 3)):
                    await self._look.wait()

    async def _look_after(self) -> None:
        try:
            paused = await self._queue.store.setting(PAUSED) == b"1"
            rescued = await self._queue.store.rescue(now=self._clock.now())
        except StoreUnavailable:
            return
        if paused is not self._paused:
            self._paused = paused
            self.wake()
        if rescued:
            self._spool_metrics.rescued.inc(len(rescued))
            _log.warning("attempts_rescued", items=list(rescued[:20]), count=len(rescued))
        await self._holding.renew()

    # --- lanes ---

    def _fill(self) -> None:
        width = self.gate.width(self._clock.monotonic())
        room = len(self._settling) < 4 * self._settings.concurrency
        while room and self._ready and len(self._running) < width:
            self._start(self._ready.popleft())
        low = self.gate.state is GateState.OPEN and len(self._ready) < 2 * width
        idle = not self._ready and not self._running
        if width and (low or idle) and self._claiming is None and self._claim_is_due():
            self._claiming = self._spawn(self._claim(1 if self.gate.state is GateState.CANARY else 4 * width))
            self._claiming.add_done_callback(self._claimed)

    def _claim_is_due(self) -> bool:
        empty = self._empty_since
        return empty is None or self._clock.monotonic() - empty >= self._settings.idle

    async def _claim(self, limit: int) -> None:
        since = self._clock.monotonic()
        self._empty_since = since  # unless rows come, or news that came while we asked takes it back
        try:
            rows = await self._queue.claim(
                limit=limit,
                seconds=self._settings.lease_seconds,
                states=[ItemState.PENDING],
                route=self._destination.route,
            )
        except StoreUnavailable:
            return
        self._holding.add([row.lease for row in rows if row.lease is not None], since)
        self._claims_backlog = any(self._is_backlog(row) for row in rows)
        self._ready.extend(await self._attempts.prepare(rows))
        if rows:
            self._empty_since = None

    def _claimed(self, task: asyncio.Task[None]) -> None:
        self._claiming = None
        self._report(task)

    def _start(self, attempt: Attempt) -> None:
        task = self._spawn(self._carry(attempt))
        self._running[task] = attempt
        self._metrics.in_flight.inc()
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        attempt = self._running.pop(task)
        self._metrics.in_flight.dec()
        if self._report(task):
            # A bug: its lease runs out by itself, and an INTENT is looked into then.
            self._holding.drop(attempt.row.id)
            self.gate.note(False, self._clock.monotonic())

    async def _carry(self, attempt: Attempt) -> None:
        await self._pacer.turn()
        if not self._allowed:
            await self._give_back(attempt)
            return
        phase = self.gate.phase if self.gate.state is GateState.CANARY else None
        decision = await attempt.run()
        if decision is None:
            self._empty_since = None
            return
        self._judge(attempt, decision)
        settling = self._spawn(self._settle(attempt, decision, phase))
        self._settling.add(settling)
        settling.add_done_callback(self._settled)

    async def _settle(self, attempt: Attempt, decision: Decision, phase: int | None) -> None:
        await attempt.settle(decision)
        if decision.state is ItemState.PENDING and not decision.retry:
            self._empty_since = None
        if phase is None or decision.state is not ItemState.DELIVERED or attempt.verdict == Verdict():
            return
        if phase != self._canaries_of:
            looked_for = self._eyes is not None
            self._canaries_of, self._canaries = phase, Canaries(self._clock.now(), looked_for=looked_for)
        if len(self._canaries.items) < self._settings.canaries:
            self._canaries = msgspec.structs.replace(
                self._canaries, items=(*self._canaries.items, attempt.row.id), over=False
            )
            self._metrics.canaries["delivered"].inc()
            with contextlib.suppress(StoreUnavailable):  # then it is not looked for
                await self._queue.store.put_setting(CANARIES, encode(self._canaries), now=self._clock.now())

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        self._report(task)

    def _report(self, task: asyncio.Task[None]) -> bool:
        """Look at the loop again; and a bug must be seen. Whether it was one."""
        self._news.set()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("replay_bug", exc_info=error)
        return error is not None

    def _judge(self, attempt: Attempt, decision: Decision) -> None:
        now = self._clock.monotonic()
        self._metrics.attempts[cast(Any, (self._destination.route.value, decision.result.value))].inc()
        self._metrics.attempt_seconds.observe(attempt.seconds)
        good = counts_for_gate(decision, attempt.verdict)
        if good is not None:
            closings = self.gate.closings
            self.gate.note(good, now, proof=self._settings.proof if open_now(self._eyes, self._board) else 0.0)
            if self.gate.closings > closings:
                self._metrics.trips.inc()
                _log.warning("gate_closed", seconds=self.gate.opens_in(now), reason="errors rise at replay")
        if decision.result in (Result.DELIVERED, Result.DEFERRED):
            self._pacer.note(soft=decision.result is Result.DEFERRED, seconds=attempt.seconds)
        verdict = attempt.verdict
        _said.info(
            "replayed",
            item=attempt.row.id,
            route=self._destination.route,
            result=decision.result,
            code=code_of(verdict),
            seconds=round(attempt.seconds, 3),
        )
        closing = verdict is not None and any(reply.code == 421 for _, reply in verdict.replies)
        if verdict is not None and (verdict.evidence or closing):
            self._board.evidence(Service.SMTP, Signal.FAIL, verdict.trouble or "server is closing")

    # --- waiting ---

    async def _wait(self) -> None:
        """For news, or for the next thing that has a time."""
        now = self._clock.monotonic()
        timeout = self._settings.idle
        if (closed := self.gate.opens_in(now)) is not None:
            timeout = min(timeout, closed)
        self._tell_if_drained()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.001, timeout)):
                await self._news.wait()

    def _is_backlog(self, row: ItemRow) -> bool:
        return row.received_at < self._recovering_since

    def _tell_if_drained(self) -> None:
        """Invariant 3. Mail that comes in now is no backlog: under steady traffic the queue is never empty."""
        if self._mode is not Mode.RECOVERY or not self._allowed:
            return
        if self._empty_since is not None:
            busy = bool(self._running or self._settling or self._ready or self._claiming is not None)
        else:
            left = [attempt.row for attempt in (*self._ready, *self._running.values())]
            short = self._clock.now() - self._recovering_since < _STEADY
            busy = short or self.gate.state is not GateState.OPEN or any(map(self._is_backlog, left))
            busy = busy or self._claims_backlog
        if not busy:
            _log.info("queue_drained")
            self._board.evidence(Service.SMTP, Signal.DRAINED, "the queue is drained")

    def _show_gate(self) -> None:
        shown = "paused" if self._paused else self.gate.state.value if self._allowed else "closed"
        if shown == self._shown or self._destination.route is not Route.PRIMARY:
            return  # the gate that operators watch is the primary's
        self._shown = shown
        for state, gauge in self._metrics.gate.items():
            gauge.set(state == shown)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    async def _hand_back(self) -> None:
        attempts = list(self._ready)
        self._ready.clear()
        await self._give_back(*attempts)

    async def _give_back(self, *attempts: Attempt) -> None:
        self._empty_since = None
        await self._holding.release([attempt.row.id for attempt in attempts])

    async def _end(self) -> None:
        """Invariant 5, then everything that is still ours goes back."""
        if self._claiming is not None:
            await asyncio.wait([self._claiming])
        safe = [task for task, attempt in self._running.items() if not attempt.in_doubt]
        for task in safe:
            task.cancel()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=self._settings.grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        if self._settling:
            await asyncio.wait(self._settling)
        self._ready.clear()
        await self._holding.release_all()
