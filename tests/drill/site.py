"""The place of the drill: a real primary (Postfix, and Dovecot on its Maildirs), a relay in front of it, senders.

In: seed, sizes and what to break. Out: a `Result` whose account comes from the primary's own files.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import signal
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.drill.account import Account, audit
from tests.drill.senders import Senders
from tests.peers import workdir
from tests.peers.certs import Authority
from tests.peers.dovecot import Dovecot, DovecotSettings
from tests.peers.faultproxy import FaultProxy
from tests.peers.postfix import Postfix, PostfixSettings
from tests.peers.process import PeerFailed
from tests.peers.relay import Relay, RelaySettings

_TICK: Final = 0.05
_QUICK: Final[Mapping[str, Mapping[str, Any]]] = {
    "failover": {"probe_interval": "300ms", "timeout": "1s"},
    "replay": {"first_delay": "200ms", "most_delay": "1s", "unknown_wait": "5s", "final_timeout": "5s"},
}
"""Waits that suit a drill; only their length differs from production."""
_PRIMARY_TIMEOUTS: Final = {"open_timeout": "2s", "command_timeout": "2s", "final_timeout": "2s"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of it."""

    messages: int
    senders: int = 20
    seed: int = 1
    minutes: float = 30.0
    """A scenario that is not through by then has failed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One line of the table, and why it failed if it did."""

    name: str
    account: Account
    problems: tuple[str, ...]
    """Beside the account: permanent refusals, broken protocol, a point that was never reached."""
    events: str
    """What was broken, and how often."""
    seconds: float
    rate: float
    """Letters promised per second while the senders ran."""
    log: str = ""
    """The relay's last warnings and errors, where the scenario failed."""

    @property
    def clean(self) -> bool:
        """Whether nothing at all went wrong."""
        return self.account.clean and not self.problems


class Site:
    """`async with Site(plan) as site`: everything runs. Breaking is the scenario's, healing and counting is here."""

    def __init__(
        self,
        plan: Plan,
        *,
        workers: int = 1,
        proxied: bool = False,
        data_dir: Path | None = None,
        config: Mapping[str, Mapping[str, Any]] | None = None,
        primary_up: bool = True,
    ) -> None:
        self.plan = plan
        self.chance = random.Random(plan.seed)
        self.deaths = 0
        """How often the relay's leader died and was started again by the keeper."""
        self._workers = workers
        self._proxied = proxied
        self._data_dir = data_dir
        self._config = config or {}
        self._primary_up = primary_up
        self._started_at = time.monotonic()
        self._stack = contextlib.AsyncExitStack()
        self.promised: set[int] = set()
        self.started: set[int] = set()
        self._problems: list[str] = []
        self._sending_seconds = 0.0
        self._switching = asyncio.Lock()
        """A primary is not killed while it is being started."""

    async def __aenter__(self) -> Site:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        directory = workdir.make("site")
        self._stack.callback(workdir.remove, directory)
        self.primary = Postfix(
            PostfixSettings(
                # Ids that are never used again, so that two copies of one are told from two acceptances. Mail that
                # waits in the primary's own queue is the primary's; it must not make the account wait for an hour.
                parameters={
                    "enable_long_queue_ids": "yes",
                    "queue_run_delay": "2s",
                    "minimal_backoff_time": "1s",
                    "maximal_backoff_time": "2s",
                }
            )
        )
        self._stack.callback(self.primary.close)
        self.looker = Dovecot(DovecotSettings(certificate=Authority(directory).issue(), maildirs=self.primary.maildirs))
        self._stack.callback(self.looker.close)
        await asyncio.to_thread(self.primary.start)
        await asyncio.to_thread(self.looker.start)
        self.proxy = FaultProxy(self.primary.port)
        if self._proxied:
            await self._stack.enter_async_context(self.proxy)
        if not self._primary_up:
            await self.primary_down("stop")
        config: dict[str, dict[str, Any]] = {name: dict(keys) for name, keys in _QUICK.items()}
        config["primary.smtp"] = dict(_PRIMARY_TIMEOUTS)
        for section, keys in self._config.items():
            config.setdefault(section, {}).update(keys)
        self.relay = Relay(
            RelaySettings(
                smtp_port=self.proxy.port if self._proxied else self.primary.port,
                imap_port=self.looker.imap_port,
                workers=self._workers,
                data_dir=self._data_dir,
                config=config,
            )
        )
        self._stack.callback(self.relay.close)
        await asyncio.to_thread(self.relay.start)

    async def primary_down(self, how: str) -> None:
        """`stop`, `kill` or `stall`, of Postfix and Dovecot together."""
        async with self._switching:
            for peer in (self.primary, self.looker):
                await asyncio.to_thread(getattr(peer, how))

    async def primary_up(self) -> None:
        """However it went down."""
        async with self._switching:
            for peer in (self.primary, self.looker):
                if peer.running:
                    peer.cont()
                else:
                    await asyncio.to_thread(peer.start)

    async def pause(self, seconds: float, until: asyncio.Event | None = None) -> bool:
        """Let the mail flow; whether `until` came."""
        event = until or asyncio.Event()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)
        return event.is_set()

    async def until_death(self, number: int, seconds: float) -> None:
        """Wait for so many deaths of the relay, not for ever."""
        deadline = time.monotonic() + seconds
        while self.deaths < number and time.monotonic() < deadline:
            await self.pause(_TICK)

    @contextlib.asynccontextmanager
    async def mail(self, first: int, last: int) -> AsyncIterator[tuple[Senders, asyncio.Event]]:
        """Senders at full rate while the body runs and until each letter is promised, which the event announces."""
        senders = Senders(self.relay.mx_port, seed=self.plan.seed, first=first, last=last, count=self.plan.senders)
        through = asyncio.Event()
        started = time.monotonic()

        async def send() -> None:
            try:
                await senders.run()
            finally:
                through.set()

        try:
            async with asyncio.timeout(self.plan.minutes * 60), asyncio.TaskGroup() as group:
                group.create_task(send())
                yield senders, through
        except TimeoutError:
            self._problems.append(f"after {self.plan.minutes} minutes {len(senders.promised)} letters were promised")
        finally:
            self._sending_seconds += time.monotonic() - started
            self.promised |= senders.promised
            self.started |= senders.started
            self._problems += [f"permanent refusal: {text}" for text in senders.refused[:5]]
            self._problems += [f"protocol: {text}" for text in senders.violations[:5]]

    @contextlib.asynccontextmanager
    async def kept_running(self) -> AsyncIterator[None]:
        """While the body runs, a relay that has died is started again, unarmed."""
        over = asyncio.Event()

        async def keep() -> None:
            while not await self.pause(_TICK, over):
                if not self.relay.running:
                    self.deaths += 1
                    await asyncio.to_thread(self.relay.kill)
                    try:
                        await asyncio.to_thread(self.relay.start)
                    except PeerFailed as failed:
                        # A SIGKILL may hit it while it starts; what ends in any other way is a fault of its own.
                        if f"ended with {-signal.SIGKILL}" not in str(failed):
                            raise

        async with asyncio.TaskGroup() as group:
            group.create_task(keep())
            try:
                yield
            finally:
                over.set()

    def problem(self, text: str) -> None:
        """Something that fails the scenario though no mail is missing."""
        self._problems.append(text)

    async def settle(self) -> None:
        """Everything up, and wait until the relay owes nothing and the primary has delivered everything."""
        await self.primary_up()
        if not self.relay.running:
            await asyncio.to_thread(self.relay.kill)
            await asyncio.to_thread(self.relay.start)
        deadline = time.monotonic() + 90 + len(self.promised) / 20
        owed: dict[str, int] = {}
        quiet = 0
        while quiet < 2:
            with contextlib.suppress(OSError, PeerFailed):
                owed = await asyncio.to_thread(self.relay.owed)
                waiting = await asyncio.to_thread(self.primary.queued)
                quiet = 0 if owed or waiting else quiet + 1
            if time.monotonic() > deadline:
                self._problems.append(f"never settled: {owed}, {self.primary.queued()} in the primary's queue")
                return
            await self.pause(4 * _TICK)

    async def result(self, name: str, events: str) -> Result:
        """Settle, then count."""
        await self.settle()
        account = await asyncio.to_thread(
            audit, self.plan.seed, self.promised, self.primary.maildirs, started=self.started
        )
        result = Result(
            name=name,
            account=account,
            problems=tuple(self._problems),
            events=events,
            seconds=time.monotonic() - self._started_at,
            rate=len(self.promised) / max(self._sending_seconds, 0.001),
        )
        return result if result.clean else dataclasses.replace(result, log=self._complaints())

    def _complaints(self) -> str:
        lines = self.relay.log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if '"level":"info"' not in line][-30:])
