"""A renewed certificate on a running node of two workers: HUP, and no connection is lost."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import ssl
import time
from pathlib import Path

from cryptography import x509

from tests.peers.certs import Authority, Pair
from tests.peers.ports import LOOPBACK, free_port
from tests.peers.relay import Config, Relay, RelaySettings

TRIES = 16
"""Connections after which both workers have been met (the kernel spreads them by the peer's port)."""


def starttls(relay: Relay, authority: Authority, name: str) -> int:
    """The serial number of the certificate that the MX port shows to who asks for `name`, verified."""
    with smtplib.SMTP(LOOPBACK, relay.mx_port, timeout=20) as client:
        client._host = name  # type: ignore[attr-defined]  # what smtplib puts into the server name
        client.starttls(context=authority.client_context())
        assert client.sock is not None
        return _serial(client.sock)


def implicit(port: int, authority: Authority, name: str) -> int:
    """The same, of a port with TLS from the first octet."""
    with smtplib.SMTP_SSL(context=authority.client_context(), timeout=20) as client:
        client._host = name  # type: ignore[attr-defined]  # as above
        client.connect(LOOPBACK, port)
        assert client.sock is not None
        return _serial(client.sock)


def _serial(sock: object) -> int:
    assert isinstance(sock, ssl.SSLSocket)
    der = sock.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def serial(pair: Pair) -> int:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number


def said(relay: Relay, event: str, **fields: str) -> int:
    """How often the log says so."""
    lines = [json.loads(line) for line in relay.logged().splitlines() if line.startswith("{")]
    return sum(line["event"] == event and fields.items() <= line.items() for line in lines)


def until_said(relay: Relay, times: int, event: str, **fields: str) -> None:
    """Wait until the log says it so often: once for each worker and signal."""
    deadline = time.monotonic() + 30
    while said(relay, event, **fields) < times:
        assert time.monotonic() < deadline, relay.process.log_tail()
        relay.process.pause()


def test_hup_brings_new_certificates_to_every_worker(tmp_path: Path) -> None:
    authority, submissions = Authority(tmp_path), free_port()
    first, second = authority.issue("mx1.example.org", stem="a"), authority.issue("imap.example.net", stem="b")
    table = {"certificate": str(second.certificate), "private_key": str(second.private_key)}
    config: Config = {"tls": {"more": [table]}, "listen": {"submissions": [f"{LOOPBACK}:{submissions}"]}}
    with Relay(RelaySettings(workers=2, certificate=first, config=config)) as relay:
        until_said(relay, 2, "worker_ready")

        def shown(name: str) -> set[int]:
            asked = [starttls(relay, authority, name) for _ in range(TRIES)]
            return {*asked, *(implicit(submissions, authority, name) for _ in range(TRIES))}

        before = {"mx1.example.org": serial(first), "imap.example.net": serial(second)}
        assert {name: shown(name) for name in before} == {name: {number} for name, number in before.items()}
        with smtplib.SMTP(LOOPBACK, relay.mx_port, timeout=20) as old:
            old.starttls(context=_any_name(authority))
            authority.issue("mx1.example.org", stem="a")
            authority.issue("imap.example.net", stem="b")
            os.kill(relay.pid, signal.SIGHUP)
            until_said(relay, 2, "reloaded", part="tls")
            after = {"mx1.example.org": serial(first), "imap.example.net": serial(second)}
            assert not {*before.values()} & {*after.values()}
            assert {name: shown(name) for name in after} == {name: {number} for name, number in after.items()}
            assert old.noop()[0] == 250
        second.private_key.write_text("nothing")
        os.kill(relay.pid, signal.SIGHUP)
        until_said(relay, 2, "not_reloaded", part="tls")
        assert shown("imap.example.net") == {after["imap.example.net"]}
        assert relay.metric("relay_node_reload_failed", part="tls") == 2
        assert relay.metric("relay_node_reload_failed", part="recipients") == 0
        authority.issue("imap.example.net", stem="b")
        os.kill(relay.pid, signal.SIGHUP)
        until_said(relay, 4, "reloaded", part="tls")
        assert relay.metric("relay_node_reload_failed") == 0


def _any_name(authority: Authority) -> ssl.SSLContext:
    context = authority.client_context()
    context.check_hostname = False
    return context
