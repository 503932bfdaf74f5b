"""Pass-through to a real Dovecot, and what happens when it dies, hangs or lies."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from relay.core.mode import Mode, Service, Signal
from relay.primary.errors import NoContact
from relay.primary.imap_raw import Judgement, RawSettings, connect
from relay.primary.settings import Endpoint, ForwardClient, TlsMode
from relay.primary.stream import Stream
from relay.proto.imap import client_data
from relay.proto.imap.client import Data, Status
from relay.serve.offer import Offer
from relay.serve.settings import Deadlines
from tests.peers.certs import Authority, Pair
from tests.peers.dovecot import Dovecot, DovecotSettings
from tests.peers.faultproxy import Break, Fault, Script, Side
from tests.peers.people import password_of
from tests.peers.plugin import MakeDovecot, MakeProxy
from tests.serve.client import Client
from tests.serve.client import connect as connect_client
from tests.serve.conftest import BOB, MESSAGE, Front, MakeFront

PASSWORD = password_of(BOB)


def clear(port: int, **changes: float) -> RawSettings:
    """A primary on this machine, without TLS."""
    settings = RawSettings(Endpoint("127.0.0.1", port, TlsMode.NONE))
    return msgspec.structs.replace(settings, **changes)


async def passed(front: Front) -> Client:
    """A client of Bob's that the primary serves."""
    front.board.all(Mode.NORMAL)
    client = await front.client()
    await client.login(BOB, PASSWORD)
    return client


# --- the raw connection ---


@pytest.mark.peers
@pytest.mark.parametrize("tls", [TlsMode.NONE, TlsMode.OPPORTUNISTIC, TlsMode.STARTTLS, TlsMode.IMPLICIT])
async def test_a_raw_login_on_dovecot(dovecot: Dovecot, authority: Authority, tls: TlsMode) -> None:
    port = dovecot.imaps_port if tls is TlsMode.IMPLICIT else dovecot.imap_port
    endpoint = Endpoint("localhost", port, tls, ca_file=str(authority.ca))
    session = await connect(RawSettings(endpoint))
    answer = await session.login(BOB, PASSWORD.encode())
    assert answer.judgement is Judgement.OK
    assert "UIDPLUS" in answer.capabilities
    session.close()
    session = await connect(RawSettings(endpoint))
    assert (await session.login(BOB, b"wrong")).judgement is Judgement.REFUSED
    session.close()


@asynccontextmanager
async def scripted(*answers: bytes, greeting: bytes = b"* OK hi\r\n") -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers the n-th line with the n-th text (`@` becomes the tag); what it heard."""
    heard: list[bytes] = []
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        for answer in answers:
            line = await reader.readline()
            heard.append(line)
            writer.write(answer.replace(b"@", line.split(b" ")[0]))
        await reader.read()
        writer.transport.abort()
        done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heard
        async with asyncio.timeout(20):
            await done.wait()
    finally:
        server.close()
        await server.wait_closed()


NO_PLAIN = b"* CAPABILITY IMAP4rev1\r\n@ OK x\r\n"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((NO_PLAIN, b"@ OK [CAPABILITY IMAP4rev1 IDLE] in\r\n"), Judgement.OK),
        ((NO_PLAIN, b"@ OK in\r\n", b"* CAPABILITY X IDLE\r\n@ OK x\r\n"), Judgement.OK),
        ((NO_PLAIN, b"@ NO wrong\r\n"), Judgement.REFUSED),
        ((NO_PLAIN, b"@ NO [AUTHENTICATIONFAILED] wrong\r\n"), Judgement.REFUSED),
        ((NO_PLAIN, b"@ NO [UNAVAILABLE] later\r\n"), Judgement.LATER),
        ((NO_PLAIN, b"@ BAD what\r\n"), Judgement.LATER),
    ],
)
async def test_what_counts_as_a_refusal(answers: tuple[bytes, ...], expected: Judgement) -> None:
    async with scripted(*answers) as (port, heard):
        session = await connect(clear(port))
        answer = await session.login('b"ob', b"pass\\word")
        assert answer.judgement is expected
        if expected is Judgement.OK:
            assert "IDLE" in answer.capabilities
        assert heard[1] == b'r2 LOGIN "b\\"ob" "pass\\\\word"\r\n'
        session.close()


async def test_login_with_literals() -> None:
    async with scripted(NO_PLAIN, b"+ go\r\n", b"r2 OK [CAPABILITY X] in\r\n") as (port, heard):
        session = await connect(clear(port))
        assert (await session.login("bob", "pä".encode())).judgement is Judgement.OK
        assert heard[1:] == [b'r2 LOGIN "bob" {3}\r\n', "pä\r\n".encode()]
        session.close()


async def test_plain_without_initial_response() -> None:
    plain = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n@ OK x\r\n"
    async with scripted(plain, b"+ \r\n", b"r2 OK [CAPABILITY X] in\r\n") as (port, heard):
        session = await connect(clear(port))
        assert (await session.login("bob", b"secret")).judgement is Judgement.OK
        assert heard[1:] == [b"r2 AUTHENTICATE PLAIN\r\n", b"AGJvYgBzZWNyZXQ=\r\n"]
        session.close()


@pytest.mark.parametrize(
    ("greeting", "answers", "tls"),
    [
        (b"* PREAUTH come in\r\n", (), TlsMode.NONE),
        (b"* BYE not now\r\n", (), TlsMode.NONE),
        (b"220 smtp.example.com ESMTP\r\n", (), TlsMode.NONE),
        (b"x" * 100_000, (), TlsMode.NONE),
        (b"* OK hi\r\n", (NO_PLAIN, b"@ NO no TLS here\r\n"), TlsMode.STARTTLS),
        (b"* OK hi\r\n", (NO_PLAIN, b"@ OK go\r\n* CAPABILITY INJECTED\r\n"), TlsMode.STARTTLS),
        (b"* OK hi\r\n", (b"* BYE\r\n",), TlsMode.NONE),
        (b"* OK hi\r\n", (b"* 1 EXISTS\r\n" * 2000,), TlsMode.NONE),
    ],
)
async def test_servers_that_are_no_primary(greeting: bytes, answers: tuple[bytes, ...], tls: TlsMode) -> None:
    async with scripted(*answers, greeting=greeting) as (port, heard):
        with pytest.raises(NoContact):
            await connect(RawSettings(Endpoint("127.0.0.1", port, tls), open_seconds=5.0))
        assert not any(b"LOGIN" in line or b"AUTHENTICATE" in line for line in heard)


async def test_a_server_that_accepts_and_hangs_has_a_deadline() -> None:
    async with scripted(greeting=b"") as (port, _):
        with pytest.raises(NoContact, match="in time"):
            await connect(clear(port, open_seconds=0.1))


@pytest.mark.parametrize(
    ("forward", "capability", "said"),
    [
        (ForwardClient.AUTO, b"ID ", True),
        (ForwardClient.AUTO, b"", False),
        (ForwardClient.ID, b"", True),
        (ForwardClient.NONE, b"ID ", False),
    ],
)
async def test_the_primary_is_told_for_whom(forward: ForwardClient, capability: bytes, *, said: bool) -> None:
    greeting = b"* OK [CAPABILITY IMAP4rev1 " + capability + b"AUTH=PLAIN] hi\r\n"
    answers = ((b"* ID NIL\r\n@ BAD what\r\n",) if said else ()) + (b"@ OK x\r\n",)
    async with scripted(*answers, greeting=greeting) as (port, heard):
        settings = msgspec.structs.replace(clear(port), forward_client=forward)
        session = await connect(settings, client="2001:db8::7")
        session.close()
        assert [line for line in heard if b" ID " in line] == (
            [b'r1 ID ("x-originating-ip" "2001:db8::7" "x-proxy-ttl" "5")\r\n'] if said else []
        )


# --- pass-through ---


@pytest.mark.peers
async def test_dovecot_sees_the_client_behind_the_relay(
    make_front: MakeFront, make_dovecot: MakeDovecot, server_pair: Pair
) -> None:
    trusting = DovecotSettings(certificate=server_pair, extra="login_trusted_networks = 127.0.0.0/8\n")
    dovecot = await asyncio.to_thread(make_dovecot, trusting)
    front = await make_front(primary=clear(dovecot.imap_port))
    front.board.all(Mode.NORMAL)
    listener = await front.listen(proxy_from=(ipaddress.ip_network("127.0.0.0/8"),))
    client = await front.stack.enter_async_context(await connect_client(listener.port))
    client.send(b"PROXY TCP4 127.7.7.7 127.0.0.1 4711 143\r\n")
    await client.greeting()
    await client.login(BOB, PASSWORD)
    await client.ok("NOOP")
    assert "rip=127.7.7.7" in dovecot.logged()


@pytest.mark.peers
async def test_what_a_proxy_cannot_keep_is_not_shown(make_front: MakeFront, dovecot: Dovecot) -> None:
    front = await make_front(primary=clear(dovecot.imap_port))
    client = await passed(front)
    (shown,) = await client.ok("CAPABILITY")
    with dovecot.login(BOB) as direct:
        said = str(direct.capability()[1])
    assert "SASL-IR" in said
    assert isinstance(shown, Data)
    through = set(client_data.capabilities(shown.tokens))
    assert "SORT" in through
    assert not through & {"SASL-IR", "LOGIN-REFERRALS", "STARTTLS", "AUTH=PLAIN"}


async def test_the_standby_shows_what_the_primary_showed(make_front: MakeFront) -> None:
    shown = b"@ OK [CAPABILITY IMAP4rev1 IDLE MOVE X-OWN] in\r\n"
    async with scripted(shown, greeting=b"* OK [CAPABILITY IMAP4rev1] hi\r\n") as (port, _):
        front = await make_front(primary=clear(port))
        await passed(front)
        await front.services.chores.drain(20.0)
        front.board.all(Mode.STANDBY)
    client = await front.client()
    await client.login()
    (event,) = await client.ok("CAPABILITY")
    assert isinstance(event, Data)
    words = set(client_data.capabilities(event.tokens))
    assert {"IMAP4REV1", "IDLE", "MOVE"} <= words
    assert {"SORT", "X-OWN"}.isdisjoint(words)
    later = Offer(front.spool.store, front.spool.clock)
    await later.recall()
    assert later.shown == ("IDLE", "IMAP4REV1", "MOVE", "X-OWN")


@pytest.mark.peers
async def test_a_pair_on_which_nothing_moves_ends(make_front: MakeFront, dovecot: Dovecot) -> None:
    front = await make_front(primary=clear(dovecot.imap_port), deadlines=Deadlines(idle=0.2, failure=0.01))
    client = await passed(front)
    await client.script("C: i IDLE\nS: + idling")
    last = (await client.end())[-1]
    assert isinstance(last, Status)
    assert (last.status, last.code) == ("BYE", None)
    assert (Service.IMAP, Signal.FAIL) not in front.board.seen
    await front.left(0)


@pytest.mark.peers
async def test_a_session_on_the_primary_is_the_primarys(make_front: MakeFront, dovecot: Dovecot) -> None:
    front = await make_front(primary=clear(dovecot.imap_port))
    client = await front.client()
    front.board.all(Mode.NORMAL)
    answer = await client.login(BOB, PASSWORD)
    assert answer.code == "CAPABILITY"
    assert "QRESYNC" in repr(answer.arguments)  # Dovecot's, not ours
    assert "LOGINDISABLED" not in repr(answer.arguments)
    async with asyncio.timeout(20):
        assert await front.logins.remembered.get() == (BOB, PASSWORD.encode())
    big = b"Subject: big\r\n\r\n" + b"0123456789abcdef\r\n" * 300_000
    await client.ok("CREATE Pass")
    await client.ok(f"APPEND Pass {{{len(big)}}}", big)
    await client.ok("SELECT Pass")
    (found,) = await client.fetch("FETCH 1 BODY.PEEK[]")
    content = found.sections[b"BODY[]"]
    assert isinstance(content, bytes)
    assert hashlib.sha256(content).digest() == hashlib.sha256(big).digest()
    await client.ok("CLOSE")
    await client.ok("DELETE Pass")
    events = await client.ok("LOGOUT")
    assert [e.status for e in events if isinstance(e, Status)] == ["BYE"]
    assert await client.end() == []
    assert (Service.IMAP, Signal.FAIL) not in front.board.seen
    assert (Service.LOGIN, Signal.OK) in front.board.seen


@pytest.mark.peers
async def test_commands_pipelined_behind_the_login_reach_the_primary(make_front: MakeFront, dovecot: Dovecot) -> None:
    front = await make_front(primary=clear(dovecot.imap_port))
    front.board.all(Mode.NORMAL)
    client = await front.client()
    client.send(f'a LOGIN {BOB} "{PASSWORD}"\r\nb NOOP\r\nc LOGOUT\r\n'.encode())
    client.writer.write_eof()
    tags = [event.tag for event in await client.end() if isinstance(event, Status) and event.status == "OK"]
    assert tags == ["a", "b", "c"]


@pytest.mark.peers
async def test_the_primary_judges_while_it_is_up(make_front: MakeFront, dovecot: Dovecot) -> None:
    front = await make_front(primary=clear(dovecot.imap_port))
    front.board.all(Mode.NORMAL)
    client = await front.client()
    answer = await client.command(f"LOGIN {BOB} secret")  # the standby would let this in
    assert answer.code == "AUTHENTICATIONFAILED"
    assert (front.logins.refusals, front.logins.tried) == (1, [])


async def test_nobody_asks_a_primary_that_is_down(make_front: MakeFront, fault_proxy: MakeProxy) -> None:
    proxy = await fault_proxy(1)
    front = await make_front(primary=clear(proxy.port))
    front.board.modes[Service.LOGIN] = Mode.STANDBY
    await (await front.client()).login(BOB)
    assert proxy.connections == 0


@pytest.mark.peers
@pytest.mark.parametrize(
    "fault",
    [
        Fault(side=Side.UP, at=rb"AUTHENTICATE", action=Break.CUT),
        Fault(side=Side.UP, at=rb"AUTHENTICATE", action=Break.RESET),
        Fault(side=Side.UP, at=rb"AUTHENTICATE", action=Break.DEAFEN),
        Fault(side=Side.DOWN, at=0, action=Break.STALL),
        Fault(side=Side.DOWN, at=0, action=Break.CUT),
        Fault(side=Side.DOWN, at=rb"NO \[AUTH", action=Break.CUT),
    ],
    ids=repr,
)
async def test_the_standby_serves_when_the_primary_dies_during_a_login(
    make_front: MakeFront, dovecot: Dovecot, fault_proxy: MakeProxy, fault: Fault
) -> None:
    proxy = await fault_proxy(dovecot.imap_port, Script(faults=(fault,)))
    front = await make_front(primary=clear(proxy.port, open_seconds=1.0, login_seconds=1.0))
    front.board.all(Mode.NORMAL)
    await front.deliver()
    client = await front.client()
    answer = await client.login(BOB, "secret")
    assert "QRESYNC" not in repr(answer.arguments)
    await client.ok("SELECT INBOX")
    assert "EXISTS" in repr(client.untagged)
    assert front.board.seen == [(Service.IMAP, Signal.FAIL)]


@pytest.mark.peers
async def test_the_client_hears_bye_when_the_primary_dies(
    make_front: MakeFront, dovecot: Dovecot, fault_proxy: MakeProxy
) -> None:
    for hard in (False, True):
        proxy = await fault_proxy(dovecot.imap_port)
        front = await make_front(primary=clear(proxy.port))
        client = await passed(front)
        await client.ok("SELECT INBOX")
        await client.script("C: i IDLE\nS: + idling")
        proxy.cut(hard=hard)
        last = (await client.end())[-1]
        assert isinstance(last, Status)
        assert (last.status, last.code) == ("BYE", "UNAVAILABLE")
        assert (Service.IMAP, Signal.FAIL) in front.board.seen
        await front.left(0)


@pytest.mark.peers
async def test_no_word_of_ours_in_the_middle_of_a_literal(
    make_front: MakeFront, dovecot: Dovecot, fault_proxy: MakeProxy
) -> None:
    proxy = await fault_proxy(
        dovecot.imap_port, Script(faults=(Fault(side=Side.DOWN, at=rb"0123456789abcdef\r\n" * 50, action=Break.CUT),))
    )
    front = await make_front(primary=clear(proxy.port))
    client = await passed(front)
    body = MESSAGE + b"0123456789abcdef\r\n" * 5000
    await client.ok("CREATE Cut")
    await client.ok(f"APPEND Cut {{{len(body)}}}", body)
    await client.ok("SELECT Cut")
    client.send(b"x FETCH 1 BODY.PEEK[]\r\n")
    raw = b""
    async with asyncio.timeout(20):
        while data := await client.reader.read(65536):
            raw += data
    assert b"BYE" not in raw
    assert raw.startswith(b"* 1 FETCH")


@pytest.mark.peers
async def test_a_primary_declared_down_keeps_no_client(make_front: MakeFront, dovecot: Dovecot) -> None:
    front = await make_front(primary=clear(dovecot.imap_port))
    client = await passed(front)
    await client.ok("NOOP")
    front.board.all(Mode.STANDBY)
    last = (await client.end())[-1]
    assert isinstance(last, Status)
    assert (last.status, last.code) == ("BYE", "UNAVAILABLE")
    again = await front.client()
    await again.login(BOB, "secret")


@pytest.mark.peers
async def test_back_pressure_reaches_the_primary(
    make_front: MakeFront, dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not read stops the primary, not the relay: memory stays flat, then everything arrives."""
    front = await make_front(primary=clear(dovecot.imap_port))
    client = await passed(front)
    body = b"Subject: big\r\n\r\n" + b"0123456789abcdef\r\n" * 500_000
    await client.ok("CREATE Slow")
    await client.ok(f"APPEND Slow {{{len(body)}}}", body)
    await client.ok("SELECT Slow")
    full = asyncio.Event()
    real = Stream.pause_writing

    def told(self: Stream) -> None:
        real(self)
        full.set()

    monkeypatch.setattr(Stream, "pause_writing", told)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport
    client.send(b"x FETCH 1 BODY.PEEK[]\r\ny NOOP\r\n")
    async with asyncio.timeout(20):
        await full.wait()
    await (await front.client()).ok("NOOP")
    to_client = front.services.metrics.passed_bytes["to_client"]
    before = sum(sample.value for metric in to_client.collect() for sample in metric.samples[:1])
    assert before < len(body)
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # a read transport
    found = b""
    while not (isinstance(event := await client.event(), Status) and event.tag == "y"):
        if isinstance(event, Data) and (fetched := client_data.fetched(event)) is not None:
            content = fetched.sections[b"BODY[]"]
            assert isinstance(content, bytes)
            found = content
    assert found == body


@pytest.mark.peers
async def test_the_node_stops_under_passed_sessions(make_front: MakeFront, dovecot: Dovecot) -> None:
    front = await make_front(primary=clear(dovecot.imap_port))
    client = await passed(front)
    await client.ok("NOOP")
    await front.listeners[0].stop()
    last = (await client.end())[-1]
    assert isinstance(last, Status)
    assert last.status == "BYE"
