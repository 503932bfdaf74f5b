"""How fast: durable accept, replay, the way back, and what cut-through adds."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence

from tests.bench.report import Figure, median_figure
from tests.bench.stands import await_empty, dovecot_alone, postfix_queue, relay_alone, relay_before, through, watch
from tests.peers.ports import LOOPBACK, free_port
from tests.peers.postfix import Postfix, PostfixSettings
from tests.peers.process import Peer
from tests.peers.relay import Relay
from tests.peers.smtptools import SmtpSink, smtp_source

SIZES = {"4 KB": 4096, "100 KB": 102_400}


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int = 5
    small: int = 3000
    """Messages per round at 4 KB; a third of it at 100 KB."""

    def messages(self, size: int) -> int:
        """Per round."""
        return self.small if size < 10_000 else max(50, self.small // 3)


def accept(effort: Effort) -> Iterator[Figure]:
    """`smtp-source -s 20`, a connection per message, primary down."""
    down = free_port()
    with relay_alone() as relay, postfix_queue(down, hold=False) as queue, postfix_queue(down, hold=True) as hold:
        ports = {"relay": relay.mx_port, "queue": queue.port, "hold": hold.port}
        peers: Mapping[str, Peer] = {"relay": relay, "queue": queue, "hold": hold}
        for label, size in SIZES.items():
            rates: dict[str, list[float]] = {name: [] for name in ports}
            for port in ports.values():
                smtp_source(port, messages=100, size=size)
            for number in range(effort.rounds):
                # Each round starts with another one, so that a slow minute of the machine hits all.
                order = [list(ports)[(number + step) % 3] for step in range(3)]
                for name in order:
                    with _alone(name, peers):
                        load = smtp_source(ports[name], messages=effort.messages(size), size=size)
                    rates[name].append(load.per_second)
            yield median_figure(
                f"durable accept, {label}, 20 sessions",
                rates["relay"],
                "msg/s",
                against="Postfix, next hop down",
                yardstick=statistics.median(rates["queue"]),
                aim=1.5,
            )
            yield median_figure(
                f"durable accept, {label}, 20 sessions",
                rates["relay"],
                "msg/s",
                against="Postfix, accept only (HOLD)",
                yardstick=statistics.median(rates["hold"]),
            )


@contextlib.contextmanager
def _alone(name: str, peers: Mapping[str, Peer]) -> Iterator[None]:
    """The others stand still: a queue manager's retries and our work ahead of readers are nobody else's time."""
    others = [peer for other, peer in peers.items() if other != name]
    for peer in others:
        peer.stall()
    try:
        yield
    finally:
        for peer in others:
            peer.cont()


def replay(effort: Effort) -> Iterator[Figure]:
    """Queue to smtp-sink, from the first message at the sink to the last."""
    for label, size in SIZES.items():
        count = effort.messages(size)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(max(1, effort.rounds // 2)):
            ours.append(_replay_rate(count, size))
            theirs.append(_flush_rate(count, size))
        yield median_figure(
            f"replay to a sink, {label}",
            ours,
            "msg/s",
            against="Postfix, queue flush",
            yardstick=statistics.median(theirs),
            aim=1.0,
        )


def _replay_rate(count: int, size: int) -> float:
    with SmtpSink() as sink:
        sink.stop()
        with relay_alone(smtp_port=sink.port) as relay:
            smtp_source(relay.mx_port, messages=count, size=size)
            sink.spawn()
            first, last = watch(lambda: sink.received, count)
    return count / (last - first)


def _flush_rate(count: int, size: int) -> float:
    with SmtpSink() as sink:
        sink.stop()
        # From the hold queue: nothing of it was tried and deferred before, so this is the flush and nothing else.
        with postfix_queue(sink.port, hold=True) as postfix:
            smtp_source(postfix.port, messages=count, size=size)
            sink.spawn()
            postfix.release_held()
            first, last = watch(lambda: sink.received, count)
    return count / (last - first)


def way_back(effort: Effort) -> Iterator[Figure]:
    """From the primary's first good answer (to a probe) to the first replayed message, in probe intervals of 2 s."""
    waits = []
    for _ in range(effort.rounds):
        with SmtpSink() as sink:
            sink.stop()
            with relay_alone(smtp_port=sink.port) as relay:
                smtp_source(relay.mx_port, messages=20, size=4096)
                sink.spawn()
                _, answered = watch(lambda: sink.sessions, 1)
                _, replayed = watch(lambda: sink.received, 1)
            waits.append((replayed - answered) / 2.0)
    yield median_figure(
        "first good answer to first replayed message", waits, "probe intervals", against="", aim=2.0, most=True
    )


def cut_through(effort: Effort) -> Iterator[Figure]:
    """Time per message through the relay to Postfix, and to Postfix alone; beside it Postfix as a proxy for itself.

    That one (`smtpd_proxy_filter`) asks and passes on as the relay does, but keeps nothing. At last a whole primary,
    Postfix with Dovecot, until the last message is in its mailbox.
    """
    with Postfix() as primary, relay_before(primary) as relay, _proxy_for(primary) as proxy:
        ways = {"relay": relay.mx_port, "primary": primary.port, "proxy": proxy.port}
        for sessions in (1, 20):
            times = _times(effort, sessions, ways, relay, primary, delivered=False)
            what = f"cut-through, 4 KB, {_sessions(sessions)}"
            yield _added(what, times["relay"], times["primary"], "Postfix alone", aim=1.4)
            yield _added(what, times["relay"], times["proxy"], "Postfix as a proxy that keeps nothing")
    with _whole_primary() as primary, relay_before(primary) as relay:
        ways = {"relay": relay.mx_port, "primary": primary.port}
        for sessions in (1, 20):
            times = _times(effort, sessions, ways, relay, primary, delivered=True)
            what = f"cut-through into the mailbox, 4 KB, {_sessions(sessions)}"
            yield _added(what, times["relay"], times["primary"], "Postfix with Dovecot alone", aim=1.4)


def _times(
    effort: Effort, sessions: int, ways: Mapping[str, int], relay: Relay, primary: Postfix, *, delivered: bool
) -> dict[str, list[float]]:
    """Milliseconds per message and round, until the last reply or until the last delivery."""
    count = effort.small // (10 if sessions == 1 else 2)

    def load(port: int) -> float:
        await_empty(primary)
        started = time.monotonic()
        smtp_source(port, messages=count, size=4096, sessions=sessions)
        if delivered:
            await_empty(primary)
        return 1000 * (time.monotonic() - started) / count

    for port in ways.values():
        smtp_source(port, messages=20, size=4096, sessions=sessions)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(effort.rounds):
        names = list(ways)
        for step in range(len(names)):
            name = names[(number + step) % len(names)]
            measure = functools.partial(load, ways[name])
            times[name].append(through(relay, measure) if name == "relay" else measure())
    return times


def _added(
    what: str, ours: Sequence[float], theirs: Sequence[float], against: str, *, aim: float | None = None
) -> Figure:
    return median_figure(
        what, ours, "ms/msg", against=against, yardstick=statistics.median(theirs), aim=aim, most=aim is not None
    )


def _sessions(number: int) -> str:
    return f"{number} session{'s'[: number - 1]}"


def _proxy_for(primary: Postfix) -> Postfix:
    return Postfix(PostfixSettings(parameters={"smtpd_proxy_filter": f"{LOOPBACK}:{primary.port}"}))


@contextlib.contextmanager
def _whole_primary() -> Iterator[Postfix]:
    with dovecot_alone() as dovecot, Postfix(PostfixSettings(lmtp_socket=dovecot.lmtp_socket)) as postfix:
        yield postfix
