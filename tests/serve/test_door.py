"""Before login: TLS, credentials, who may enter, and what strangers cannot do."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import struct

import pytest

from relay.proto.imap.client import Status
from relay.serve.settings import Deadlines, Limits
from tests.peers.certs import Authority
from tests.serve.client import Client, connect
from tests.serve.conftest import BOB, Front, MakeFront

PLAIN = base64.b64encode(b"\0bob@example.org\0secret").decode()


async def tls_client(front: Front, authority: Authority) -> Client:
    """A client that has done STARTTLS."""
    client = await front.client()
    await client.ok("STARTTLS")
    async with asyncio.timeout(20):
        await client.writer.start_tls(authority.client_context(), server_hostname="localhost")
    return client


async def test_every_way_to_log_in(front: Front, authority: Authority) -> None:
    for pieces in (
        (f"LOGIN {BOB} secret",),
        (f"LOGIN {{{len(BOB)}}}", f"{BOB} {{6}}", "secret"),
        (f"LOGIN {{{len(BOB)}+}}\r\n{BOB} {{6+}}\r\nsecret",),
        (f"AUTHENTICATE PLAIN {PLAIN}",),
        ("AUTHENTICATE PLAIN", PLAIN),
        ("AUTHENTICATE LOGIN", base64.b64encode(BOB.encode()), base64.b64encode(b"secret")),
    ):
        client = await tls_client(front, authority)
        answer = await client.command(*pieces)
        assert (answer.status, answer.code) == ("OK", "CAPABILITY")
        await client.ok("SELECT INBOX")
    assert front.logins.tried == [(BOB, "127.0.0.1")] * 6


async def test_starttls_changes_what_is_offered(front: Front, authority: Authority) -> None:
    client = await tls_client(front, authority)
    await client.ok("CAPABILITY")
    assert "STARTTLS" not in repr(client.untagged)
    assert (await client.command("STARTTLS")).status == "BAD"


async def test_what_is_sent_behind_starttls_never_runs(front: Front) -> None:
    client = await front.client()
    client.send(b"a STARTTLS\r\nb LOGIN " + BOB.encode() + b" secret\r\n")
    events = await client.end()
    assert [event.status for event in events if isinstance(event, Status)] == ["BYE"]
    assert front.logins.tried == []


async def test_implicit_tls(front: Front, authority: Authority) -> None:
    listener = await front.listen(name="imaps", implicit_tls=True)
    client = await front.stack.enter_async_context(await connect(listener.port, authority.client_context()))
    greeting = await client.greeting()
    assert "STARTTLS" not in repr(greeting)
    await client.login()


async def test_no_credentials_in_clear(make_front: MakeFront) -> None:
    front = await make_front(plaintext_auth="never")
    client = await front.client()
    await client.ok("CAPABILITY")
    assert "LOGINDISABLED" in repr(client.untagged)
    assert "AUTH=PLAIN" not in repr(client.untagged)
    for command in (f"LOGIN {BOB} secret", f"AUTHENTICATE PLAIN {PLAIN}", "AUTHENTICATE PLAIN"):
        assert (await client.command(command)).code == "PRIVACYREQUIRED"
    assert front.logins.tried == []


async def test_a_failure_looks_like_any_other(front: Front) -> None:
    answers = []
    for command in (
        f"LOGIN {BOB} wrong",
        'LOGIN "" x',
        "LOGIN a {1+}\r\n\xff",
        f"LOGIN {{{len(BOB) + 1}+}}\r\n\n{BOB} secret",
        f"AUTHENTICATE PLAIN {base64.b64encode(b'boss' + bytes(1) + b'bob' + bytes(1) + b'secret').decode()}",
    ):
        client = await front.client()
        answers.append(await client.command(command.encode("latin-1")))
    assert {(a.status, a.code, a.text) for a in answers} == {
        ("NO", "AUTHENTICATIONFAILED", "Wrong user name or password")
    }


async def test_not_now_is_never_said_as_wrong_password(front: Front) -> None:
    client = await front.client()
    assert (await client.command("LOGIN nobody@example.org x")).code == "UNAVAILABLE"
    front.logins.down = True
    assert (await client.command(f"LOGIN {BOB} secret")).code == "UNAVAILABLE"
    front.logins.down = False
    front.logins.throttled = True
    assert (await client.command(f"LOGIN {BOB} secret")).code == "UNAVAILABLE"
    front.logins.throttled = False
    await client.login()


async def test_odd_authentication(front: Front) -> None:
    client = await front.client()
    assert (await client.command("AUTHENTICATE CRAM-MD5")).code == "CANNOT"
    assert (await client.command("AUTHENTICATE PLAIN", "*")).status == "BAD"
    assert (await client.command("AUTHENTICATE PLAIN", "no base 64!")).status == "BAD"
    assert (await client.command("AUTHENTICATE PLAIN AAAA")).status == "BAD"
    assert (await client.command("AUTHENTICATE XOAUTH2")).code == "CANNOT"
    await client.ok("NOOP")
    await client.login()


async def test_too_many_failures_end_it(make_front: MakeFront) -> None:
    front = await make_front(limits=Limits(logins=2, errors=3))
    client = await front.client()
    for _ in range(2):
        client.send(f"a LOGIN {BOB} wrong\r\n".encode())
    assert [e.status for e in await client.end() if isinstance(e, Status)] == ["NO", "NO", "BYE"]
    client = await front.client()
    client.send(b"garbage\r\n" * 10)
    assert [e.status for e in await client.end() if isinstance(e, Status)] == ["BAD", "BAD", "BAD", "BYE"]


async def test_a_stranger_has_only_so_long(make_front: MakeFront) -> None:
    front = await make_front(deadlines=Deadlines(login=0.2, failure=0.01, goodbye=1.0))
    client = await front.client()
    client.send(b"a LOGIN bob ")
    assert [e.status for e in await client.end() if isinstance(e, Status)] == ["BYE"]


async def test_an_idle_user_is_told_goodbye(make_front: MakeFront) -> None:
    front = await make_front(deadlines=Deadlines(idle=0.2, failure=0.01, goodbye=1.0))
    for last in (b"", b"a IDLE\r\n"):
        client = await front.user()
        client.send(last)
        assert [e.status for e in await client.end() if isinstance(e, Status)] == ["BYE"]


async def test_limits_on_connections(make_front: MakeFront) -> None:
    front = await make_front(limits=Limits(connections=3, connections_per_address=2))
    listener = await front.listen()
    first = await front.client()
    await front.client()
    third = await front.stack.enter_async_context(await connect(listener.port))
    (bye,) = await third.end()
    assert isinstance(bye, Status)
    assert (bye.status, bye.code) == ("BYE", "LIMIT")
    await first.ok("LOGOUT")
    await first.end()
    await front.left(2)
    await (await front.client()).login()


async def test_the_proxy_header_names_the_client(make_front: MakeFront) -> None:
    front = await make_front(plaintext_auth="loopback")
    trusted = (ipaddress.ip_network("127.0.0.0/8"),)
    listener = await front.listen(proxy_from=trusted)
    v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + socket.inet_aton("127.0.0.9") + socket.inet_aton("127.0.0.1")
    for header, address in (
        (b"PROXY TCP4 127.0.0.8 127.0.0.1 4711 143\r\n", "127.0.0.8"),
        (v2 + struct.pack("!HH", 4711, 143), "127.0.0.9"),
    ):
        client = await front.stack.enter_async_context(await connect(listener.port))
        client.send(header + b"a NOOP\r\n")
        await client.greeting()
        await client.event()
        await client.login()
        assert front.logins.tried[-1] == (BOB, address)
    client = await front.stack.enter_async_context(await connect(listener.port))
    client.send(b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 143\r\n")
    assert "LOGINDISABLED" in repr(await client.greeting())  # no loopback behind the proxy
    client = await front.stack.enter_async_context(await connect(listener.port))
    client.send(b"a NOOP\r\n")
    assert await client.end() == []


async def test_the_node_stops_with_a_bye(front: Front) -> None:
    clients = [await front.client(), await front.user()]
    idle = await front.user()
    await idle.script("C: a IDLE\nS: + idling")
    await front.listeners[0].stop()
    for client in (*clients, idle):
        last = (await client.end())[-1]
        assert isinstance(last, Status)
        assert (last.status, last.code) == ("BYE", "UNAVAILABLE")
    assert front.services.gate.open == 0


@pytest.mark.parametrize(
    "data",
    [
        b"a LOGIN {10000000000}\r\n",
        b"a LOGIN {10000000000+}\r\n" + bytes(100_000),
        b"a " + b"(" * 100_000 + b"\r\n",
        b"a ID (" + b'"k" "v" ' * 100_000 + b")\r\n",
        b"a " + b"x" * 1_000_000,
        b"\r\n" * 50_000,
        bytes(200_000),
        b"\x16\x03\x01\x02\x00\x01" * 10_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b'a LOGIN "x\r\nb LOGIN (\r\n',
        b"a AUTHENTICATE PLAIN " + b"A" * 100_000 + b"\r\n",
    ],
    ids=lambda data: repr(data[:24]),
)
async def test_what_strangers_throw_at_it(front: Front, data: bytes) -> None:
    victim, bystander = await front.client(), await front.user()
    victim.send(data + b"\r\nz LOGOUT\r\n")
    events = await victim.end()
    assert events
    assert all(isinstance(event, Status) and event.status in ("BAD", "BYE", "OK") for event in events)
    assert len(events) <= 25
    await bystander.nothing_left()
