"""Probes: within their time, and no service blamed for another."""

from __future__ import annotations

import asyncio

import pytest

from relay.core.clock import ManualClock, SystemClock
from relay.primary.health import Prober
from relay.primary.imap import Access, ImapPrimary, ImapSettings
from relay.primary.settings import Endpoint, SmtpSettings, TlsMode
from relay.proto.sasl.credentials import Credentials
from tests.peers import people
from tests.peers.dovecot import Dovecot
from tests.peers.postfix import Postfix
from tests.primary.fake import Act, FakeSmtp
from tests.primary.test_imap import imap_server, usual
from tests.primary.test_transaction import at


def prober(port: int, imap: ImapPrimary | None = None, timeout: float = 0.3) -> Prober:
    settings = SmtpSettings(Endpoint("127.0.0.1", port, TlsMode.OPPORTUNISTIC), helo="relay.example.org")
    return Prober(settings, imap, timeout=timeout, clock=ManualClock())


async def test_a_healthy_server_is_ok() -> None:
    async with FakeSmtp() as server:
        probe = await prober(server.port).smtp()
    assert (probe.ok, probe.reason) == (True, "ok")
    assert server.sessions[0].commands[:2] == ["EHLO relay.example.org", "NOOP"]


@pytest.mark.parametrize("verb", ["GREETING", "EHLO", "NOOP"])
@pytest.mark.parametrize("act", [Act.STALL, Act.CUT])
async def test_a_server_that_accepts_and_hangs_is_down_within_the_timeout(verb: str, act: Act) -> None:
    async with FakeSmtp(at(verb, act)) as server:
        async with asyncio.timeout(2.0):
            assert not (await prober(server.port).smtp()).ok


async def test_back_pressure_at_the_greeting_is_down() -> None:
    async with FakeSmtp(at("GREETING", "452 4.3.1 insufficient resources")) as server:
        probe = await prober(server.port).smtp()
    assert (probe.ok, probe.reason) == (False, "greeting was 452")


async def test_imap_and_login_fail_alone() -> None:
    logins: list[str] = []

    def answer(tag: str, rest: str) -> str | None:
        if rest.startswith("LOGIN"):
            logins.append(rest)
            return f"{tag} {'OK in' if len(logins) == 1 else 'NO LOGIN failed.'}\r\n"
        return usual(tag, rest)

    async with FakeSmtp() as server, imap_server("* OK hello\r\n", answer) as port:
        settings = ImapSettings(
            Endpoint("127.0.0.1", port, TlsMode.NONE), access=Access.MASTER, master=Credentials("relay", b"x")
        )
        prober_ = prober(server.port, ImapPrimary(settings))
        assert (await prober_.login()).ok
        assert not (await prober_.login()).ok
        assert (await prober_.imap()).ok
    assert not (await prober_.imap()).ok


async def test_a_master_without_a_mailbox_is_asked_once() -> None:
    logins: list[str] = []

    def answer(tag: str, rest: str) -> str | None:
        if rest.startswith("LOGIN"):
            logins.append(rest)
            return f"{tag} NO wrong\r\n"
        return usual(tag, rest)

    async with imap_server("* OK hello\r\n", answer) as port:
        settings = ImapSettings(
            Endpoint("127.0.0.1", port, TlsMode.NONE), access=Access.MASTER, master=Credentials("relay", b"x")
        )
        prober_ = prober(1, ImapPrimary(settings))
        assert (await prober_.login()).ok
        assert (await prober_.login()).ok
    assert len(logins) == 1
    assert not (await prober_.login()).ok


@pytest.mark.peers
async def test_real_servers(postfix: Postfix, dovecot: Dovecot) -> None:
    settings = ImapSettings(
        Endpoint("127.0.0.1", dovecot.imap_port, TlsMode.OPPORTUNISTIC),
        access=Access.MASTER,
        master=Credentials(people.MASTER_USER, people.MASTER_PASSWORD.encode()),
        probe_user="alice@example.org",
    )
    smtp = SmtpSettings(Endpoint("127.0.0.1", postfix.port), helo="relay.example.org")
    probes = Prober(smtp, ImapPrimary(settings), timeout=5.0, clock=SystemClock())
    for probe in (await probes.smtp(), await probes.imap(), await probes.login()):
        assert (probe.ok, probe.reason) == (True, "ok")
        assert probe.seconds < 5.0
