"""What an office has: the relay, as its operator runs it, and people who know one address each.

In: a primary that is up and knows the users, or users that the operator adds. Out: the relay's names and ports as
clients know them (a certificate that names them, implicit TLS and STARTTLS), and a sender outside who writes to people
in the office.
"""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.clients.gateway import Ways
from tests.peers.certs import Authority
from tests.peers.dovecot import Dovecot
from tests.peers.people import password_of
from tests.peers.ports import LOOPBACK, free_port
from tests.peers.postfix import Postfix
from tests.peers.process import PATIENCE, PeerFailed
from tests.peers.relay import ROOT, Relay, RelaySettings
from tests.peers.smtpclient import SmtpClient

ALICE: Final = "alice@example.org"
BOB: Final = "bob@example.org"
CAROL: Final = "Carol Sender <carol@example.net>"
IMAP_HOST: Final = "imap.example.org"
SMTP_HOST: Final = "smtp.example.org"
WEB_HOST: Final = "autoconfig.example.org"


_ADD_USERS: Final = """
import io, sys
from relay.cli import main
for line in sys.stdin.read().splitlines():
    address, password = line.split("\\t")
    sys.stdin = io.StringIO(password + "\\n")
    try:
        main(["user", "add", address, "--password-stdin", "-c", sys.argv[1]])
    except SystemExit as end:
        if end.code:
            raise
"""
# One process for all of them: most of what a command costs is its start.


def letter(subject: str, *, sender: str = CAROL, to: str = ALICE, body: str = "Good morning.") -> bytes:
    """A short message; its Message-ID is its subject's words."""
    number = subject.replace(" ", "-")
    return (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <{number}@example.net>\r\n"
        f"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{body}\r\n"
    ).encode()


@dataclasses.dataclass(frozen=True)
class Ports:
    """Where the relay serves people."""

    imaps: int
    submission: int
    submissions: int
    https: int


@dataclasses.dataclass(frozen=True)
class Office:
    """A relay that runs, and what its users were told."""

    relay: Relay
    ports: Ports
    ca: Path

    @property
    def ways(self) -> Ways:
        """The public names and ports of RFC 8314 and HTTPS, as a gateway leads to them."""
        return {
            (WEB_HOST, 443): self.ports.https,
            (IMAP_HOST, 993): self.ports.imaps,
            (IMAP_HOST, 143): self.relay.imap_port,
            (SMTP_HOST, 465): self.ports.submissions,
            (SMTP_HOST, 587): self.ports.submission,
        }

    def add_users(self, addresses: Iterable[str]) -> None:
        """The operator adds users, with the passwords that `people` has for them."""
        done = subprocess.run(
            [sys.executable, "-c", _ADD_USERS, str(self.relay.config_file)],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            input="".join(f"{address}\t{password_of(address)}\n" for address in addresses),
            timeout=PATIENCE,
        )
        if done.returncode:
            raise PeerFailed(f"relay user add: {done.stdout}{done.stderr}")

    async def arrives(self, content: bytes, recipient: str = ALICE) -> None:
        """Somebody outside sends this to somebody here, and it is accepted."""
        async with await SmtpClient.connect(self.relay.mx_port) as client:
            await client.ehlo()
            outcome = await client.transaction("carol@example.net", [recipient], content)
            await client.quit()
        assert outcome.accepted, outcome


@contextlib.contextmanager
def office(
    authority: Authority,
    *,
    users: tuple[str, ...] = (),
    primary: tuple[Postfix, Dovecot] | None = None,
    config: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[Office]:
    """A running one. Without a primary there never was one, and the operator adds the users."""
    ports = Ports(free_port(), free_port(), free_port(), free_port())
    pair = authority.issue("localhost", IMAP_HOST, SMTP_HOST, WEB_HOST, stem="office")
    listen = {
        "imaps": [f"{LOOPBACK}:{ports.imaps}"],
        "submission": [f"{LOOPBACK}:{ports.submission}"],
        "submissions": [f"{LOOPBACK}:{ports.submissions}"],
        "https": [f"{LOOPBACK}:{ports.https}"],
    }
    clients = {"imap_host": IMAP_HOST, "smtp_host": SMTP_HOST, "web_host": WEB_HOST}
    smtp, imap = (primary[0].port, primary[1].imap_port) if primary else (None, None)
    relay = Relay(
        RelaySettings(
            smtp_port=smtp,
            imap_port=imap,
            certificate=pair,
            config={"listen": listen, "clients": clients, **(config or {})},
        )
    )
    with contextlib.closing(relay):
        made = Office(relay, ports, authority.ca)
        made.add_users(users)
        relay.start()
        for port in (relay.imap_port, relay.http_port, *dataclasses.astuple(ports)):
            relay.process.await_port(port)
        if primary:
            relay.until(lambda: all(s["ever_reached"] for s in relay.status()["modes"].values() if s["configured"]))
        yield made
