"""The way in: who is counted, who is believed, who is kept waiting, and the way out; on both event loops."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl

import pytest

from relay.listen.listener import Listener
from relay.listen.settings import Port
from relay.listen.sockets import bind
from tests.inbound.tls import Tls
from tests.listen.echo import PORT, World
from tests.listen.loops import Run

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
ELSEWHERE = (ipaddress.ip_network("192.0.2.0/24"),)
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"
V2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"
    + bytes([192, 0, 2, 7, 198, 51, 100, 1])
    + (4711).to_bytes(2, "big")
    + (25).to_bytes(2, "big")
)
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"
"""The proxy speaks for itself."""


def test_a_client_is_let_in_and_counted_out(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        for server, client_side in ((None, None), (tls.server, tls.client)):
            async with World(server) as world:
                client = await world.client(client_side)
                assert (await client.line()).split()[::2] == ["127.0.0.1", str(server is not None)]
                assert (world.gate.open, world.numbers.open[PORT].value) == (1, 1)
                client.writer.write(b"hello\nbye\n")
                assert [await client.line() for _ in range(3)] == ["hello\n", "bye\n", ""]
                await world.until_open(0)
                assert world.gate.open == 0
                await client.close()
            assert world.numbers.met() == {"accepted": 1}
            assert world.told == {"drained": 1}

    run(scenario)


@pytest.mark.parametrize("proxy_from", [(), ELSEWHERE], ids=["accepted by the loop", "accepted by us"])
def test_one_too_many_is_told_so_and_takes_nobodys_place(run: Run, proxy_from: tuple[ipaddress.IPv4Network]) -> None:
    async def scenario() -> None:
        async with World(connections=2, per_address=1, proxy_from=proxy_from) as world:
            first = await world.client()
            await first.line()
            again = await world.client()
            assert [await again.line() for _ in range(2)] == ["busy\n", ""]
            second = await world.client(source="127.0.0.2")
            await second.line()
            third = await world.client(source="127.0.0.3")
            assert [await third.line() for _ in range(2)] == ["busy\n", ""]
            await first.close()
            await world.until_open(1)
            fourth = await world.client(source="127.0.0.3")
            assert await fourth.line() != "busy\n"
            assert world.numbers.met() == {"accepted": 3, "too_many_from_address": 1, "too_many": 1}

    run(scenario)


def test_a_handshake_counts_and_one_too_many_is_not_given_one(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with World(tls.server, connections=1) as world:
            silent = await world.client()
            await world.until_met("accepted", 1)
            assert (world.gate.open, world.numbers.open[PORT].value) == (1, 0)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await world.client(tls.client)
            assert world.numbers.met() == {"accepted": 1, "too_many": 1}
            await silent.close()
            await world.failed.wait()
            client = await world.client(tls.client)
            assert await client.line()

    run(scenario)


def test_a_handshake_that_never_comes_has_a_deadline(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with World(tls.server, handshake=0.2) as world:
            client = await world.client()
            assert await client.line() == ""
            await world.failed.wait()
            assert world.gate.open == 0

    run(scenario)


def test_what_is_no_handshake_is_a_fault(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with World(tls.server) as world:
            client = await world.client()
            client.writer.write(b"EHLO x\r\n")
            await world.failed.wait()
        assert world.told == {"handshake_failed": 1, "drained": 1}

    run(scenario)


# --- PROXY ---


@pytest.mark.parametrize(
    ("header", "seen"), [(V1, "192.0.2.7 4711 False"), (V2, "192.0.2.7 4711 False"), (LOCAL, "127.0.0.1 ")]
)
@pytest.mark.parametrize("pieces", [100, 1], ids=["whole", "octets"])
def test_a_trusted_proxy_names_the_client(run: Run, header: bytes, seen: str, pieces: int) -> None:
    async def scenario() -> None:
        async with World(proxy_from=LOOPBACK) as world:
            client = await world.client()
            stream = header + b"hello\n"
            for start in range(0, len(stream), pieces):
                client.writer.write(stream[start : start + pieces])
                await asyncio.sleep(0)
            assert (await client.line()).startswith(seen)
            assert await client.line() == "hello\n"

    run(scenario)


@pytest.mark.parametrize("noise", [b"EHLO x\r\n", b"PROXY TCP4 x\r\n", b"PROXY " + b"x" * 200, b"PROXY ", b""])
def test_a_trusted_proxy_must_send_a_header(run: Run, noise: bytes) -> None:
    async def scenario() -> None:
        async with World(proxy_from=LOOPBACK, proxy_header=0.2) as world:
            client = await world.client()
            client.writer.write(noise)
            assert await client.line() == ""
            gone = await world.client()
            await gone.close()
            await world.until_met("proxy_header", 2)
            assert world.numbers.met() == {"proxy_header": 2}

    run(scenario)


def test_the_client_behind_the_proxy_counts_and_not_the_proxy(run: Run) -> None:
    async def scenario() -> None:
        async with World(proxy_from=LOOPBACK, per_address=1) as world:
            clients = [await world.client() for _ in range(3)]
            for client, header in zip(clients, (V1, V2, V1.replace(b".7 ", b".8 ")), strict=True):
                client.writer.write(header)
            said = [await client.line() for client in clients]
            assert sorted(line.partition(" ")[0] for line in said) == ["192.0.2.7", "192.0.2.8", "busy\n"]

    run(scenario)


def test_those_who_never_say_who_they_are_take_nobodys_memory(run: Run) -> None:
    async def scenario() -> None:
        async with World(proxy_from=LOOPBACK, connections=3) as world:
            silent = [await world.client() for _ in range(4)]
            await world.until_met("too_many", 1)
            assert [await client.line() for client in silent[3:]] == [""]
            for client in silent:
                await client.close()
            await world.until_met("proxy_header", 3)

    run(scenario)


def test_a_stranger_s_header_is_not_believed(run: Run) -> None:
    async def scenario() -> None:
        for trusted in ((), ELSEWHERE):
            async with World(proxy_from=trusted) as world:
                client = await world.client()
                client.writer.write(V1)
                assert (await client.line()).startswith("127.0.0.1 ")
                assert await client.line() == V1.decode()

    run(scenario)


def test_proxy_header_and_client_hello_in_one_segment(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with World(tls.server, proxy_from=LOOPBACK) as world:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            session = tls.client.wrap_bio(incoming, outgoing, server_hostname="localhost")
            client = await world.client()
            prefix, line = V2, b""
            shaken = False
            while not line:
                try:
                    if not shaken:
                        session.do_handshake()
                        shaken = True
                    line = session.read()
                except ssl.SSLWantReadError:
                    client.writer.write(prefix + outgoing.read())
                    prefix = b""
                    incoming.write(await client.reader.read(65_536))
            assert line == b"192.0.2.7 4711 True\n"

    run(scenario)


# --- the end ---


def test_stop_gives_time_and_then_cuts(run: Run) -> None:
    async def scenario() -> None:
        async with World(goodbye=0.3) as world:
            polite, deaf = await world.client(), await world.client()
            for client in (polite, deaf):
                await client.line()
            port = world.listener.port
            stopping = asyncio.ensure_future(world.listener.stop())
            assert [await polite.line(), await deaf.line()] == ["stopping\n", "stopping\n"]
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            polite.writer.write(b"bye\n")
            assert [await polite.line() for _ in range(2)] == ["bye\n", ""]
            assert not stopping.done()
            assert await deaf.line() == ""
            await stopping
            assert world.told == {"drained": 1}
        assert world.told == {"drained": 2}  # stopping twice is once

    run(scenario)


@pytest.mark.parametrize("proxied", [True, False])
def test_stop_does_not_wait_for_those_who_are_still_arriving(run: Run, tls: Tls, proxied: bool) -> None:
    async def scenario() -> None:
        context, trusted = (None, LOOPBACK) if proxied else (tls.server, ())
        async with World(context, proxy_from=trusted, proxy_header=60, handshake=60) as world:
            client = await world.client()
            if not proxied:
                await world.until_met("accepted", 1)
            await world.listener.stop()
            assert await client.line() == ""

    run(scenario)


def test_a_front_that_fails_leaves_no_count_behind(run: Run) -> None:
    async def scenario() -> None:
        complaints: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        for trusted in ((), ELSEWHERE):
            async with World(proxy_from=trusted) as world:
                world.fail = True
                assert await (await world.client()).line() == ""
                world.fail = False
                assert await (await world.client()).line()
            assert world.numbers.met() == {"accepted": 2}
        assert complaints

    run(scenario)


def test_implicit_tls_needs_a_certificate() -> None:
    async def scenario() -> None:
        world = World()
        port = Port(PORT, "127.0.0.1", 0, implicit_tls=True)
        with pytest.raises(ValueError, match="certificate"):
            Listener(
                port,
                world,
                gate=world.gate,
                deadlines=world.listener._deadlines,
                metrics=world.numbers,
                context=None,
            )

    asyncio.run(scenario())


# --- sockets ---


def test_a_port_is_shared_only_where_that_is_said() -> None:
    with bind("127.0.0.1", 0, shared=True, backlog=5) as first:
        port = first.getsockname()[1]
        bind("127.0.0.1", port, shared=True, backlog=5).close()
        with pytest.raises(OSError, match="in use"):
            bind("127.0.0.1", port, shared=False, backlog=5)


@pytest.mark.parametrize("host", ["localhost", "::1", "127.0.0.1"])
def test_names_and_both_families(host: str) -> None:
    with bind(host, 0, shared=False, backlog=5) as bound:
        assert not bound.getblocking()


def test_an_ipv6_port_leaves_ipv4_alone() -> None:
    with bind("::", 0, shared=False, backlog=5) as six:
        bind("0.0.0.0", six.getsockname()[1], shared=False, backlog=5).close()
