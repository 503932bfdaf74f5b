"""The supervisor with real processes: restart after death, clean stop, stubborn workers, wrong configuration."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from relay.workers import EXIT_CONFIG, Supervisor, WorkerSettings

SETTINGS = WorkerSettings(stop_grace=2.0, healthy_after=60.0, first_delay=0.01, most_delay=0.02)

WORKER = """
import os, signal, sys
slot, where = sys.argv[1], sys.argv[2]
{setup}
with open(where, "w") as fifo:
    fifo.write(f"{{slot}} {{os.getpid()}}\\n")
{body}
"""


class Births:
    """Workers report slot and pid through a named pipe, so a test waits for them without polling."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._buffer = b""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def _read(self) -> None:
        self._buffer += os.read(self._fd, 4096)
        self._more.set()

    async def next(self) -> tuple[int, int]:
        async with asyncio.timeout(60):
            while b"\n" not in self._buffer:
                self._more.clear()
                await self._more.wait()
        line, self._buffer = self._buffer.split(b"\n", 1)
        slot, pid = line.split()
        return int(slot), int(pid)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)


def supervisor(births: Births, count: int, body: str, deaths: list[int], setup: str = "") -> Supervisor:
    program = WORKER.format(setup=textwrap.dedent(setup), body=textwrap.dedent(body))
    return Supervisor(
        lambda slot: (sys.executable, "-c", program, str(slot), str(births.path)),
        count,
        environment=dict(os.environ),
        settings=SETTINGS,
        on_death=deaths.append,
    )


async def test_a_dead_worker_is_replaced_and_term_stops_all(tmp_path: Path) -> None:
    births, deaths = Births(tmp_path / "births"), list[int]()
    running = asyncio.ensure_future(supervisor(births, 2, "signal.pause()", deaths).run())
    workers = dict([await births.next(), await births.next()])
    assert set(workers) == {0, 1}
    os.kill(workers[1], signal.SIGKILL)
    slot, pid = await births.next()
    assert slot == 1
    assert deaths == [1]
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 20) == 0
    assert sorted(deaths) == [0, 1, 1]
    for ended in (workers[0], workers[1], pid):
        with pytest.raises(ProcessLookupError):
            os.kill(ended, 0)
    births.close()


async def test_a_worker_that_ignores_term_is_killed_after_the_grace(tmp_path: Path) -> None:
    births, deaths = Births(tmp_path / "births"), list[int]()
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    running = asyncio.ensure_future(supervisor(births, 1, "while True: signal.pause()", deaths, setup=stubborn).run())
    _, pid = await births.next()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 20) == 0
    assert deaths == [0]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    births.close()


async def test_a_configuration_error_stops_everything(tmp_path: Path) -> None:
    births, deaths = Births(tmp_path / "births"), list[int]()
    body = f"if slot == '0': sys.exit({EXIT_CONFIG})\nsignal.pause()"
    code = await asyncio.wait_for(supervisor(births, 2, body, deaths).run(), 20)
    assert code == EXIT_CONFIG
    assert len(deaths) == 2
    births.close()


async def test_workers_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    births = Births(tmp_path / "births")
    worker = """
        import asyncio
        from relay.workers import watch_supervisor
        async def main():
            stop = asyncio.Event()
            watch_supervisor(stop.set)
            await stop.wait()
            with open(where, "w") as fifo:
                fifo.write(f"9 {os.getpid()}\\n")
        asyncio.run(main())
    """
    program = WORKER.format(setup="", body=textwrap.dedent(worker))
    parent = textwrap.dedent(
        f"""
        import asyncio, os, sys
        from relay.workers import Supervisor, WorkerSettings
        program = {program!r}
        asyncio.run(Supervisor(
            lambda slot: (sys.executable, "-c", program, str(slot), {str(births.path)!r}), 1,
            environment=dict(os.environ), settings=WorkerSettings(), on_death=lambda pid: None,
        ).run())
        """
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent)
    _, pid = await births.next()
    process.kill()
    await process.wait()
    assert await births.next() == (9, pid)
    births.close()
