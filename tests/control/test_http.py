"""Metrics, health and status over real HTTP, on the real store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from relay.control.coordinator import Coordinator
from relay.control.http.app import make_app
from relay.control.http.server import HttpServer
from relay.control.sampler import Sampler, SamplerSettings
from relay.core.item import ItemState
from relay.core.mode import Hysteresis, Mode, Service, Signal
from relay.listen.sockets import bind
from relay.obs.metrics import Metrics
from relay.spool.feed import Feed
from relay.spool.pressure import DiskRoom
from relay.spool.replaying import GATE, GateSeen, encode
from relay.store.api import StoreUnavailable
from tests.control.fakes import PATIENCE, until
from tests.spool.conftest import Spool, open_spool


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes


class Node:
    """A node with nothing but its HTTP side."""

    def __init__(self, spool: Spool, board: Coordinator, metrics: Metrics, port: int) -> None:
        self.spool = spool
        self.board = board
        self.metrics = metrics
        self.port = port
        self.listening = True

    async def ask(self, path: str, *, method: str = "GET", host: str = "127.0.0.1") -> Answer:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                raw = await reader.read()
            finally:
                writer.close()
                await writer.wait_closed()
        head, _, body = raw.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
        return Answer(int(lines[0].split()[1]), headers, body)

    async def samples(self) -> dict[str, float]:
        families = text_string_to_metric_families((await self.ask("/metrics")).body.decode())
        return {f"{s.name}{dict(sorted(s.labels.items()))}": s.value for f in families for s in f.samples}


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[Node]:
    async with open_spool(tmp_path) as spool:
        metrics = Metrics()
        feed = Feed(spool.store, spool.clock)
        await feed.start()
        board = Coordinator(
            spool.store, feed, spool.clock, metrics.mode, services={Service.SMTP, Service.IMAP}, rules=Hysteresis()
        )
        await board.start()
        socket = bind("127.0.0.1", 0, shared=True, backlog=5)
        node = Node(spool, board, metrics, socket.getsockname()[1])
        sampler = Sampler(
            spool.store,
            board,
            spool.pressure,
            spool.clock,
            SamplerSettings("edge-1", "0.1.0", tmp_path, retention=7 * 86_400.0),
            listening=lambda: node.listening,
            certificate_expires=lambda: spool.clock.now() + 86_400,
        )
        server = HttpServer(make_app(sampler, metrics, names=["mx1.example.org"]), [socket])
        await server.start()
        try:
            yield node
        finally:
            await server.stop()
            await board.stop()
            await feed.stop()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running(tmp_path) as made:
        yield made


async def test_alive_and_ready(node: Node) -> None:
    assert (await node.ask("/livez")).status == 200
    ready = await node.ask("/readyz")
    assert (ready.status, ready.body) == (200, b"store: ok\ndisk: ok\nlisteners: ok\n")
    assert ready.headers["cache-control"] == "no-store"


async def test_a_dead_primary_does_not_make_the_node_unready(node: Node) -> None:
    for _ in range(2):
        node.board.evidence(Service.SMTP, Signal.FAIL, "connection refused")
    assert node.board.mode(Service.SMTP) is Mode.STANDBY
    assert (await node.ask("/readyz")).status == 200


@pytest.mark.parametrize(
    ("part", "line"), [("store", b"store: FAILED"), ("disk", b"disk: FAILED"), ("listeners", b"listeners: FAILED")]
)
async def test_what_is_missing_is_named(node: Node, part: str, line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unavailable(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("for the test")

    match part:
        case "store":
            monkeypatch.setattr(node.spool.store, "put_setting", unavailable)
            monkeypatch.setattr(node.spool.store, "counts", unavailable)
        case "disk":
            node.spool.room = DiskRoom(0, 1 << 20)
        case _:
            node.listening = False
    answer = await node.ask("/readyz")
    assert answer.status == 503
    assert line in answer.body
    assert (await node.samples())["relay_node_ready{}"] == 0
    assert (await node.ask("/livez")).status == 200


async def test_a_store_that_hangs_is_not_ready_and_blocks_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(node.spool.store, "put_setting", hang)
    slow = asyncio.create_task(node.ask("/readyz"))
    assert (await node.ask("/livez")).status == 200
    assert (await slow).status == 503


async def test_readiness_recovers_once_the_answer_is_old(node: Node) -> None:
    node.listening = False
    assert (await node.ask("/readyz")).status == 503
    node.listening = True
    assert (await node.ask("/readyz")).status == 503
    node.spool.clock.advance(1.0)
    assert (await node.ask("/readyz")).status == 200


async def test_metrics_show_queue_mode_and_machine(node: Node) -> None:
    empty = await node.samples()
    assert empty["relay_queue_items{'state': 'pending'}"] == 0
    assert empty["relay_queue_oldest_seconds{'state': 'pending'}"] == 0
    await node.spool.accept(b"x" * 5000)
    await node.spool.accept(b"y" * 100_000)
    node.board.evidence(Service.IMAP, Signal.FAIL, "connection refused")
    node.spool.clock.advance(90)
    found = await node.samples()
    assert found["relay_queue_items{'state': 'pending'}"] == 2
    assert found["relay_queue_items{'state': 'held'}"] == 0
    assert found["relay_queue_size_bytes{'state': 'pending'}"] == 105_000
    assert found["relay_queue_oldest_seconds{'state': 'pending'}"] == 90
    assert found["relay_queue_age_seconds_bucket{'le': '60.0'}"] == 0
    assert found["relay_queue_age_seconds_bucket{'le': '300.0'}"] == 2
    assert found["relay_queue_message_bytes_bucket{'le': '16384.0'}"] == 1
    assert found["relay_queue_message_bytes_bucket{'le': '+Inf'}"] == 2
    assert found["relay_queue_message_bytes_sum{}"] == 105_000
    assert found["relay_mode_state{'mode': 'suspect', 'service': 'imap'}"] == 1
    assert found["relay_mode_state{'mode': 'normal', 'service': 'imap'}"] == 0
    # A service that the primary does not have is no outage.
    assert found["relay_mode_state{'mode': 'standby', 'service': 'login'}"] == 0
    assert found["relay_mode_never_reached{'service': 'imap'}"] == 1
    assert found["relay_mode_never_reached{'service': 'login'}"] == 0
    assert found["relay_tls_certificate_expiry_seconds{}"] == 86_400
    assert found["relay_node_ready{}"] == 1
    assert found["relay_disk_size_bytes{}"] >= found["relay_disk_free_bytes{}"] > 0
    assert found["relay_disk_size_inodes{}"] >= found["relay_disk_free_inodes{}"]
    assert found["relay_queue_retention_seconds{}"] == 7 * 86_400
    assert found["relay_queue_route_items{'route': 'primary'}"] == 2
    assert found["relay_queue_route_oldest_seconds{'route': 'primary'}"] == 90
    assert found["relay_queue_route_items{'route': 'world'}"] == 0
    assert found["relay_queue_route_oldest_seconds{'route': 'world'}"] == 0
    assert [name for name in found if name.startswith("relay_build_info{") and "'version': '0.1.0'" in name]


async def test_every_family_is_on_the_page_once(node: Node) -> None:
    text = (await node.ask("/metrics")).body.decode()
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    assert len(types) > 50


async def test_status(node: Node) -> None:
    await node.spool.accept(b"Subject: planted-subject\r\n\r\nplanted-body\r\n")
    for _ in range(2):
        node.board.evidence(Service.SMTP, Signal.FAIL, "connection refused")
    await until(lambda: not node.board._owed)
    answer = await node.ask("/api/v1/status")
    assert answer.headers["content-type"] == "application/json"
    said = msgspec.json.decode(answer.body)
    assert (said["node"], said["version"], said["ready"]) == ("edge-1", "0.1.0", True)
    assert said["modes"]["smtp"]["mode"] == "standby"
    assert said["modes"]["smtp"]["reason"] == "connection refused"
    assert said["modes"]["login"]["configured"] is False
    assert said["queue"]["pending"]["items"] == 1
    assert said["replay_paused"] is False
    assert [event["new"] for event in said["events"]] == ["standby"]
    for planted in (b"planted", b"example.org", b"bob", b"alice"):
        assert planted not in answer.body.lower()


async def test_status_knows_of_a_pause(node: Node) -> None:
    await node.spool.store.put_setting("replay.paused", b"1", now=0)
    assert msgspec.json.decode((await node.ask("/api/v1/status")).body)["replay_paused"] is True


async def test_status_says_how_far_the_gate_is_open_and_when_it_is_tried_again(node: Node) -> None:
    store, now = node.spool.store, node.spool.clock.now()

    async def said() -> Any:
        node.spool.clock.advance(5)  # or the last answer still stands
        return msgspec.json.decode((await node.ask("/api/v1/status")).body)["replay"]

    nothing = {"gate": "closed", "since": None, "trips": 0, "resting": False, "next_try": None}
    assert await said() == nothing
    item = (await node.spool.accept(b"x: y\r\n\r\n")).item
    await store.put_setting(GATE, encode(GateSeen("canary", now)), now=now)
    assert await said() == {**nothing, "gate": "canary", "since": now, "next_try": 0}
    await store.put_setting(GATE, encode(GateSeen("closed", now, 3, now + 40)), now=now)
    resting = {"gate": "closed", "since": now, "trips": 3, "resting": True, "next_try": now + 40}
    assert await said() == resting
    await store.put_setting("replay.paused", b"1", now=now)
    assert await said() == {**resting, "gate": "paused"}
    await store.put_setting("replay.paused", b"", now=now)
    await node.spool.queue.move(item, ItemState.HELD)
    await store.put_setting(GATE, b"unreadable", now=now)
    assert await said() == nothing


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("localhost", 200),
        ("relay:8080", 200),
        ("MX1.example.org:8080", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("[evil.example]", 421),
        ("", 421),
    ],
)
async def test_a_web_page_elsewhere_cannot_read_the_status(node: Node, host: str, status: int) -> None:
    assert (await node.ask("/api/v1/status", host=host)).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_can_be_changed(node: Node, method: str) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/api/v1/status"):
        assert (await node.ask(path, method=method)).status == 405


async def test_other_paths_and_garbage(node: Node) -> None:
    assert (await node.ask("/")).status == 404
    assert (await node.ask("/api/v1/../../etc/passwd")).status == 404
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(os.urandom(100) + b"\r\n\r\n")
        answer = await reader.read()
        assert not answer or answer.startswith(b"HTTP/1.1 400")
        writer.close()
        await writer.wait_closed()
    assert (await node.ask("/livez")).status == 200


async def test_a_bug_shows_no_trace(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("planted-detail")

    monkeypatch.setattr(node.spool.store, "counts", broken)
    answer = await node.ask("/api/v1/status")
    assert (answer.status, answer.body) == (500, b"Internal error\n")


async def test_many_askers_cost_one_question(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    counts = node.spool.store.counts

    async def counted() -> Any:
        nonlocal asked
        asked += 1
        return await counts()

    monkeypatch.setattr(node.spool.store, "counts", counted)
    await asyncio.gather(*(node.ask("/metrics") for _ in range(20)))
    assert asked == 1


async def test_signals_stay_ours(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with running(tmp_path):
        assert not loop.remove_signal_handler(2)
        assert not loop.remove_signal_handler(15)
