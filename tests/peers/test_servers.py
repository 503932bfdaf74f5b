"""The real peers do what the tests above them take for granted."""

from __future__ import annotations

import asyncio
import imaplib
import smtplib
import ssl
import time
from collections.abc import Callable

import pytest

from tests.peers import people
from tests.peers.certs import Authority, Pair
from tests.peers.dovecot import EXCHANGE_CAPABILITY, Dovecot, DovecotSettings
from tests.peers.plugin import MakeDovecot, MakePostfix
from tests.peers.ports import LOOPBACK, free_port
from tests.peers.postfix import Postfix, PostfixSettings
from tests.peers.process import PATIENCE, group_alive
from tests.peers.smtpclient import SmtpClient
from tests.peers.smtptools import SmtpSink, smtp_source

pytestmark = pytest.mark.peers

MESSAGE = b"Subject: one\r\nMessage-ID: <one@example.net>\r\n\r\n.leading dot\r\n\r\nlast line\r\n"


def until(what: Callable[[], bool], *, timeout: float = PATIENCE) -> None:
    """Ask a peer again until it agrees; each question takes it a while."""
    deadline = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < deadline, "it never happened"


async def test_postfix_delivers_unchanged_into_a_maildir(maildir_postfix: Postfix) -> None:
    async with await SmtpClient.connect(maildir_postfix.port) as client:
        await client.ehlo()
        outcome = await client.transaction("sender@example.net", ["erin@example.org"], MESSAGE)
        assert outcome.accepted
        await client.quit()
    until(lambda: any(maildir_postfix.mail("erin@example.org")))
    (stored,) = maildir_postfix.mail("erin@example.org")
    assert stored.endswith(b"\nSubject: one" + MESSAGE.replace(b"\r\n", b"\n").removeprefix(b"Subject: one"))


async def test_postfix_delivers_by_lmtp_into_dovecot(postfix: Postfix, dovecot: Dovecot) -> None:
    async with await SmtpClient.connect(postfix.port) as client:
        await client.ehlo()
        outcome = await client.transaction("sender@example.net", ["erin@example.com"], MESSAGE)
        assert outcome.accepted
    until(lambda: bool(dovecot.messages("erin@example.com")))
    (stored,) = dovecot.messages("erin@example.com")
    assert stored.endswith(b"\r\n" + MESSAGE)


async def test_postfix_refuses_unknown_recipients_and_relaying(maildir_postfix: Postfix) -> None:
    async with await SmtpClient.connect(maildir_postfix.port) as client:
        await client.ehlo()
        outcome = await client.transaction(
            "sender@example.net", ["nobody@example.org", "bob@elsewhere.example", "bob@example.org"], MESSAGE
        )
    assert [reply.code for reply in outcome.recipients] == [550, 554, 250]
    assert outcome.recipients[0].text.startswith("5.1.1")
    assert outcome.accepted


async def test_postfix_learns_the_client_by_xclient_and_xforward(maildir_postfix: Postfix) -> None:
    async with await SmtpClient.connect(maildir_postfix.port) as client:
        extensions = await client.ehlo()
        assert "ADDR" in extensions["XCLIENT"].split()
        assert "ADDR" in extensions["XFORWARD"].split()
        assert (await client.command("XCLIENT ADDR=192.0.2.7 NAME=mx.sender.example")).code == 220
        await client.ehlo("mx.sender.example")
        outcome = await client.transaction("sender@example.net", ["frank@example.org"], MESSAGE)
        assert outcome.accepted
    until(lambda: any(maildir_postfix.mail("frank@example.org")))
    assert b"(mx.sender.example [192.0.2.7])" in next(maildir_postfix.mail("frank@example.org"))


async def test_postfix_checks_headers_and_bodies(make_postfix: MakePostfix) -> None:
    peer = make_postfix(
        PostfixSettings(
            header_checks=("/^Subject: .*virus/ REJECT 5.7.1 no",), body_checks=("/^poison/ REJECT 5.7.1 no",)
        )
    )
    async with await SmtpClient.connect(peer.port) as client:
        await client.ehlo()
        finals = [
            (await client.transaction("sender@example.net", ["bob@example.org"], message)).final
            for message in (b"Subject: a virus\r\n\r\nx\r\n", b"Subject: x\r\n\r\npoison\r\n", MESSAGE)
        ]
    assert [final.code for final in finals if final is not None] == [550, 550, 250]


async def test_postfix_stops_comes_back_dies_and_hangs(make_postfix: MakePostfix) -> None:
    peer = make_postfix(PostfixSettings())
    port = peer.port
    for end in (peer.stop, peer.kill):
        end()
        assert not peer.running
        with pytest.raises(ConnectionRefusedError):
            await SmtpClient.connect(port)
        peer.start()
        async with await SmtpClient.connect(port) as client:
            assert client.greeting.code == 220
    peer.stall()
    with pytest.raises(TimeoutError):
        await SmtpClient.connect(port, timeout=0.3)
    peer.cont()
    async with await SmtpClient.connect(port) as client:
        assert client.greeting.code == 220


async def test_postfix_can_be_reconfigured_while_it_runs(make_postfix: MakePostfix) -> None:
    peer = make_postfix(PostfixSettings())
    await asyncio.to_thread(peer.reconfigure, smtpd_recipient_restrictions="defer")
    async with await SmtpClient.connect(peer.port) as client:
        await client.ehlo()
        outcome = await client.transaction("sender@example.net", ["bob@example.org"], MESSAGE)
    assert [reply.code for reply in outcome.recipients] == [450]


def test_dovecot_talks_tls_and_knows_master_users(dovecot: Dovecot, authority: Authority) -> None:
    context = authority.client_context()
    with imaplib.IMAP4_SSL("localhost", dovecot.imaps_port, ssl_context=context, timeout=PATIENCE) as client:
        client.login(f"bob@example.org*{people.MASTER_USER}", people.MASTER_PASSWORD)
        assert client.select("INBOX")[0] == "OK"
    with imaplib.IMAP4(LOOPBACK, dovecot.imap_port, timeout=PATIENCE) as plain:
        plain.starttls(context)
        plain.login("bob@example.org", people.password_of("bob@example.org"))
        assert {"CONDSTORE", "QRESYNC", "UIDPLUS", "MOVE"} <= set(plain.capability()[1][0].decode().split())
        names = {line.rpartition(b'"/" ')[2] for line in plain.list()[1] if isinstance(line, bytes)}
        # Other tests may have made folders of their own in this mailbox.
        assert names >= {b"INBOX", b"Sent", b"Drafts", b"Trash", b"Junk"}


def test_dovecot_can_look_like_exchange(make_dovecot: MakeDovecot, server_pair: Pair) -> None:
    peer = make_dovecot(DovecotSettings(certificate=server_pair, capability=EXCHANGE_CAPABILITY))
    with peer.login("alice@example.org") as client:
        announced = set(client.capability()[1][0].decode().split())
        assert {"IMAP4rev1", "UIDPLUS", "MOVE"} <= announced
        assert not {"CONDSTORE", "QRESYNC", "SPECIAL-USE", "ESEARCH"} & announced


def test_dovecot_stops_comes_back_and_dies(make_dovecot: MakeDovecot, server_pair: Pair) -> None:
    peer = make_dovecot(DovecotSettings(certificate=server_pair))
    for end in (peer.stop, peer.kill):
        end()
        with pytest.raises(ConnectionRefusedError):
            imaplib.IMAP4(LOOPBACK, peer.imap_port, timeout=5)
        peer.start()
        assert peer.messages("alice@example.org") == []


def test_dovecot_changes_passwords_and_forgets_users(make_dovecot: MakeDovecot, server_pair: Pair) -> None:
    peer = make_dovecot(DovecotSettings(certificate=server_pair))
    peer.set_password("alice@example.org", "another one")
    assert peer.messages("alice@example.org") == []
    with imaplib.IMAP4(LOOPBACK, peer.imap_port, timeout=PATIENCE) as client, pytest.raises(imaplib.IMAP4.error):
        client.login("alice@example.org", people.password_of("alice@example.org"))
    peer.remove_user("bob@example.org")
    with imaplib.IMAP4(LOOPBACK, peer.imap_port, timeout=PATIENCE) as client, pytest.raises(imaplib.IMAP4.error):
        client.login("bob@example.org", people.password_of("bob@example.org"))


def test_dovecot_shows_what_postfix_delivers(
    make_postfix: MakePostfix, make_dovecot: MakeDovecot, server_pair: Pair
) -> None:
    sender = make_postfix(PostfixSettings())
    reader = make_dovecot(DovecotSettings(certificate=server_pair, maildirs=sender.maildirs))
    with smtplib.SMTP(LOOPBACK, sender.port, timeout=PATIENCE) as client:
        client.sendmail("sender@example.net", ["alice@example.org"], MESSAGE)
    until(lambda: bool(reader.messages("alice@example.org")))
    assert reader.messages("alice@example.org")[0].endswith(b"\r\n" + MESSAGE)


def test_smtp_source_counts_what_the_sink_swallowed() -> None:
    with SmtpSink() as sink:
        load = smtp_source(sink.port, messages=30, size=1000, sessions=5)
        until(lambda: sink.received == 30)
    assert load.per_second > 0


def test_nothing_survives_a_killed_peer(server_pair: Pair) -> None:
    peer = Dovecot(DovecotSettings(certificate=server_pair))
    peer.start()
    leader = peer.pid
    assert group_alive(leader)
    peer.close()
    assert not group_alive(leader)
    assert not peer.directory.exists()


def test_ports_are_ours_and_below_the_ephemeral_range() -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) == 20
    assert max(ports) < 32_768


def test_certificates_verify_against_their_authority_only(authority: Authority, dovecot: Dovecot) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        imaplib.IMAP4_SSL("localhost", dovecot.imaps_port, ssl_context=ssl.create_default_context(), timeout=PATIENCE)
    assert authority.ca.read_text().startswith("-----BEGIN CERTIFICATE-----")
