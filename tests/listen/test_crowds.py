"""Many users behind one address, and one mail server that opens too much: each is counted for itself."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator

import pytest

from relay.config.load import parse
from tests.peers.certs import Authority
from tests.peers.ports import LOOPBACK, free_port
from tests.peers.relay import Relay, RelaySettings

OFFICE = 60


@pytest.fixture
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@contextlib.contextmanager
def crowd(port: int, context: ssl.SSLContext | None) -> Iterator[int]:
    """As many connections as an office has, all open at once; how many were greeted."""
    with contextlib.ExitStack() as stack:
        greeted = 0
        for _ in range(OFFICE):
            end: socket.socket = stack.enter_context(socket.create_connection((LOOPBACK, port), timeout=20))
            with contextlib.suppress(OSError):  # closed in the handshake
                if context is not None:
                    end = stack.enter_context(context.wrap_socket(end, server_hostname="mx1.example.org"))
                greeted += end.recv(100).startswith((b"220 ", b"* OK"))
        yield greeted


def test_an_office_behind_one_address_is_let_in_and_a_server_has_its_limit(authority: Authority) -> None:
    imaps, submission, submissions = free_port(), free_port(), free_port()
    listen = {
        "imaps": [f"{LOOPBACK}:{imaps}"],
        "submission": [f"{LOOPBACK}:{submission}"],
        "submissions": [f"{LOOPBACK}:{submissions}"],
    }
    plain = parse('[node]\nhostname = "mx1.example.org"\n').limits  # what a configuration that says nothing means
    limits = {name: getattr(plain, name) for name in ("connections_per_address", "user_connections_per_address")}
    settings = RelaySettings(
        certificate=authority.issue("mx1.example.org"), config={"listen": listen, "limits": limits}
    )
    context = authority.client_context()
    with Relay(settings) as relay, contextlib.ExitStack() as open_all_along:
        found = {
            name: open_all_along.enter_context(crowd(port, context if name.endswith("s") else None))
            for name, port in (
                ("mx", relay.mx_port),
                ("imap", relay.imap_port),
                ("imaps", imaps),
                ("submission", submission),
                ("submissions", submissions),
            )
        }
    assert found == {"mx": 50, "imap": OFFICE, "imaps": OFFICE, "submission": OFFICE, "submissions": OFFICE}
