"""From connect to MAIL: TLS in its four modes, AUTH, XCLIENT, XFORWARD, PROXY."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest

from relay.core.clock import ManualClock
from relay.core.envelope import Origin
from relay.primary.errors import NoContact
from relay.primary.settings import Deadlines, Endpoint, Forward, PoolSettings, SmtpSettings, TlsMode
from relay.primary.smtp import SmtpPool
from relay.proto.sasl.credentials import Credentials
from tests.peers.certs import Authority, server_context
from tests.primary.fake import KEYWORDS, FakeSmtp, Session
from tests.primary.test_transaction import ENVELOPE, ORIGIN, at, deliver, pool_for


def secure_pool(server: FakeSmtp, tls: TlsMode, ca: Path | None, **more: Credentials) -> SmtpPool:
    endpoint = Endpoint("127.0.0.1", server.port, tls, ca_file=str(ca) if ca else None)
    settings = SmtpSettings(endpoint, helo="relay.example.org", deadlines=Deadlines(open=2.0, command=1.0))
    return SmtpPool(msgspec.structs.replace(settings, **more), PoolSettings(), ManualClock())


@pytest.mark.parametrize("tls", [TlsMode.STARTTLS, TlsMode.IMPLICIT])
async def test_mail_goes_through_verified_tls(authority: Authority, tls: TlsMode) -> None:
    context = server_context(authority.issue())
    async with FakeSmtp(context=context, implicit=tls is TlsMode.IMPLICIT) as server:
        pool = secure_pool(server, tls, authority.ca)
        assert (await deliver(pool, b"x" * 300_000 + b"\r\n")).positive
        await pool.close()
    assert server.sessions[0].tls
    assert len(server.taken[0].content) == 300_002


@pytest.mark.parametrize("tls", [TlsMode.STARTTLS, TlsMode.IMPLICIT])
async def test_a_certificate_of_somebody_else_gets_no_mail(authority: Authority, tls: TlsMode) -> None:
    context = server_context(authority.issue())
    async with FakeSmtp(context=context, implicit=tls is TlsMode.IMPLICIT) as server:
        pool = secure_pool(server, tls, None)
        with pytest.raises(NoContact, match="certificate is not valid"):
            await deliver(pool, b"x\r\n")
        await pool.close()
    assert not server.taken


async def test_opportunistic_takes_any_certificate(authority: Authority) -> None:
    expired = server_context(authority.issue("elsewhere.example.com", days=-0.5, stem="expired"))
    async with FakeSmtp(context=expired) as server:
        pool = secure_pool(server, TlsMode.OPPORTUNISTIC, None)
        assert (await deliver(pool, b"x\r\n")).positive
        await pool.close()
    assert server.sessions[0].tls


async def test_opportunistic_falls_back_to_clear_text_when_tls_is_broken() -> None:
    # Without a context the fake says 220 to STARTTLS and then goes on in clear: the handshake reads garbage.
    keywords = (*KEYWORDS, "STARTTLS")

    def script(verb: str, _line: str, session: Session) -> str | None:
        return "220 ready\n250 nonsense" if verb == "STARTTLS" else None

    async with FakeSmtp(script, keywords=keywords) as server:
        pool = secure_pool(server, TlsMode.OPPORTUNISTIC, None)
        assert (await deliver(pool, b"1\r\n")).positive
        assert (await deliver(pool, b"2\r\n")).positive
        await pool.close()
    assert len(server.taken) == 2
    assert len(server.sessions) == 2


async def test_what_comes_with_the_starttls_reply_breaks_the_connection(authority: Authority) -> None:
    context = server_context(authority.issue())
    async with FakeSmtp(at("STARTTLS", "220 ready\n250-injected\n250 SIZE"), context=context) as server:
        pool = secure_pool(server, TlsMode.STARTTLS, authority.ca)
        with pytest.raises(NoContact):
            await deliver(pool, b"x\r\n")
        await pool.close()
    assert not server.taken


async def test_starttls_stripped_on_the_way_gets_no_mail_and_no_password() -> None:
    secret = Credentials("relay", b"open sesame")
    async with FakeSmtp(keywords=(*KEYWORDS, "AUTH PLAIN LOGIN")) as server:
        must = secure_pool(server, TlsMode.STARTTLS, None, credentials=secret)
        with pytest.raises(NoContact, match="does not offer STARTTLS"):
            await deliver(must, b"x\r\n")
        may = secure_pool(server, TlsMode.OPPORTUNISTIC, None, credentials=secret)
        assert (await deliver(may, b"x\r\n")).positive
        await may.close()
    assert not any(command.startswith("AUTH") for session in server.sessions for command in session.commands)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_auth(authority: Authority, mechanism: str) -> None:
    def script(verb: str, line: str, session: Session) -> str | None:
        answers = {"AUTH": "334 VXNlcm5hbWU6", "cmVsYXk=": "334 UGFzc3dvcmQ6", "b3Blbg==": "235 2.7.0 ok"}
        return answers.get(line if verb != "AUTH" else "AUTH") if mechanism == "LOGIN" else None

    context = server_context(authority.issue())
    async with FakeSmtp(script, context=context, keywords=(*KEYWORDS, f"AUTH {mechanism}")) as server:
        pool = secure_pool(server, TlsMode.STARTTLS, authority.ca, credentials=Credentials("relay", b"open"))
        assert (await deliver(pool, b"x\r\n")).positive
        await pool.close()
    if mechanism == "PLAIN":
        plain = base64.b64encode(b"\0relay\0open").decode()
        assert f"AUTH PLAIN {plain}" in server.sessions[0].commands
    else:
        assert "b3Blbg==" in server.sessions[0].commands


async def test_refused_credentials_are_temporary(authority: Authority) -> None:
    context = server_context(authority.issue())
    script = at("AUTH", "535 5.7.8 no")
    async with FakeSmtp(script, context=context, keywords=(*KEYWORDS, "AUTH PLAIN")) as server:
        pool = secure_pool(server, TlsMode.STARTTLS, authority.ca, credentials=Credentials("relay", b"wrong"))
        with pytest.raises(NoContact, match="AUTH was answered 535"):
            await deliver(pool, b"x\r\n")
        await pool.close()


@pytest.mark.parametrize("greeting", ["421 4.3.2 closing", "452 4.3.1 back pressure", "554 5.3.2 no"])
async def test_an_unfriendly_greeting_is_no_contact(greeting: str) -> None:
    async with FakeSmtp(at("GREETING", greeting)) as server:
        pool = pool_for(server)
        with pytest.raises(NoContact, match="greeting was"):
            await deliver(pool, b"x\r\n")


async def test_helo_where_ehlo_is_unknown() -> None:
    async with FakeSmtp(at("EHLO", "502 5.5.1 what")) as server:
        pool = pool_for(server)
        assert (await deliver(pool, b"x\r\n")).positive
        await pool.close()
    assert server.sessions[0].commands[1] == "HELO relay.example.org"


async def test_xclient_names_the_client_before_each_change_of_it() -> None:
    other = Origin(client_address="2001:db8::7", client_port=0, helo="a b\r\nMAIL", client_name=None)
    async with FakeSmtp(keywords=(*KEYWORDS, "XCLIENT NAME ADDR PORT PROTO HELO")) as server:
        pool = pool_for(server, forward=Forward.XCLIENT)
        for origin in (ORIGIN, ORIGIN, other):
            async with pool.transaction(origin) as tx:
                assert (await tx.begin(ENVELOPE, 3, ENVELOPE.recipients[0]))[0].positive
                assert (await tx.rcpt(ENVELOPE.recipients[1])).positive
        await pool.close()
    told = [command for command in server.sessions[0].commands if command.startswith("XCLIENT")]
    assert len(server.sessions) == 1
    assert told == [
        "XCLIENT NAME=mail.example.net ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=client.example.net",
        "XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::7 PORT=[UNAVAILABLE] PROTO=ESMTP HELO=a+20b+0D+0AMAIL",
    ]


async def test_a_refused_xclient_does_not_stop_the_mail() -> None:
    keywords = (*KEYWORDS, "XCLIENT NAME ADDR")
    async with FakeSmtp(at("XCLIENT", "550 5.7.0 not you"), keywords=keywords) as server:
        pool = pool_for(server, forward=Forward.XCLIENT)
        assert (await deliver(pool, b"x\r\n")).positive
        await pool.close()


async def test_xforward_travels_with_mail_and_its_refusal_is_nobodys_business() -> None:
    keywords = (*KEYWORDS, "XFORWARD NAME ADDR PROTO HELO SOURCE IDENT")
    async with FakeSmtp(at("XFORWARD", "550 5.7.0 not you"), keywords=keywords) as server:
        pool = pool_for(server, forward=Forward.XFORWARD)
        async with pool.transaction(ORIGIN, ident="01item") as tx:
            mail, rcpts = await tx.envelope(ENVELOPE, 3)
            assert mail.positive
            assert [reply.code for reply in rcpts] == [250, 250]
        await pool.close()
    assert "IDENT=01item" in server.sessions[0].commands[1]
    assert "ADDR=192.0.2.7" in server.sessions[0].commands[1]


async def test_proxy_header_comes_first_and_the_connection_serves_one_client_only() -> None:
    async with FakeSmtp(proxy=True) as server:
        pool = pool_for(server, forward=Forward.PROXY)
        assert (await deliver(pool, b"x\r\n")).positive
        six = msgspec.structs.replace(ORIGIN, client_address="2001:db8::7")
        async with pool.transaction(six) as tx:
            assert (await tx.begin(ENVELOPE, 3, ENVELOPE.recipients[0]))[0].positive
        await pool.close()
    assert server.sessions[0].head == f"PROXY TCP4 192.0.2.7 127.0.0.1 4711 {server.port}\r\n".encode()
    assert server.sessions[1].head == f"PROXY TCP6 2001:db8::7 ::ffff:127.0.0.1 4711 {server.port}\r\n".encode()
