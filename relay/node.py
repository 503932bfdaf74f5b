"""The composition root: one worker of a node, built from the configuration; and the only user of uvloop.

Start order: disk first, then what decides (mode), then what works by itself (replay, retention), then the doors, then
the health page that says "ready", and at last what other workers hand over. Stop order is the reverse: nothing more is
taken from them, the doors close, transactions under way are finished, replay waits for the replies to its final dots,
and the store goes last.

1. A worker owns its slot of the data directory by a file lock: two of the same number never run at once, so whatever
   the last one held may be rescued at once.
2. A part that fails by a bug is logged and started again; it does not take the others down.
3. What the operator must change (configuration, key, port in use) ends the process with exit code 78.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from relay import __version__, wiring
from relay.config import Config
from relay.control.http.app import make_app
from relay.control.http.server import HttpServer
from relay.control.sampler import Sampler
from relay.control.setup.pages import setup_routes
from relay.core.clock import Clock, SystemClock
from relay.core.errors import ConfigFault
from relay.listen.settings import Company
from relay.listen.sharing import Sharing, create_numbers, not_shared
from relay.listen.sockets import bind
from relay.obs import logs, metrics
from relay.obs.logs import logger
from relay.obs.metrics import Metrics
from relay.parts import Parts
from relay.serve.settings import ListenerName
from relay.spool.feed import Feed
from relay.store.api import Store
from relay.store.sqlite import SqliteSettings, open_store
from relay.vault.bootstrap import open_vault
from relay.vault.keys import KeyRing
from relay.vault.sealing import Vault
from relay.workers import EXIT_CONFIG, Supervisor, WorkerSettings, watch_supervisor

_log = logger("node")
_RESTART_SECONDS = 1.0
_YOUNG_OBJECTS = 10_000


class Data(msgspec.Struct, frozen=True):
    """The data directory, opened: what commands and workers both begin with."""

    store: Store
    vault: Vault
    ring: KeyRing
    clock: Clock


@asynccontextmanager
async def open_data(config: Config, counted: Metrics | None = None) -> AsyncIterator[Data]:
    """Open key, store and vault; close the store at the end. ConfigFault, StoreUnavailable."""
    clock = SystemClock()
    ring = KeyRing.load(config.vault.key_file)
    store = await open_store(config.database, SqliteSettings(), metrics=counted.spool if counted else None)

    async def put_if_absent(name: str, value: bytes) -> bytes:
        return await store.put_setting_if_absent(name, value, now=clock.now())

    try:
        yield Data(store, await open_vault(ring, store.setting, put_if_absent), ring, clock)
    finally:
        await store.close()


def run(config: Config, path: Path | None, *, worker: int | None = None) -> int:
    """Run the node until it is told to stop; the process's exit code. `worker` is set by the supervisor alone."""
    logs.configure(wiring.log(config, worker or 0), sys.stderr, behind=True)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something that could be read again
    _wait_ones_turn()
    try:
        _prepare(config)
        if worker is None and config.node.workers > 1:
            return uvloop.run(_supervise(config, path))
        return uvloop.run(_work(config, worker or 0))
    except ConfigFault as fault:
        _log.error("cannot_start", problem=str(fault))
        return EXIT_CONFIG


def _wait_ones_turn() -> None:
    """Woken, interrupt nobody who is running: with all cores busy that costs more than it brings (performance.md)."""
    with contextlib.suppress(OSError):  # a filter of system calls; the systemd unit says the same itself
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _prepare(config: Config) -> None:
    """The data directory, private to us."""
    try:
        config.node.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _run_dir(config).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigFault(
            f"node.data_dir: {config.node.data_dir} cannot be made ({error.strerror}). Let the relay's user own it"
        ) from None


def _run_dir(config: Config) -> Path:
    return config.node.data_dir / "run"


def _shared_numbers(config: Config) -> Path | None:
    """Where the workers count together; None where there is one."""
    return _run_dir(config) / "metrics" if config.node.workers > 1 else None


def _company(config: Config, slot: int) -> Company:
    return Company(worker=slot, workers=config.node.workers, directory=_run_dir(config))


async def _supervise(config: Config, path: Path | None) -> int:
    shared = _shared_numbers(config)
    assert shared is not None
    metrics.wipe(shared)
    rows = create_numbers(_company(config, 0).numbers, config.node.workers)

    def forget(slot: int) -> None:
        metrics.forget_worker(shared, slot)
        if rows is not None:
            rows.forget(slot)

    name = ("-c", str(path)) if path is not None else ()
    supervisor = Supervisor(
        lambda slot: (sys.executable, "-m", "relay", "run", *name, "--worker", str(slot)),
        config.node.workers,
        environment=os.environ,
        settings=WorkerSettings(),
        on_death=forget,
    )
    _log.info("node_starts", version=__version__, count=config.node.workers)
    return await supervisor.run()


async def _work(config: Config, slot: int) -> int:
    """One worker, from lock to last flush."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watch_supervisor(stop.set)
    with _slot_lock(config, slot):
        async with AsyncExitStack() as stack:
            await _build(config, slot, stack)
            _settle_memory()
            _log.info("worker_ready", version=__version__)
            await stop.wait()
            _log.info("worker_stops")
    return 0


def _settle_memory() -> None:
    """What was built lives as long as the process: collections need not walk through it, nor come every 700 objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 10, 10)


async def _build(config: Config, slot: int, stack: AsyncExitStack) -> None:
    shared = _shared_numbers(config)
    if shared is not None:
        metrics.share(shared, slot)
    counted = Metrics(shared=shared)
    data = await stack.enter_async_context(open_data(config, counted))
    settings = wiring.log(config, slot)
    logs.configure(settings, sys.stderr, count=lambda level: counted.log_lines[level].inc(), behind=True)
    owner = await _take_over(config, data, slot, counted)

    feed = Feed(data.store, data.clock)
    await feed.start()
    stack.push_async_callback(feed.stop)
    parts = Parts(config, store=data.store, vault=data.vault, clock=data.clock, metrics=counted, feed=feed, owner=owner)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, parts.reload)

    await parts.board.start()
    stack.push_async_callback(parts.board.stop)
    for name, work in parts.background():
        _in_background(stack, name, work)
    stack.push_async_callback(parts.intake.drain)
    stack.callback(parts.logins.close)
    for end in parts.ends:
        stack.push_async_callback(end)
    sharing = _sharing(config, slot, counted)
    for where, door in parts.doors(sharing):
        try:
            await door.start()
        except OSError as error:
            raise ConfigFault(
                f"{where} cannot be bound ({error.strerror}). Is something else listening there, or is the "
                "port below 1024 and the relay not allowed to use it (CAP_NET_BIND_SERVICE)?"
            ) from None
        stack.push_async_callback(door.stop)
    await _serve_http(config, parts.sampler(slot, __version__), counted, stack)
    if sharing is not None:
        try:
            sharing.start()
        except OSError as error:
            not_shared(error)
        stack.callback(sharing.stop)


def _sharing(config: Config, slot: int, counted: Metrics) -> Sharing[ListenerName] | None:
    """Of IMAP alone: its connections are few and stay for hours, those of senders are many and short."""
    if config.node.workers == 1 or not wiring.imap_listeners(config):
        return None
    return Sharing(_company(config, slot), counted.serve.handed_over)


async def _serve_http(config: Config, sampler: Sampler, counted: Metrics, stack: AsyncExitStack) -> None:
    sockets: list[socket.socket] = []
    for address in config.listen.http:
        try:
            sockets.append(bind(address.host, address.port, shared=config.node.workers > 1, backlog=128))
        except OSError as error:
            raise ConfigFault(
                f"listen.http: {address} cannot be bound ({error.strerror}). Is something else listening there?"
            ) from None
    if sockets:
        pages = setup_routes(wiring.client_setup(config), SystemClock())
        http = HttpServer(make_app(sampler, counted, names=[config.node.hostname, "localhost"], more=pages), sockets)
        await http.start()
        stack.push_async_callback(http.stop)


async def _take_over(config: Config, data: Data, slot: int, counted: Metrics) -> str:
    """Become the owner of this slot, and rescue what the last one left (invariant 1)."""
    owner = f"{config.node.name}/{slot}/{secrets.token_hex(4)}"
    name, now = f"owner.{config.node.name}.{slot}", data.clock.now()
    last = await data.store.setting(name)
    await data.store.put_setting(name, owner.encode(), now=now)
    rescued = await data.store.rescue(now=now, dead_owners=[last.decode()] if last else [])
    if rescued:
        counted.spool.rescued.inc(len(rescued))
        _log.warning("attempts_rescued", items=list(rescued[:20]), count=len(rescued))
    return owner


def _in_background(stack: AsyncExitStack, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Invariant 2."""

    async def keep() -> None:
        while True:
            try:
                await work()
            except Exception as error:  # invariant 2: begun again, and seen in the log
                _log.exception("part_failed", part=name, exc_info=error)
            await asyncio.sleep(_RESTART_SECONDS)

    task = asyncio.get_running_loop().create_task(keep(), name=name)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)


@contextlib.contextmanager
def _slot_lock(config: Config, slot: int) -> Iterator[None]:
    """Held as long as this worker lives; the kernel lets go of it however the process ends."""
    path = _run_dir(config) / f"worker-{slot}.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigFault(
                f"node.data_dir: another relay is running on {config.node.data_dir}. Stop it first, "
                "or give this one a directory of its own"
            ) from None
        yield
