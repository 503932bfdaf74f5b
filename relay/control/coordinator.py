"""The mode board: which service of the primary may be used, in every worker of the node.

Enters: evidence (probes, live traffic, replay's "drained") and the operator's override. Leaves: a mode per service.

1. `mode` and `evidence` never block. The worker that sees the evidence acts on it at once, before it is written down.
2. A change of mode is written to the store and reaches the other workers through the change feed; a restart finds it.
3. What is written replaces exactly what was read (`swap_setting`): of two workers, or two operators, who change the
   same record at the same moment, the later one's change is applied to what the earlier one wrote, and none is lost.
   Streaks are each worker's own, so an error of one step is put right by the next probe.
4. While STANDBY, only probes count as good news: nothing else talks to the primary then.
5. A service that the primary does not have is always STANDBY.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol, TypeAlias

import msgspec

from relay.core.clock import Clock
from relay.core.mode import Hysteresis, Mode, ModeState, Override, Service, Signal, step
from relay.obs.logs import logger
from relay.obs.metrics import EvidenceSource, ModeMetrics
from relay.store.api import StoreUnavailable
from relay.store.records import Change, ChangeKind

OVERRIDE = "mode.override"
"""Setting: JSON map of service to override; written by `relay mode`."""
HISTORY = "mode.history"
"""Setting: JSON list of the last transitions, oldest first."""
_STATE = "mode.state."
_REACHED = "mode.reached."
_HISTORY_LENGTH = 50
_RETRY_SECONDS = 0.5

_REASON_LENGTH = 200

Watcher: TypeAlias = Callable[[Service, Mode, Mode], None]
"""Called with service, old mode, new mode; on the event loop, must not block."""


class ModeStore(Protocol):
    """The part of `store.api.DirectoryStore` that is needed here."""

    async def setting(self, name: str) -> bytes | None:
        """A value."""
        ...

    async def put_setting(self, name: str, value: bytes, *, now: float) -> None:
        """Durable, announced."""
        ...

    async def swap_setting(self, name: str, value: bytes, *, expected: bytes | None, now: float) -> bool:
        """The same, if the value in force is `expected`."""
        ...


class SettingFeed(Protocol):
    """The part of `spool.feed.Feed` that is needed here."""

    def on_kind(self, kind: ChangeKind, handler: Callable[[Change], None], /) -> Callable[[], None]:
        """Call the handler for every change of a kind; the answer ends it."""
        ...


class Transition(msgspec.Struct, frozen=True):
    """One change of mode, for the operator."""

    at: float
    service: Service
    old: Mode
    new: Mode
    reason: str


class _Owed(msgspec.Struct, frozen=True, eq=False):
    """A change that is in force here and not written yet; `base` is the shared state that it started from."""

    base: ModeState
    signal: Signal
    reason: str
    live: bool


def state_setting(service: Service) -> str:
    """Name of the setting that holds a service's state."""
    return _STATE + service


def decode_overrides(value: bytes | None) -> dict[Service, Override]:
    """The operator's overrides; AUTO where nothing readable was said."""
    said: dict[Service, Override] = {}
    if value is not None:
        try:
            said = msgspec.json.decode(value, type=dict[Service, Override])
        except msgspec.MsgspecError:
            said = {}
    return {service: said.get(service, Override.AUTO) for service in Service}


def encode_overrides(overrides: dict[Service, Override]) -> bytes:
    """The value of the setting OVERRIDE."""
    return msgspec.json.encode(overrides)


async def change_override(store: ModeStore, services: Collection[Service], override: Override, *, now: float) -> None:
    """Set the operator's hand for these services; what another operator sets meanwhile for others stands.

    StoreUnavailable.
    """
    while True:
        before = await store.setting(OVERRIDE)
        after = {**decode_overrides(before), **dict.fromkeys(services, override)}
        if await store.swap_setting(OVERRIDE, encode_overrides(after), expected=before, now=now):
            return


def decode_history(value: bytes | None) -> list[Transition]:
    """Oldest first; empty where nothing readable is there."""
    try:
        return msgspec.json.decode(value, type=list[Transition]) if value is not None else []
    except msgspec.MsgspecError:
        return []


def decode_state(value: bytes | None) -> ModeState:
    """NORMAL where nothing readable was written: the first probe will tell."""
    try:
        return msgspec.json.decode(value, type=ModeState) if value is not None else ModeState()
    except msgspec.MsgspecError:
        return ModeState()


class Coordinator:
    """`core.mode.ModeBoard` of one worker."""

    def __init__(
        self,
        store: ModeStore,
        feed: SettingFeed,
        clock: Clock,
        metrics: ModeMetrics,
        *,
        services: Collection[Service],
        rules: Hysteresis,
    ) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._metrics = metrics
        self._services = frozenset(services)
        self._rules = rules
        self._log = logger("relay.control")
        self._states = dict.fromkeys(Service, ModeState())
        self._shared = dict.fromkeys(Service, ModeState())
        self._overrides = dict.fromkeys(Service, Override.AUTO)
        self._reached: set[Service] = set()
        self._reached_owed: set[Service] = set()
        self._owed: dict[Service, _Owed] = {}
        self._stale = False
        self._wake = asyncio.Event()
        self._watchers: list[Watcher] = []
        self._told: dict[Service, Mode] = {}
        self._task: asyncio.Task[None] | None = None
        self._end_feed: Callable[[], None] | None = None

    async def start(self) -> None:
        """Read what is kept; StoreUnavailable. Evidence may come in from now on."""
        self._end_feed = self._feed.on_kind(ChangeKind.SETTING, self._on_setting)
        await self._reload()
        self._told = {service: self.mode(service) for service in Service}
        self._task = asyncio.get_running_loop().create_task(self._write_and_read(), name="mode-board")

    async def stop(self) -> None:
        """End; a change not written yet is tried once more."""
        if self._end_feed is not None:
            self._end_feed()
            self._end_feed = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            try:
                await self._publish_all()
            except StoreUnavailable:
                self._log.warning("mode_not_kept", reason="the store did not take the last change of mode")

    # --- what everyone else sees ------------------------------------------------------------------------------------

    def mode(self, service: Service) -> Mode:
        """The mode in force, the operator's override included."""
        if service not in self._services:
            return Mode.STANDBY
        match self._overrides[service]:
            case Override.STANDBY:
                return Mode.STANDBY
            case Override.NORMAL:
                return Mode.NORMAL
            case _:
                return self._states[service].mode

    def evidence(self, service: Service, signal: Signal, reason: str) -> None:
        """Passive evidence from live traffic; `reason` is bland and holds no address."""
        if signal is Signal.OK and self._states[service].mode is Mode.STANDBY:
            return  # invariant 4
        self._apply(service, signal, reason, "traffic")

    def probed(self, service: Service, signal: Signal, reason: str) -> None:
        """What a probe found."""
        self._apply(service, signal, reason, "probe")

    def state(self, service: Service) -> ModeState:
        """What the evidence says, whatever the operator overrides."""
        return self._states[service] if service in self._services else ModeState(Mode.STANDBY, reason="not configured")

    def override(self, service: Service) -> Override:
        """The operator's hand."""
        return self._overrides[service]

    def ever_reached(self, service: Service) -> bool:
        """Whether the service has ever answered, on this data directory."""
        return service in self._reached

    def has(self, service: Service) -> bool:
        """Whether the primary has the service."""
        return service in self._services

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` at every change of a mode in force; the answer ends it."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    # --- evidence ---------------------------------------------------------------------------------------------------

    def _apply(self, service: Service, signal: Signal, reason: str, source: EvidenceSource) -> None:
        if service not in self._services:
            return
        if signal is not Signal.DRAINED:
            self._metrics.evidence[(service, source, signal)].inc()
        if signal is Signal.OK and service not in self._reached:
            self._reached.add(service)
            self._reached_owed.add(service)
            self._wake.set()
        old = self._states[service]
        live = source == "traffic"
        new = self._step(service, old, signal, reason, live=live)
        self._states[service] = new
        if new.mode is not old.mode:
            self._owed[service] = _Owed(self._shared[service], signal, reason, live)
            self._wake.set()
            self._tell()

    def _step(self, service: Service, state: ModeState, signal: Signal, reason: str, *, live: bool) -> ModeState:
        return step(
            state,
            signal,
            rules=self._rules,
            drains=service is Service.SMTP,
            now=self._clock.now(),
            reason=reason[:_REASON_LENGTH],
            live=live,
        )

    def _tell(self) -> None:
        for service, old in tuple(self._told.items()):
            new = self.mode(service)
            if new is old:
                continue
            self._told[service] = new
            for watcher in tuple(self._watchers):
                try:
                    watcher(service, old, new)
                except Exception as error:  # one that is told and fails must not keep the others from hearing
                    self._log.exception("mode_watcher_failed", exc_info=error)

    # --- the store --------------------------------------------------------------------------------------------------

    def _on_setting(self, change: Change) -> None:
        if change.new is not None and change.new.startswith((OVERRIDE, _STATE, _REACHED)):
            self._stale = True
            self._wake.set()

    async def _write_and_read(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._publish_all()
                if self._stale:
                    self._stale = False
                    await self._reload()
            except StoreUnavailable:
                self._stale = True
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()

    async def _publish_all(self) -> None:
        for service in tuple(self._owed):
            await self._publish(service)
        for service in tuple(self._reached_owed):
            await self._store.put_setting(_REACHED + service, b"1", now=self._clock.now())
            self._reached_owed.discard(service)

    async def _publish(self, service: Service) -> None:
        """Invariants 2 and 3."""
        owed = self._owed[service]
        while True:
            before = await self._store.setting(state_setting(service))
            stored = decode_state(before)
            alone = stored == owed.base
            mine = (
                self._states[service]
                if alone
                else self._step(service, stored, owed.signal, owed.reason, live=owed.live)
            )
            if mine.mode is stored.mode:
                break
            value = msgspec.json.encode(mine)
            if await self._store.swap_setting(state_setting(service), value, expected=before, now=self._clock.now()):
                await self._record(Transition(mine.since, service, stored.mode, mine.mode, mine.reason))
                break
        if self._owed[service] is owed:
            del self._owed[service]
            self._shared[service] = stored if mine.mode is stored.mode else mine
            self._states[service] = mine
            self._tell()
        else:  # more evidence came in meanwhile; it is published next, on top of this
            self._owed[service] = msgspec.structs.replace(self._owed[service], base=mine)
            self._wake.set()

    async def _record(self, transition: Transition) -> None:
        self._metrics.transitions[(transition.service, transition.new)].inc()
        self._log.warning(
            "mode_changed",
            service=transition.service,
            old=transition.old,
            new=transition.new,
            reason=transition.reason,
        )
        if transition.new is Mode.STANDBY and not self.ever_reached(transition.service):
            self._log.error(
                "primary_never_reached",
                service=transition.service,
                remedy="it has not answered once since this relay was set up: try `relay check`",
            )
        while True:
            before = await self._store.setting(HISTORY)
            value = msgspec.json.encode([*decode_history(before), transition][-_HISTORY_LENGTH:])
            if await self._store.swap_setting(HISTORY, value, expected=before, now=self._clock.now()):
                return

    async def _reload(self) -> None:
        self._overrides = decode_overrides(await self._store.setting(OVERRIDE))
        for service in self._services:
            stored = decode_state(await self._store.setting(state_setting(service)))
            if service not in self._reached and await self._store.setting(_REACHED + service) is not None:
                self._reached.add(service)
            if service in self._owed:
                continue  # `_publish` compares with what is stored
            mine = self._states[service]
            self._shared[service] = stored
            self._states[service] = (
                msgspec.structs.replace(stored, streak=mine.streak, doubts=mine.doubts)
                if stored.mode is mine.mode
                else stored
            )
        self._tell()
