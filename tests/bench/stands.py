"""What is measured: a relay whose primary is down or up, and Postfix and Dovecot as yardsticks and primaries."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.peers import workdir
from tests.peers.certs import Authority
from tests.peers.dovecot import Dovecot, DovecotSettings
from tests.peers.ports import free_port
from tests.peers.postfix import Postfix, PostfixSettings
from tests.peers.process import PeerFailed
from tests.peers.relay import Relay, RelaySettings

_SHIPPED: Final = {"probe_interval": "2s", "timeout": "3s"}
_TRIES: Final = 3


@contextlib.contextmanager
def relay_alone(*, workers: int = 2, smtp_port: int | None = None) -> Iterator[Relay]:
    """A relay that knows its primary is down. All waits are the defaults that an operator gets."""
    settings = RelaySettings(
        smtp_port=smtp_port or free_port(),
        workers=workers,
        # These are short in tests; here they are what is shipped.
        config={
            "failover": _SHIPPED,
            "replay": {"first_delay": "5s", "most_delay": "15m"},
        },
    )
    with Relay(settings) as relay:
        await_standby(relay)
        yield relay


def await_standby(relay: Relay) -> None:
    """Until the relay no longer tries its primary."""
    relay.until(lambda: relay.smtp_mode() == "standby", why="the primary's absence was not noticed")


def relay_before(primary: Postfix) -> Relay:
    """A relay whose primary is up, with what is shipped for noticing that it is not."""
    return Relay(RelaySettings(smtp_port=primary.port, workers=2, config={"failover": _SHIPPED}))


def through(relay: Relay, load: Callable[[], float]) -> float:
    """What a load measured while the primary was up in the relay's eyes, before and after: only that is cut-through."""
    for _ in range(_TRIES):
        relay.until(lambda: relay.smtp_mode() == "normal", why="the primary is up, and this was not noticed")
        measured = load()
        if relay.smtp_mode() == "normal":
            return measured
    raise PeerFailed(f"the relay took its primary for dead in {_TRIES} rounds of {_TRIES}")


def await_empty(postfix: Postfix) -> None:
    """Until everything that it has queued is delivered: what one round leaves behind is no other round's time."""
    nothing = threading.Event()
    deadline = time.monotonic() + 120.0
    while postfix.queued():
        if time.monotonic() > deadline:
            raise TimeoutError("Postfix still has mail in its queue after 120 s")
        nothing.wait(0.02)


@contextlib.contextmanager
def postfix_queue(next_hop: int, *, hold: bool) -> Iterator[Postfix]:
    """Postfix that queues: `hold` is acceptance alone; else its queue manager works too, and the next hop is down."""
    parameters = {"smtpd_recipient_restrictions": "check_recipient_access static:HOLD"} if hold else {}
    with Postfix(PostfixSettings(relay_to=next_hop, parameters=parameters)) as postfix:
        yield postfix


@contextlib.contextmanager
def dovecot_alone() -> Iterator[Dovecot]:
    """A Dovecot with a certificate of its own authority."""
    with contextlib.ExitStack() as stack:
        directory = workdir.make("ca")
        stack.callback(workdir.remove, directory)
        yield stack.enter_context(Dovecot(DovecotSettings(certificate=Authority(directory).issue())))


def watch(what: Callable[[], int], count: int, *, timeout: float = 600.0) -> tuple[float, float]:
    """Times (monotonic) at which a count left zero and at which it reached `count`."""
    deadline = time.monotonic() + timeout
    nothing = threading.Event()
    first = 0.0
    while True:
        seen, now = what(), time.monotonic()
        if seen and not first:
            first = now
        if seen >= count:
            return first, now
        if now > deadline:
            raise TimeoutError(f"{seen} of {count} after {timeout} s")
        # A watcher that spins would take the processor from what it watches.
        nothing.wait(0.005)


def resident_bytes(leader: int) -> int:
    """Memory of a process group, shared pages counted once (proportional set size)."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if int((entry / "stat").read_bytes().rpartition(b")")[2].split()[2]) == leader:
                for line in (entry / "smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) << 10
    return total
