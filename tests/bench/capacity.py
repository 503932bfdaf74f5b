"""How much: memory with many large messages at once, and a long queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from tests.bench.report import Figure
from tests.bench.stands import relay_alone, resident_bytes
from tests.peers.relay import Relay
from tests.peers.smtptools import smtp_source

_MIB = 1 << 20


def memory(senders: int, size: int) -> Iterator[Figure]:
    """Peak memory of all processes of the relay while `senders` send a message of `size` bytes at the same time."""
    with relay_alone() as relay:
        idle = resident_bytes(relay.process.pid)
        peak, seconds = _peak_while(
            relay, lambda: smtp_source(relay.mx_port, messages=senders, size=size, sessions=senders, timeout=900)
        )
    what = f"{senders} senders x {size // 1_000_000} MB"
    yield Figure(what=f"memory, {what}", value=peak / _MIB, unit="MiB", aim=400, most=True)
    yield Figure(what="memory, idle", value=idle / _MIB, unit="MiB")
    yield Figure(what=f"throughput, {what}", value=senders * size / 1e6 / seconds, unit="MB/s")


def long_queue(count: int) -> Iterator[Figure]:
    """Start with `count` messages in the spool."""
    with relay_alone() as relay:
        empty = resident_bytes(relay.process.pid)
        smtp_source(relay.mx_port, messages=count, size=1024, timeout=3600)
        relay.stop()
        started = time.monotonic()
        relay.start()
        seconds = time.monotonic() - started
        # The first rounds of every periodic job (probes, figures, sweep) belong to it.
        peak, _ = _peak_while(relay, lambda: threading.Event().wait(12.0))
    yield Figure(what=f"start with {count} spooled", value=seconds, unit="s", aim=3, most=True)
    yield Figure(
        what=f"memory with {count} spooled",
        value=peak / _MIB,
        unit="MiB",
        against="empty spool",
        yardstick=empty / _MIB,
        aim=1.25,
        most=True,
    )


def _peak_while(relay: Relay, work: Callable[[], object]) -> tuple[int, float]:
    """Largest memory seen while `work` runs, and how long it ran."""
    over = threading.Event()
    peak = 0

    def sample() -> None:
        nonlocal peak
        while not over.wait(0.1):
            peak = max(peak, resident_bytes(relay.process.pid))

    sampler = threading.Thread(target=sample)
    started = time.monotonic()
    sampler.start()
    try:
        work()
    finally:
        seconds = time.monotonic() - started
        over.set()
        sampler.join()
    return peak, seconds
