"""One standby without a primary for the whole folder, and a Dovecot beside it; each test takes users of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.conformance.wire import Wire
from tests.peers.certs import Pair
from tests.peers.dovecot import Dovecot
from tests.peers.people import password_of
from tests.peers.process import PATIENCE
from tests.peers.relay import ROOT, Relay, RelaySettings

_USERS = tuple(f"u{n:03}@example.org" for n in range(40, 64))


@dataclass
class Pairing:
    """The two servers, and names that exist on both."""

    relay: Relay
    dovecot: Dovecot
    _unused: Iterator[str] = field(default_factory=lambda: iter(_USERS))

    def user(self) -> str:
        """An address that nobody has used before; it may log in on both."""
        address = next(self._unused)
        add_user(self.relay, address)
        return address

    def ours(self, user: str) -> Wire:
        """Logged in on the standby."""
        return logged_in(self.relay.imap_port, user)

    def theirs(self, user: str) -> Wire:
        """Logged in on Dovecot."""
        return logged_in(self.dovecot.imap_port, user)


def logged_in(port: int, user: str) -> Wire:
    """A connection of a user's."""
    wire = Wire(port)
    try:
        wire.login(user, password_of(user))
    except BaseException:
        wire.close()
        raise
    return wire


def add_user(relay: Relay, address: str) -> None:
    """`relay user add`, with the password that Dovecot knows."""
    subprocess.run(
        [sys.executable, "-m", "relay", "user", "add", address, "--password-stdin", "-c", str(relay.config_file)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        input=password_of(address).encode() + b"\n",
        timeout=PATIENCE,
    )


@pytest.fixture(scope="session")
def standby(server_pair: Pair) -> Iterator[Relay]:
    """A running relay that has no primary."""
    # The usual mailboxes are those that the Dovecot of the tests makes by itself.
    relay = Relay(RelaySettings(certificate=server_pair, config={"imap.folders": {"archive": ""}}))
    with relay:
        yield relay


@pytest.fixture(scope="session")
def pairing(standby: Relay, dovecot: Dovecot) -> Pairing:
    """Both servers."""
    return Pairing(standby, dovecot)
