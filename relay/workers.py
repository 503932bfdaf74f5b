"""Several worker processes behind one command: start, watch, restart, stop.

Each worker is the same program with a number; they share the listening ports (SO_REUSEPORT) and the store, and no
memory. A worker that dies is started again, slower each time it dies young; what it held is taken over by lease. A
worker learns that the supervisor is gone, however it went, by end of file on a pipe.

Signals: TERM and INT stop every worker and wait for it; HUP is passed on (certificates are read again).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from relay.obs.logs import logger

EXIT_CONFIG = 78
"""sysexits EX_CONFIG: starting again cannot help, the operator must change something."""
SUPERVISOR_FD = "RELAY_SUPERVISOR_FD"
"""Environment name of the pipe whose end of file means that the supervisor is gone."""


class WorkerSettings(msgspec.Struct, frozen=True):
    """How patient the supervisor is, in seconds."""

    stop_grace: float = 30.0
    """From TERM to KILL."""
    healthy_after: float = 10.0
    """A worker that lived this long died of something new: start it again at once."""
    first_delay: float = 0.1
    most_delay: float = 10.0


class Supervisor:
    """Runs `count` workers until told to stop."""

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        count: int,
        *,
        environment: Mapping[str, str],
        settings: WorkerSettings,
        on_death: Callable[[int], None],
    ) -> None:
        self._command = command
        self._count = count
        self._environment = dict(environment)
        self._settings = settings
        self._on_death = on_death
        self._log = logger("workers")
        self._stopping = asyncio.Event()
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._exit_code = 0

    async def run(self) -> int:
        """Until TERM or INT, or until a worker says that its configuration is wrong. The exit code for the shell."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._pass_on, signal.SIGHUP)
        alive_read, alive_write = os.pipe()
        os.set_inheritable(alive_read, True)
        try:
            async with asyncio.TaskGroup() as group:
                for slot in range(self._count):
                    group.create_task(self._keep(slot, alive_read))
        finally:
            os.close(alive_read)
            os.close(alive_write)
        return self._exit_code

    async def _keep(self, slot: int, alive: int) -> None:
        deaths = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *self._command(slot),
                env={**self._environment, SUPERVISOR_FD: str(alive)},
                pass_fds=(alive,),
            )
            self._running[slot] = process
            code = await self._watch(process)
            del self._running[slot]
            self._on_death(slot)
            if self._stopping.is_set():
                return
            if code == EXIT_CONFIG:
                self._exit_code = code
                self._stopping.set()
                return
            deaths = 0 if time.monotonic() - started >= self._settings.healthy_after else deaths + 1
            delay = min(self._settings.most_delay, self._settings.first_delay * 2 ** max(0, deaths - 1))
            self._log.error("worker_died", worker=slot, pid=process.pid, exit_code=code, restart_in_seconds=delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _watch(self, process: asyncio.subprocess.Process) -> int:
        """Wait for the end of a worker; once stopping, help it to end."""
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.terminate()
                await asyncio.wait({ended}, timeout=self._settings.stop_grace)
            if not ended.done():
                self._log.error("worker_did_not_stop", pid=process.pid)
                process.kill()
            return await ended
        finally:
            stopping.cancel()

    def _pass_on(self, number: signal.Signals) -> None:
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


def watch_supervisor(stop: Callable[[], None]) -> None:
    """In a worker: call `stop` when the supervisor is gone. Nothing where there is none."""
    value = os.environ.get(SUPERVISOR_FD)
    if value is None:
        return
    fd = int(value)
    os.set_inheritable(fd, False)
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(fd)
        stop()

    loop.add_reader(fd, gone)
