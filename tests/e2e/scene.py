"""One scene: Postfix and Dovecot as the primary, the relay in front of both, and the hands of senders and users."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import imaplib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.peers.certs import Pair
from tests.peers.dovecot import Dovecot, DovecotSettings
from tests.peers.people import PEOPLE
from tests.peers.ports import LOOPBACK
from tests.peers.postfix import Postfix, PostfixSettings
from tests.peers.process import PATIENCE
from tests.peers.relay import Relay, RelaySettings
from tests.peers.smtpclient import Outcome, SmtpClient
from tests.peers.trace import explain

ALICE, BOB, CAROL = "alice@example.org", "bob@example.org", "carol@example.org"


def message(name: str, body: str = "body", *, size: int = 0) -> bytes:
    """A message that can be told from all others by its `name`."""
    filler = "".join(f"{n:08} filler line of a larger message {n:030}\r\n" for n in range(size // 70))
    return (
        f"From: sender@example.net\r\nSubject: {name}\r\nMessage-ID: <{name}@example.net>\r\n"
        f"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\n\r\n{body}\r\n.dot\r\n{filler}"
    ).encode()


@dataclasses.dataclass
class Scene:
    """The servers; the relay is started."""

    dovecot: Dovecot
    postfix: Postfix
    relay: Relay

    async def send(self, content: bytes, *recipients: str, sender: str = "sender@example.net") -> Outcome:
        """One message through the relay's MX listener."""
        async with await SmtpClient.connect(self.relay.mx_port) as client:
            await client.ehlo()
            outcome = await client.transaction(sender, recipients, content)
            await client.quit()
        return outcome

    async def accept(self, content: bytes, *recipients: str) -> None:
        """The same, and it must be accepted for everybody."""
        outcome = await self.send(content, *recipients)
        assert outcome.accepted, outcome
        assert all(reply.ok for reply in outcome.recipients), outcome

    async def primary_down(self, how: str = "stop") -> None:
        """Both servers, and wait until the relay has noticed."""
        for peer in (self.postfix, self.dovecot):
            await asyncio.to_thread(getattr(peer, how))
        await self.until(lambda: self.relay.smtp_mode() == "standby")
        await self.until(lambda: self.relay.status()["modes"]["login"]["mode"] == "standby")

    async def primary_up(self) -> None:
        """Both servers."""
        for peer in (self.dovecot, self.postfix):
            if peer.running:
                peer.cont()
            else:
                await asyncio.to_thread(peer.start)

    async def until(self, what: Callable[[], bool]) -> None:
        """Until the relay (or a peer) agrees."""
        await asyncio.to_thread(self.relay.until, what)

    async def arrives(self, content: bytes, *addresses: str) -> None:
        """Until each address has it in the primary's INBOX, once, and the primary has noted that."""
        await self.until(lambda: all(copies(self.arrived(address), content) for address in addresses))
        # A Postfix that ends between a delivery and its note of it delivers again.
        await self.until(lambda: self.postfix.queued() == 0)
        for address in addresses:
            once(self.arrived(address), content)

    async def drained(self) -> None:
        """Until the relay owes nothing and the primary has delivered what it took."""
        await self.until(lambda: not self.relay.owed())
        await self.until(lambda: self.postfix.queued() == 0)

    @contextlib.contextmanager
    def login(self, address: str, password: str | None = None) -> Iterator[imaplib.IMAP4]:
        """A user at the relay's IMAP, with the standard library's client."""
        with imaplib.IMAP4(LOOPBACK, self.relay.imap_port, timeout=PATIENCE) as client:
            client.login(address, self.dovecot.password(address) if password is None else password)
            yield client

    def read(self, address: str) -> list[bytes]:
        """Every message in a user's INBOX, through the relay's IMAP."""
        with self.login(address) as client:
            status, _ = client.select("INBOX", readonly=True)
            assert status == "OK"
            status, parts = client.uid("FETCH", "1:*", "(UID BODY.PEEK[])")
            assert status == "OK"
            return [part[1] for part in parts if isinstance(part, tuple)]

    def arrived(self, address: str) -> list[bytes]:
        """Every message in a user's INBOX on the primary itself."""
        return self.dovecot.messages(address)


def _found(messages: Sequence[bytes], content: bytes) -> list[bytes]:
    """Those that are this content below trace lines."""
    return [found for found in messages if found == content or found.endswith(b"\r\n" + content)]


def copies(messages: Sequence[bytes], content: bytes) -> int:
    """How many of them are this content below trace lines."""
    return len(_found(messages, content))


def once(messages: Sequence[bytes], *contents: bytes) -> None:
    """Each content is there once; of what is there twice the failure says who did it."""
    for content in contents:
        there = _found(messages, content)
        assert there, f"{subject(content)} is not there"
        assert len(there) == 1, f"{subject(content)}: {explain(there)}"


def subject(content: bytes) -> str:
    """What a test calls a message."""
    return content.partition(b"Subject: ")[2].partition(b"\r\n")[0].decode(errors="replace")


@contextlib.contextmanager
def scene(
    server_pair: Pair,
    *,
    workers: int = 1,
    config: Mapping[str, Mapping[str, Any]] | None = None,
    more_people: Sequence[str] = (),
) -> Iterator[Scene]:
    """Everything started, and the primary known to be up."""
    everybody = (*PEOPLE, *more_people)
    with contextlib.ExitStack() as stack:
        dovecot = stack.enter_context(Dovecot(DovecotSettings(certificate=server_pair, people=everybody)))
        primary = stack.enter_context(Postfix(PostfixSettings(lmtp_socket=dovecot.lmtp_socket, people=everybody)))
        relay = Relay(
            RelaySettings(
                smtp_port=primary.port,
                imap_port=dovecot.imap_port,
                workers=workers,
                certificate=server_pair,
                config=config or {},
            )
        )
        stack.enter_context(relay)
        relay.until(lambda: all(s["ever_reached"] for s in relay.status()["modes"].values() if s["configured"]))
        yield Scene(dovecot, primary, relay)
