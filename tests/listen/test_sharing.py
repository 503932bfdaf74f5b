"""Connections that are handed over, by real sockets: within a process on both event loops, and between processes.

In one process the workers have ports of their own, so that every connection comes in where the test wants it to.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import resource
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType

import pytest

from relay.listen.balance import Rows
from relay.listen.settings import Company, Network
from relay.listen.sharing import Sharing, create_numbers
from tests.house.sources import ROOT
from tests.inbound.tls import Tls
from tests.listen.echo import PORT, Client, Mx, World, handed_over
from tests.listen.loops import Run
from tests.obs.written import written

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes([192, 0, 2, 7, 198, 51, 100, 1, 18, 103, 0, 25])
"""From 192.0.2.7, port 4711."""


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


class Pair:
    """Two workers, and the numbers that they share; as an async context manager both run."""

    def __init__(
        self, directory: Path, tls: ssl.SSLContext | None = None, *, proxy_from: tuple[Network, ...] = ()
    ) -> None:
        self.rows = Rows.create(directory / "connections", 2)
        self.counted = [handed_over(), handed_over()]
        self.sharing = [
            Sharing[Mx](Company(worker, 2, directory), counted) for worker, counted in enumerate(self.counted)
        ]
        self.worlds = [
            World(tls, proxy_from=proxy_from, connections=100, per_address=100, neighbours=sharing)
            for sharing in self.sharing
        ]

    async def __aenter__(self) -> Pair:
        for world, sharing in zip(self.worlds, self.sharing, strict=True):
            await world.__aenter__()
            sharing.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sharing in self.sharing:
            sharing.stop()
        for world in self.worlds:
            await world.__aexit__(kind, error, trace)
        assert [sharing._held for sharing in self.sharing] == [0, 0]
        assert self.held == [None, None]
        self.rows.close()

    @property
    def held(self) -> list[int | None]:
        """What both say they hold."""
        return [self.rows.held(worker) for worker in range(2)]

    @property
    def served(self) -> list[int]:
        """What both do serve."""
        return [world.numbers.open[PORT].value for world in self.worlds]

    def given(self, worker: int) -> tuple[int, int]:
        """What it has handed over, and what it has kept because it could not."""
        return (self.counted[worker][PORT, "given"].value, self.counted[worker][PORT, "kept"].value)

    async def unread(self) -> Client:
        """A connection that the first has handed to the second, which does not look."""
        inbox = self.sharing[1]._inbox
        assert inbox is not None
        asyncio.get_running_loop().remove_reader(inbox)
        with everything_is_sent_elsewhere(self):
            client = await self.worlds[0].client()
            await until(lambda: self.given(0) == (1, 0))
        return client

    async def greeted(self, worker: int, tls: ssl.SSLContext | None = None) -> Client:
        """A connection to one worker's port; it may be the other who greets."""
        client = await self.worlds[worker].client(tls)
        assert (await client.line()).startswith("127.0.0.1 ")
        return client

    async def gone(self, *clients: Client) -> None:
        """Close them, and wait until their workers have noticed."""
        left = sum(self.served) - len(clients)
        for client in clients:
            await client.close()
        await until(lambda: sum(self.served) == left)


async def until(what: Callable[[], bool]) -> None:
    """Turn the loop until it is so."""
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110  # numbers in a mapped file wake nobody
            await asyncio.sleep(0)


@contextlib.contextmanager
def everything_is_sent_elsewhere(pair: Pair) -> Iterator[None]:
    """For tests of one worker: the first believes that it has so many that all belong to the other."""
    pair.sharing[0]._held += 50
    yield
    pair.sharing[0]._held -= 50


# --- evenly ---


@pytest.mark.parametrize("raw", [False, True], ids=["accepted by the loop", "accepted by us"])
def test_all_that_come_in_at_one_end_up_even(run: Run, directory: Path, raw: bool) -> None:
    elsewhere = (ipaddress.ip_network("192.0.2.0/24"),)

    async def scenario() -> None:
        async with Pair(directory, proxy_from=elsewhere if raw else ()) as pair:
            clients = [await pair.greeted(0) for _ in range(20)]
            assert pair.served == pair.held == [10, 10]
            assert (pair.given(0), pair.given(1)) == ((10, 0), (0, 0))
            # Of what was handed over nothing is left behind, and it works.
            for client in clients:
                client.writer.write(b"hello\n")
                assert await client.line() == "hello\n"
            # The even ones are the first worker's: it has two, the other ten.
            await pair.gone(*clients[0:16:2])
            assert sorted(pair.served) == [2, 10]
            clients[0:16:2] = [await pair.greeted(1) for _ in range(8)]
            assert pair.served == pair.held == [10, 10]
            await pair.gone(*clients[:19])
            assert sum(pair.served) == 1
            clients = [await pair.greeted(at % 2) for at in range(19)]
            assert pair.served == pair.held == [10, 10]
            # Every connection was counted as met by the one who serves it, once.
            met = [world.numbers.met() for world in pair.worlds]
            assert sum(one["accepted"] for one in met) == 47
            assert [set(one) for one in met] == [{"accepted"}, {"accepted"}]

    run(scenario)


def test_all_that_come_at_once_end_up_even(run: Run, directory: Path) -> None:
    """The other has not taken the first when the last is sent: its socket holds eleven, they are counted with it."""

    async def scenario() -> None:
        async with Pair(directory) as pair:
            clients = await asyncio.gather(*(pair.worlds[0].client() for _ in range(20)))
            assert all(await asyncio.gather(*(client.line() for client in clients)))
            assert pair.served == pair.held == [10, 10]
            assert pair.given(0) == (10, 0)

    run(scenario)


def test_whoever_speaks_first_is_heard_by_the_one_who_serves(run: Run, directory: Path) -> None:
    """Octets that wait in the kernel go with the connection."""

    async def scenario() -> None:
        async with Pair(directory) as pair:
            with everything_is_sent_elsewhere(pair):
                for _ in range(5):
                    client = await pair.worlds[0].client()
                    client.writer.write(b"early\nbye\n")
                    lines = [await client.line() for _ in range(4)]
                    assert lines[1:] == ["early\n", "bye\n", ""]
            assert pair.given(0) == (5, 0)

    run(scenario)


def test_implicit_tls_after_it_was_handed_over(run: Run, directory: Path, tls: Tls) -> None:
    async def scenario() -> None:
        async with Pair(directory, tls.server) as pair:
            for _ in range(4):
                client = await pair.worlds[0].client(tls.client)
                own = client.writer.get_extra_info("sockname")
                assert await client.line() == f"{own[0]} {own[1]} True\n"
            assert pair.served == pair.held == [2, 2]
            # A handshake that does not come about is counted out where it was handed to.
            await pair.gone(*pair.worlds[0]._clients)
            assert pair.held == [0, 0]
            with everything_is_sent_elsewhere(pair):
                silent = await pair.worlds[0].client()
                await until(lambda: pair.held[1] == 1)
            await silent.close()
            await pair.worlds[1].failed.wait()
            await until(lambda: pair.held == [0, 0])

    run(scenario)


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_proxy_s_header_is_read_by_the_one_who_serves(run: Run, directory: Path, tls: Tls, encrypted: bool) -> None:
    async def scenario() -> None:
        async with Pair(directory, tls.server if encrypted else None, proxy_from=LOOPBACK) as pair:
            clients = []
            for _ in range(4):
                client = await pair.worlds[0].client()
                client.writer.write(V2)
                if encrypted:
                    await client.writer.start_tls(tls.client, server_hostname="localhost")
                assert await client.line() == f"192.0.2.7 4711 {encrypted}\n"
                clients.append(client)
            assert pair.served == pair.held == [2, 2]
            # Those who have not said yet who they are count as well.
            silent = [await pair.worlds[0].client() for _ in range(4)]
            await until(lambda: pair.held == [4, 4])
            for one in silent:
                one.writer.write(b"nonsense")
                assert await one.line() == ""
            await until(lambda: pair.held == [2, 2])

    run(scenario)


def test_what_was_handed_over_is_refused_as_any_other(run: Run, directory: Path) -> None:
    async def scenario() -> None:
        async with Pair(directory) as pair:
            pair.worlds[1].gate.open += 100
            with everything_is_sent_elsewhere(pair):
                client = await pair.worlds[0].client()
                assert [await client.line() for _ in range(2)] == ["busy\n", ""]
            assert pair.worlds[1].numbers.met() == {"too_many": 1}
            assert pair.held[1] == 0
            pair.worlds[1].gate.open -= 100

    run(scenario)


def test_who_has_gone_before_it_was_taken_is_forgotten(run: Run, directory: Path) -> None:
    async def scenario() -> None:
        async with Pair(directory) as pair:
            client = await pair.unread()
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            assert pair.rows.on_the_way(1) == 1
            client.writer.transport.abort()
            await client.close()
            pair.sharing[1]._ready()
            assert (pair.rows.on_the_way(1), pair.held[1]) == (0, 0)

    run(scenario)


# --- what cannot be handed over ---


def test_a_full_socket_means_that_it_is_kept(run: Run, directory: Path) -> None:
    async def scenario() -> None:
        async with Pair(directory) as pair:
            sender, inbox = pair.sharing[0]._inbox, pair.sharing[1]._inbox
            assert sender is not None
            assert inbox is not None
            # A few messages fill this; the kernel's own limit is 11 here and 513 there (net.unix.max_dgram_qlen).
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            loop = asyncio.get_running_loop()
            loop.remove_reader(inbox)  # a worker that hangs
            clients: list[Client] = []
            with everything_is_sent_elsewhere(pair):
                while pair.given(0)[1] < 3:
                    clients.append(await pair.worlds[0].client())
                    await until(lambda: sum(pair.given(0)) == len(clients))
                room = pair.given(0)[0]
                assert room
                assert pair.served == [3, 0]
                assert pair.rows.on_the_way(1) == room
                loop.add_reader(inbox, pair.sharing[1]._ready)  # it works again
                assert all(await asyncio.gather(*(client.line() for client in clients)))
            assert pair.served == [3, room]
            assert pair.rows.on_the_way(1) == 0

    run(scenario)


def test_a_worker_that_stops_gets_none_and_closes_what_waits(run: Run, directory: Path) -> None:
    async def scenario() -> None:
        async with Pair(directory) as pair:
            waiting = await pair.unread()
            with everything_is_sent_elsewhere(pair):
                # Even who has looked at the numbers before that, and sends when what waited has been taken, keeps it.
                remove, sent = pair.sharing[1]._remove, list[bool]()

                def at_the_last_moment() -> None:
                    pair.rows.hold(1, 0)
                    sent.append(pair.sharing[0].gave(PORT, lambda: 0))
                    pair.rows.forget(1)
                    remove()

                pair.sharing[1]._remove = at_the_last_moment  # type: ignore[method-assign]  # for the moment
                pair.sharing[1].stop()
                assert sent == [False]
                assert pair.held[1] is None
                await pair.worlds[1].listener.stop()
                assert await waiting.line() == ""
                after = await pair.greeted(0)
                assert pair.given(0) == (1, 1)
                pair.rows.hold(1, 0)  # a worker that died without a word
                late = await pair.greeted(0)
                assert pair.given(0) == (1, 2)
                pair.rows.forget(1)
            for client in (after, late):
                client.writer.write(b"hello\n")
                assert await client.line() == "hello\n"

    run(scenario)


def test_what_arrives_at_a_port_that_stops_is_closed(run: Run, directory: Path) -> None:
    async def scenario() -> None:
        async with Pair(directory) as pair:
            pair.worlds[1].listener._stopping = True
            with everything_is_sent_elsewhere(pair):
                client = await pair.worlds[0].client()
                assert await client.line() == ""
            assert pair.worlds[1].numbers.met() == {"stopping": 1}
            assert pair.held[1] == 0

    run(scenario)


def test_a_port_that_the_other_has_not(run: Run, directory: Path) -> None:
    async def scenario() -> None:
        with written() as log:
            async with Pair(directory) as pair:
                pair.sharing[1]._welcomes.clear()
                with everything_is_sent_elsewhere(pair):
                    client = await pair.worlds[0].client()
                    assert await client.line() == ""
                assert pair.rows.on_the_way(1) == 0
            assert log.short("handed_over_unknown", "listener", "remedy") == [("mx", "restart the node")]

    run(scenario)


def test_without_a_descriptor_to_spare_it_waits(run: Run, directory: Path) -> None:
    async def scenario() -> None:
        with written() as log:
            async with Pair(directory) as pair:
                client = await pair.unread()
                with no_descriptor_free():
                    pair.sharing[1]._ready()
                assert pair.held == [0, None]
                assert pair.rows.on_the_way(1) == 1
                assert (await client.line()).startswith("127.0.0.1 ")
                assert pair.held == [0, 1]
            assert len(log.lines("handed_over_waits")) == 1

    run(scenario)


def test_stopping_without_a_descriptor_to_spare(run: Run, directory: Path) -> None:
    async def scenario() -> None:
        async with Pair(directory) as pair:
            client = await pair.unread()
            with no_descriptor_free():
                pair.sharing[1]._ready()
                pair.sharing[1].stop()
            assert await client.line() == ""

    run(scenario)


@contextlib.contextmanager
def no_descriptor_free() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    # A limit of its own, above all that is open: nobody wants to open as many as some machines allow.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(fd.name) for fd in Path("/proc/self/fd").iterdir()) + 5, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_directory_that_is_too_deep_for_the_name_of_a_socket(run: Run, directory: Path) -> None:
    deep = directory / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)

    async def scenario() -> None:
        async with Pair(deep) as pair:
            for _ in range(4):
                await pair.greeted(0)
            assert pair.served == [2, 2]
        assert [file.name for file in deep.iterdir()] == ["connections"]

    run(scenario)


def test_where_it_cannot_be_shared_a_worker_serves_all(run: Run, directory: Path) -> None:
    rows = Rows.create(directory / "connections", 2)
    (directory / "worker-0.socket").mkdir()

    async def scenario() -> None:
        for company in (Company(0, 2, directory), Company(0, 3, directory), Company(0, 2, directory / "none")):
            sharing = Sharing[Mx](company, handed_over())
            async with World(neighbours=sharing) as world:
                with pytest.raises(OSError):  # of three kinds
                    sharing.start()
                rows.hold(1, 0)
                for _ in range(3):
                    assert await (await world.client()).line()
                assert world.numbers.met() == {"accepted": 3}
                sharing.stop()

    run(scenario)
    rows.close()


def test_numbers_that_cannot_be_made_are_a_warning(directory: Path) -> None:
    with written() as log:
        assert create_numbers(directory / "missing" / "connections", 2) is None
        (line,) = log.lines("connections_not_shared")
        assert line["level"] == "warning"
        assert "node.data_dir" in line["remedy"]


# --- processes ---


class Neighbour:
    """A process of `tests.listen.neighbour`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    @classmethod
    async def start(cls, directory: Path, worker: int) -> Neighbour:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.listen.neighbour", str(directory), str(worker), "2"),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(60):
            return cls(process, int(await process.stdout.readline()))

    async def connect(self, stack: contextlib.AsyncExitStack) -> Client:
        """A greeted client."""
        async with asyncio.timeout(20):
            client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        stack.push_async_callback(client.close)
        assert await client.line()
        return client

    async def end(self) -> int:
        """By itself."""
        if self.process.returncode is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
        async with asyncio.timeout(60):
            return await self.process.wait()

    async def kill(self) -> None:
        """Without a word to anybody."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@contextlib.asynccontextmanager
async def processes(directory: Path) -> AsyncIterator[tuple[Rows, list[Neighbour], contextlib.AsyncExitStack]]:
    """Two workers; the stack ends before them."""
    rows = Rows.create(directory / "connections", 2)
    neighbours = [await Neighbour.start(directory, worker) for worker in range(2)]
    try:
        async with contextlib.AsyncExitStack() as stack:
            yield rows, neighbours, stack
    finally:
        codes = [await neighbour.end() for neighbour in neighbours]
        rows.close()
    assert codes == [0, 0]


def even(rows: Rows, number: int) -> Callable[[], bool]:
    return lambda: [rows.held(worker) for worker in range(2)] == [number, number]


async def test_between_processes(directory: Path) -> None:
    async with processes(directory) as (rows, neighbours, stack):
        clients = [await neighbours[0].connect(stack) for _ in range(20)]
        assert even(rows, 10)()
        for client in clients[:10]:
            await client.close()
        await until(lambda: rows.held(0) == rows.held(1) == 5)
        for _ in range(10):
            await neighbours[1].connect(stack)
        assert even(rows, 10)()


async def test_a_dead_worker_s_connections_are_served_here_and_its_successor_is_given_its_part(directory: Path) -> None:
    async with processes(directory) as (rows, neighbours, stack):

        async def come(number: int) -> list[Client]:
            return [await neighbours[0].connect(stack) for _ in range(number)]

        await come(10)
        assert even(rows, 5)()
        await neighbours[1].kill()
        assert rows.held(1) == 5  # its own last word
        later = await come(3)  # one stays by the rule, two because nobody takes them
        assert rows.held(0) == 8
        rows.forget(1)  # as the supervisor does
        await come(2)
        assert rows.held(0) == 10
        neighbours[1] = await Neighbour.start(directory, 1)
        await come(10)
        assert even(rows, 10)()
        for client in later:
            client.writer.write(b"hello\n")
            assert await client.line() == "hello\n"


async def test_a_connection_outlives_the_worker_that_has_handed_it_over(directory: Path) -> None:
    async with processes(directory) as (rows, neighbours, stack):
        own = await neighbours[0].connect(stack)
        other = await neighbours[0].connect(stack)
        assert even(rows, 1)()
        await neighbours[0].kill()
        assert await own.line() == ""
        other.writer.write(b"hello\n")
        assert await other.line() == "hello\n"
        rows.forget(0)
        neighbours[0] = await Neighbour.start(directory, 0)
        await neighbours[0].connect(stack)
        assert even(rows, 1)()
