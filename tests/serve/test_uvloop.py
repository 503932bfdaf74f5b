"""The same front on the loop that the node uses: TLS upgrades, pauses and raw sockets differ there."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from relay.core.mode import Mode
from relay.primary.imap_raw import RawSettings
from relay.primary.settings import Endpoint, TlsMode
from relay.proto.imap.client import Status
from tests.peers.certs import Authority, Pair
from tests.peers.dovecot import Dovecot
from tests.peers.people import password_of
from tests.serve.client import connect
from tests.serve.conftest import BOB, Front, open_fronts


def on_uvloop(
    tmp_path: Path, pair: Pair, work: Callable[[Front], Awaitable[None]], primary: RawSettings | None = None
) -> None:
    """Run a test's work with a front of its own."""

    async def run() -> None:
        async with open_fronts(tmp_path, pair) as make:
            await work(await make(primary=primary))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_starttls_then_mail(tmp_path: Path, server_pair: Pair, authority: Authority) -> None:
    async def work(front: Front) -> None:
        await front.deliver()
        client = await front.client()
        await client.ok("STARTTLS")
        async with asyncio.timeout(20):
            await client.writer.start_tls(authority.client_context(), server_hostname="localhost")
        await client.login()
        await client.ok("SELECT INBOX")
        (found,) = await client.fetch("FETCH 1 BODY.PEEK[TEXT]")
        assert found.sections == {b"BODY[TEXT]": b"Hi Bob\r\n"}
        injected = await front.client()
        injected.send(b"a STARTTLS\r\nb NOOP\r\n")
        assert [e.status for e in await injected.end() if isinstance(e, Status)] == ["BYE"]

    on_uvloop(tmp_path, server_pair, work)


def test_implicit_tls_behind_a_proxy(tmp_path: Path, server_pair: Pair, authority: Authority) -> None:
    async def work(front: Front) -> None:
        listener = await front.listen(
            name="imaps", implicit_tls=True, proxy_from=(ipaddress.ip_network("127.0.0.0/8"),)
        )
        client = await front.stack.enter_async_context(await connect(listener.port))
        client.send(b"PROXY TCP4 127.0.0.7 127.0.0.1 4711 993\r\n")
        async with asyncio.timeout(20):
            await client.writer.start_tls(authority.client_context(), server_hostname="localhost")
        await client.greeting()
        await client.login()
        assert front.logins.tried == [(BOB, "127.0.0.7")]

    on_uvloop(tmp_path, server_pair, work)


@pytest.mark.peers
def test_pass_through(tmp_path: Path, server_pair: Pair, authority: Authority, dovecot: Dovecot) -> None:
    async def work(front: Front) -> None:
        front.board.all(Mode.NORMAL)
        client = await front.client()
        await client.login(BOB, password_of(BOB))
        body = b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n" * 100_000
        await client.ok("CREATE Uv")
        await client.ok(f"APPEND Uv {{{len(body)}}}", body)
        await client.ok("SELECT Uv")
        (found,) = await client.fetch("FETCH 1 BODY.PEEK[]")
        assert found.sections[b"BODY[]"] == body
        front.board.all(Mode.STANDBY)
        last = (await client.end())[-1]
        assert isinstance(last, Status)
        assert last.status == "BYE"

    endpoint = Endpoint("localhost", dovecot.imap_port, TlsMode.STARTTLS, ca_file=str(authority.ca))
    on_uvloop(tmp_path, server_pair, work, RawSettings(endpoint))
