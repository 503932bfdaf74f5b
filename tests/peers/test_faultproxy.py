"""The proxy breaks exactly where it is told, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.peers.faultproxy import END_OF_MAIL, Break, Fault, FaultProxy, Script, Shape, Side
from tests.peers.plugin import MakeProxy
from tests.peers.ports import LOOPBACK
from tests.peers.process import PATIENCE


class Recorder:
    """A server that keeps what it gets and says what it is told to say."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.closed = asyncio.Event()
        self.answer = b""
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read to the end; answer each block."""
        try:
            while block := await reader.read(1 << 16):
                self.received.append(block)
                if self.answer:
                    writer.write(self.answer)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.closed.set()
            writer.close()

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self.received)


@pytest_asyncio.fixture
async def recorder() -> AsyncIterator[Recorder]:
    """A running recorder."""
    it = Recorder()
    server = await asyncio.start_server(it.serve, LOOPBACK, 0)
    it.port = server.sockets[0].getsockname()[1]
    yield it
    server.close()


async def converse(proxy: FaultProxy, data: bytes, *, half_close: bool = True) -> bytes:
    """Send, say EOF, and return what comes back until the end."""
    reader, writer = await asyncio.open_connection(LOOPBACK, proxy.port)
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(data)
            if half_close:
                writer.write_eof()
            return await reader.read()
    finally:
        writer.close()


async def test_bytes_pass_unchanged_without_a_script(fault_proxy: MakeProxy, recorder: Recorder) -> None:
    recorder.answer = b"yes"
    proxy = await fault_proxy(recorder.port)
    data = bytes(range(256)) * 4096
    answer = await converse(proxy, data)
    assert recorder.data == data
    assert set(answer.split(b"yes")) == {b""}
    assert proxy.connections == 1


@pytest.mark.parametrize("place", [0, 1, 7, 12])
async def test_cut_at_a_byte_number(fault_proxy: MakeProxy, recorder: Recorder, place: int) -> None:
    cut = Fault(side=Side.UP, at=place, action=Break.CUT)
    proxy = await fault_proxy(recorder.port, Script(faults=(cut,)))
    assert await converse(proxy, b"0123456789abc", half_close=False) == b""
    async with asyncio.timeout(PATIENCE):
        await recorder.closed.wait()
    assert recorder.data == b"0123456789abc"[:place]
    assert proxy.fired == [cut]


@pytest.mark.parametrize(("after", "passed"), [(False, b"mail\r\n.two"), (True, b"mail\r\n.two\r\n.\r\n")])
@pytest.mark.parametrize("block", [1, 3, 1 << 16])
async def test_cut_around_the_final_dot(
    fault_proxy: MakeProxy, recorder: Recorder, after: bool, passed: bytes, block: int
) -> None:
    """A pattern is seen across blocks too; then "before" means before the block that completes it."""
    cut = Fault(side=Side.UP, at=END_OF_MAIL, action=Break.CUT, after=after)
    proxy = await fault_proxy(recorder.port, Script(faults=(cut,), up=Shape(block=block)))
    await converse(proxy, b"mail\r\n.two\r\n.\r\nQUIT\r\n", half_close=False)
    async with asyncio.timeout(PATIENCE):
        await recorder.closed.wait()
    if after or block > 15:
        assert recorder.data == passed
    else:
        assert recorder.data.startswith(passed)
        assert len(recorder.data) < len(passed) + 5


async def test_the_second_reply_is_lost(fault_proxy: MakeProxy, recorder: Recorder) -> None:
    recorder.answer = b"250 ok\r\n"
    lost = Fault(side=Side.DOWN, at=rb"250 ", action=Break.RESET, nth=2)
    proxy = await fault_proxy(recorder.port, Script(faults=(lost,)))
    reader, writer = await asyncio.open_connection(LOOPBACK, proxy.port)
    writer.write(b"one")
    async with asyncio.timeout(PATIENCE):
        assert await reader.readuntil(b"\r\n") == b"250 ok\r\n"
        writer.write(b"two")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
    writer.close()
    assert recorder.data == b"onetwo"


async def test_a_stall_holds_back_until_it_is_released(fault_proxy: MakeProxy, recorder: Recorder) -> None:
    proxy = await fault_proxy(recorder.port, Script(faults=(Fault(side=Side.UP, at=3, action=Break.STALL),)))
    conversation = asyncio.create_task(converse(proxy, b"abcdef"))
    await proxy.wait_fired()
    assert recorder.data in (b"", b"abc")
    proxy.release()
    await conversation
    assert recorder.data == b"abcdef"


async def test_a_deaf_direction_swallows(fault_proxy: MakeProxy, recorder: Recorder) -> None:
    proxy = await fault_proxy(recorder.port, Script(faults=(Fault(side=Side.UP, at=2, action=Break.DEAFEN),)))
    await converse(proxy, b"abcdef" * 1000)
    assert recorder.data == b"ab"


async def test_something_happens_between_two_bytes(fault_proxy: MakeProxy, recorder: Recorder) -> None:
    seen: list[bytes] = []

    async def look() -> None:
        seen.append(recorder.data)

    faults = tuple(Fault(side=Side.UP, at=place, action=look) for place in (2, 4))
    proxy = await fault_proxy(recorder.port, Script(faults=faults))
    await converse(proxy, b"abcdef")
    assert recorder.data == b"abcdef"
    assert len(seen) == 2
    assert all(b"abcdef"[:place].startswith(part) for part, place in zip(seen, (2, 4), strict=True))


async def test_slices_and_delays_change_nothing_but_time(fault_proxy: MakeProxy, recorder: Recorder) -> None:
    proxy = await fault_proxy(recorder.port, Script(up=Shape(block=5, delay=0.001)))
    await converse(proxy, b"0123456789" * 5)
    assert recorder.data == b"0123456789" * 5
    assert max(map(len, recorder.received)) < 50


async def test_scripts_are_per_connection_and_the_port_can_vanish(fault_proxy: MakeProxy, recorder: Recorder) -> None:
    proxy = await fault_proxy(recorder.port, Script(faults=(Fault(side=Side.UP, at=0, action=Break.CUT),)))
    await converse(proxy, b"lost", half_close=False)
    await converse(proxy, b"kept")
    assert recorder.data == b"kept"
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await converse(proxy, b"x")
    await proxy.listen()
    await converse(proxy, b" again")
    assert recorder.data == b"kept again"
    assert proxy.connections == 3


async def test_an_upstream_that_is_down_looks_down(fault_proxy: MakeProxy, unused_tcp_port: int) -> None:
    proxy = await fault_proxy(unused_tcp_port)
    with pytest.raises(ConnectionResetError):
        await converse(proxy, b"x", half_close=False)
