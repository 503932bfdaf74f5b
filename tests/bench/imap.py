"""IMAP on the standby beside Dovecot: the same mailbox, the same clients, one run.

Both hold one user's INBOX of the same messages (`imap_corpus`), read by ten clients at once; each line is measured in
interleaved rounds after one that fills everybody's caches. APPEND goes to ten users, since ten writers to one Maildir
would wait for its lock. Our users have passwords of the relay's own, and there is no primary.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import select
import smtplib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from relay import wiring
from relay.accounts.credentials import Credentials
from relay.accounts.names import Naming
from relay.accounts.users import Users
from relay.cli.common import data, load_config
from tests.bench import imap_corpus as corpus
from tests.bench.imap_load import ARRIVE, DONE, IDLE, Crowd, Run, Step, append, command, login
from tests.bench.report import Figure, median_figure
from tests.bench.stands import dovecot_alone, resident_bytes
from tests.peers import people
from tests.peers.dovecot import Dovecot
from tests.peers.ports import LOOPBACK
from tests.peers.relay import Relay, RelaySettings

_READER: Final = people.PEOPLE[0]
_WRITERS: Final = tuple(name for name in people.PEOPLE if name.startswith("u0"))[:10]
CLIENTS: Final = 10
_MESSAGES_AT_ONCE: Final = 50
"""In one MULTIAPPEND while a mailbox is filled."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much."""

    rounds: int = 5
    mailbox: int = 10_000
    singles: int = 200
    """Single-message fetches, and messages appended, per client and round."""
    logins: int = 20
    """Per client and round."""
    samples: int = 100
    """Messages whose way to an idling client is timed."""
    idle: int = 5_000
    idle_yardstick: int = 200
    """Dovecot's sessions: a process each."""


QUICK: Final = Size(rounds=1, mailbox=200, singles=10, logins=3, samples=5, idle=50, idle_yardstick=10)


@dataclasses.dataclass(frozen=True)
class Stand:
    """Both servers, with the reader's INBOX filled."""

    relay: Relay
    dovecot: Dovecot

    @property
    def ports(self) -> Mapping[str, int]:
        """By name, ours first."""
        return {"relay": self.relay.imap_port, "Dovecot": self.dovecot.imap_port}


def everything(size: Size) -> Iterator[Figure]:
    """All lines."""
    with stand(size.mailbox) as both:
        yield from reading(both, size)
        yield from logins(both, size)
        yield from appends(both, size)
        yield from arrivals(both, size)
        yield from idle(both, size)


@contextlib.contextmanager
def stand(messages: int) -> Iterator[Stand]:
    """Start both and fill both."""
    with ExitStack() as stack:
        dovecot = stack.enter_context(dovecot_alone())
        config = {"limits": {"user_connections": 10_000, "user_connections_per_address": 0}}
        relay = Relay(RelaySettings(workers=2, config=config))
        stack.callback(relay.close)
        _add_users(relay, (_READER, *_WRITERS))
        relay.start()
        both = Stand(relay, dovecot)
        for port in both.ports.values():
            _fill(port, messages)
            _mark(port, messages)
        yield both


# --- reading ---


def reading(both: Stand, size: Size) -> Iterator[Figure]:
    """FETCH and SEARCH of the whole mailbox by everybody at once; time per command of all."""
    dice = random.Random(7)  # the same messages in every run
    singles = [
        [command(f"UID FETCH {dice.randint(1, size.mailbox)} (FLAGS BODY.PEEK[])") for _ in range(size.singles)]
        for _ in range(CLIENTS)
    ]
    whole: Mapping[str, str] = {
        "FLAGS of all": "FETCH 1:* (FLAGS)",
        "ENVELOPE and BODYSTRUCTURE of all": "FETCH 1:* (ENVELOPE BODYSTRUCTURE)",
        "header fields of all": "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (DATE FROM TO SUBJECT MESSAGE-ID)])",
        "bodies of all": "FETCH 1:* (BODY.PEEK[])",
        "SEARCH by flag": "SEARCH FLAGGED",
        "SEARCH by subject": f"SEARCH SUBJECT {corpus.RARE}",
    }
    scripts: dict[str, list[list[Step]]] = {what: [[command(text)]] * CLIENTS for what, text in whole.items()}
    scripts[f"single messages, {size.singles} each"] = singles
    with ExitStack() as stack:
        crowds = {name: stack.enter_context(Crowd(port, CLIENTS)) for name, port in both.ports.items()}
        for crowd in crowds.values():
            crowd.everybody(ARRIVE, login(_READER, people.password_of(_READER)), command("SELECT INBOX"))
        yield _first_touch(crowds)
        for what, script in scripts.items():
            yield from _compared(what, {name: _runs(crowd, script) for name, crowd in crowds.items()}, size.rounds)


def _first_touch(crowds: Mapping[str, Crowd]) -> Figure:
    """What nobody has asked for yet, by one client: parsed, and kept for later."""
    step = command("FETCH 1:* (ENVELOPE BODYSTRUCTURE)")
    found = {name: crowd.run([[step], *([] for _ in range(CLIENTS - 1))]) for name, crowd in crowds.items()}
    return Figure(
        what="ENVELOPE and BODYSTRUCTURE of all, first touch, 1 client",
        value=found["relay"].seconds,
        unit="s",
        against="Dovecot",
        yardstick=found["Dovecot"].seconds,
    )


def _runs(crowd: Crowd, scripts: Sequence[Sequence[Step]]) -> Callable[[], Run]:
    return lambda: crowd.run(scripts)


def _compared(
    what: str, works: Mapping[str, Callable[[], Run]], rounds: int, *, per_second: int = 0, aim: float = 1.5
) -> Iterator[Figure]:
    """Interleaved rounds after one for the caches; seconds, or so many things per second."""
    runs: dict[str, list[Run]] = {name: [] for name in works}
    octets = {name: work().octets for name, work in works.items()}
    if not per_second:
        small, large = sorted(octets.values())
        assert large < 1.6 * small + 10_000, f"{what}: the answers are not the same: {octets}"
    for number in range(rounds):
        for name in list(works)[:: 1 if number % 2 else -1]:
            runs[name].append(works[name]())

    def values(name: str) -> list[float]:
        return [per_second / run.seconds if per_second else run.seconds for run in runs[name]]

    yield median_figure(
        what,
        values("relay"),
        "/s" if per_second else "s",
        against="Dovecot",
        yardstick=statistics.median(values("Dovecot")),
        aim=aim,
        most=not per_second,
    )
    busy = max(statistics.median(run.busy for run in runs[name]) for name in runs)
    if busy > 0.5:  # of a core; then the line above says as much about the clients as about the servers
        yield Figure(what=f"the clients' own share of a core, {what}", value=busy, unit="cores")


# --- the other lines ---


def logins(both: Stand, size: Size) -> Iterator[Figure]:
    """Connect, LOGIN, SELECT, LOGOUT; ten at a time."""
    session = (
        ARRIVE,
        login(_READER, people.password_of(_READER)),
        command("SELECT INBOX"),
        command("LOGOUT"),
    )
    script = [session * size.logins] * CLIENTS
    with ExitStack() as stack:
        crowds = {name: stack.enter_context(Crowd(port, CLIENTS)) for name, port in both.ports.items()}
        yield from _compared(
            "login and SELECT",
            {name: _runs(crowd, script) for name, crowd in crowds.items()},
            size.rounds,
            per_second=CLIENTS * size.logins,
            aim=1.0,
        )


def appends(both: Stand, size: Size) -> Iterator[Figure]:
    """Ten users put mail into their own INBOX, each waiting for every answer."""
    bodies = [corpus.message(number) for number in range(1, size.singles + 1)]
    script = [[append(body) for body in bodies]] * len(_WRITERS)
    with ExitStack() as stack:
        crowds = {name: stack.enter_context(Crowd(port, len(_WRITERS))) for name, port in both.ports.items()}
        for crowd in crowds.values():
            crowd.run([[ARRIVE, login(name, people.password_of(name))] for name in _WRITERS])
        yield from _compared(
            "APPEND, 10 users",
            {name: _runs(crowd, script) for name, crowd in crowds.items()},
            size.rounds,
            per_second=len(_WRITERS) * size.singles,
            aim=3.0,
        )


def arrivals(both: Stand, size: Size) -> Iterator[Figure]:
    """From the reply that accepts a message to the EXISTS at an idling client, whatever worker it hangs on."""
    waits: dict[str, list[float]] = {}
    for name, port in both.ports.items():
        with Crowd(port, CLIENTS) as crowd, _way_in(both, name) as door:
            crowd.everybody(ARRIVE, login(_READER, people.password_of(_READER)), command("SELECT INBOX"), IDLE)
            waits[name] = [wait for number in range(size.samples) for wait in _arrival(crowd, door, number)]
            crowd.everybody(DONE)
    yield median_figure(
        "accepted to EXISTS at 10 idling clients",
        waits["relay"],
        "ms",
        against="Dovecot, by LMTP",
        yardstick=statistics.median(waits["Dovecot"]),
    )
    yield median_figure("accepted to EXISTS, median", waits["relay"], "ms", aim=100, most=True)


@contextlib.contextmanager
def _way_in(both: Stand, name: str) -> Iterator[smtplib.SMTP]:
    door = (
        smtplib.SMTP(LOOPBACK, both.relay.mx_port)
        if name == "relay"
        else smtplib.LMTP(str(both.dovecot.lmtp_socket), 0)
    )
    with door:
        door.ehlo_or_helo_if_needed()
        yield door


def _arrival(crowd: Crowd, door: smtplib.SMTP, number: int) -> list[float]:
    """Milliseconds for each client."""
    door.sendmail("sender@example.net", [_READER], corpus.message(100_000 + number))
    accepted = time.perf_counter()
    poll = select.epoll()
    waiting = {one.fileno(): one for one in crowd.sockets}
    waits: list[float] = []
    with poll:
        for one in waiting.values():
            poll.register(one, select.EPOLLIN)
        while waiting:
            ready = poll.poll(60)
            assert ready, "an idling client was not told"
            for descriptor, _ in ready:
                # RECENT comes with it or behind it.
                if b" EXISTS" in waiting[descriptor].recv(4096) and descriptor in waiting:
                    waits.append(max(0.0, time.perf_counter() - accepted) * 1000)
                    poll.unregister(waiting.pop(descriptor))
    return waits


def idle(both: Stand, size: Size) -> Iterator[Figure]:
    """Memory of all processes per session that idles in the filled INBOX."""
    # What earlier lines left free in its heap would be given away for nothing.
    both.relay.stop()
    both.relay.start()
    cost = {
        "relay": _idle_bytes(both.relay.imap_port, both.relay.pid, size.idle),
        "Dovecot": _idle_bytes(both.dovecot.imap_port, both.dovecot.pid, size.idle_yardstick),
    }
    what = f"memory per idle session, {size.idle} of them"
    yield Figure(what=what, value=cost["relay"] / 1000, unit="kB", aim=50, most=True)
    yield Figure(
        what=what,
        value=cost["relay"] / 1000,
        unit="kB",
        against=f"Dovecot, {size.idle_yardstick} of them",
        yardstick=cost["Dovecot"] / 1000,
    )


def _idle_bytes(port: int, leader: int, count: int) -> float:
    steps = (ARRIVE, login(_READER, people.password_of(_READER)), command("SELECT INBOX"), IDLE)
    with ExitStack() as stack:
        # What the first sessions cost is not what a session costs; the mailbox is read once.
        stack.enter_context(Crowd(port, 100)).everybody(*steps)
        before = resident_bytes(leader)
        left = count
        while left:
            some = min(left, 100)  # no more at once than a listener's backlog takes
            stack.enter_context(Crowd(port, some)).everybody(*steps)
            left -= some
        return (resident_bytes(leader) - before) / count


# --- filling ---


def _add_users(relay: Relay, addresses: Sequence[str]) -> None:
    """What `relay user add` does, in one go."""
    config = load_config(relay.config_file)

    async def add() -> None:
        async with data(config, create=True) as opened:
            users = Users(Credentials(opened.store, opened.vault), Naming(wiring.naming(config)), opened.clock)
            for address in addresses:
                await users.add(address, people.password_of(address).encode())

    asyncio.run(add())


def _fill(port: int, messages: int) -> None:
    """By MULTIAPPEND."""
    steps = [ARRIVE, login(_READER, people.password_of(_READER))]
    for start in range(1, messages + 1, _MESSAGES_AT_ONCE):
        bodies = [corpus.message(number) for number in range(start, min(start + _MESSAGES_AT_ONCE, messages + 1))]
        text = b"zq APPEND INBOX" + b"".join(b" {%d+}\r\n%b" % (len(body), body) for body in bodies) + b"\r\n"
        steps.append(Step(text, b"zq OK"))
    with Crowd(port, 1) as crowd:
        crowd.everybody(*steps)


def _mark(port: int, messages: int) -> None:
    """Half of the mailbox is read, a twentieth flagged."""
    flagged = ",".join(str(number) for number in range(1, messages + 1, 20))
    with Crowd(port, 1) as crowd:
        crowd.everybody(
            ARRIVE,
            login(_READER, people.password_of(_READER)),
            command("SELECT INBOX"),
            command(f"STORE 1:{messages // 2} +FLAGS.SILENT (\\Seen)"),
            command(f"STORE {flagged} +FLAGS.SILENT (\\Flagged)"),
        )
