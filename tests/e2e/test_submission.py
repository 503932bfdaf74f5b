"""Users send: through the primary while it is up, to colleagues and to the world while it is not; nobody else does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scene import ALICE, BOB, CAROL, Scene, copies, message, once
from tests.peers.certs import Authority, Pair
from tests.peers.dovecot import Dovecot, DovecotSettings
from tests.peers.ports import LOOPBACK, free_port
from tests.peers.postfix import Postfix, PostfixSettings
from tests.peers.relay import Relay, RelaySettings
from tests.peers.smtpclient import SmtpClient, dot_stuff
from tests.world.verifying import RSA, pem, verifies

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]

FRIEND = "friend@world.example"
_AUTH = """\
auth_mechanisms = plain login
service auth {
  unix_listener smtp-auth {
    mode = 0666
  }
}
"""


def letter(name: str, sender: str = ALICE) -> bytes:
    """A message as a user's client sends it."""
    return message(name).replace(b"sender@example.net", sender.encode())


@dataclasses.dataclass
class Office(Scene):
    """A scene whose users send."""

    smarthost: Postfix
    port: int
    tls_port: int
    trust: ssl.SSLContext

    @contextlib.asynccontextmanager
    async def user(self, address: str = ALICE, *, implicit: bool = False) -> AsyncIterator[SmtpClient]:
        """A client that is logged in."""
        port = self.tls_port if implicit else self.port
        async with await SmtpClient.connect(port, tls=self.trust if implicit else None) as client:
            await client.ehlo()
            if not implicit:
                assert (await client.starttls(self.trust)).code == 220
                await client.ehlo()
            secret = base64.b64encode(f"\0{address}\0{self.dovecot.password(address)}".encode()).decode()
            answer = await client.command(f"AUTH PLAIN {secret}")
            assert answer.code == 235, answer
            yield client

    async def down(self) -> None:
        """The primary is gone, and that is known."""
        await self.primary_down()
        await self.until(lambda: self.relay.status()["modes"]["submission"]["mode"] == "standby")

    async def up(self) -> None:
        """It is back, and that is known."""
        await self.primary_up()
        await self.until(lambda: self.relay.status()["modes"]["submission"]["mode"] == "normal")

    def abroad(self) -> list[bytes]:
        """What the world got, with the line ends it was sent with."""
        return [mail.replace(b"\n", b"\r\n") for mail in self.smarthost.mail(FRIEND)]

    def routes(self) -> dict[str, int]:
        """What the operator sees waiting, by route."""
        return {route: counted for route, counted in self.relay.status()["routes"].items() if counted}


@contextlib.contextmanager
def office(
    server_pair: Pair,
    authority: Authority,
    tmp_path: Path,
    *,
    config: Mapping[str, Mapping[str, Any]] | None = None,
    primary: Mapping[str, str] | None = None,
) -> Iterator[Office]:
    """Everything started, and the primary known to be up."""
    key = tmp_path / "dkim.pem"
    key.write_bytes(pem(RSA))
    port, tls_port = free_port(), free_port()
    encrypting = PostfixSettings(certificate=server_pair.certificate, private_key=server_pair.private_key)
    verified = {"host": LOOPBACK, "tls": "starttls", "ca_file": str(authority.ca)}
    with contextlib.ExitStack() as stack:
        smarthost = stack.enter_context(Postfix(dataclasses.replace(encrypting, people=(FRIEND,))))
        dovecot = stack.enter_context(Dovecot(DovecotSettings(certificate=server_pair, extra=_AUTH)))
        owners = smarthost.config / "owners"
        owners.write_text("/^(.+)$/ $1\n")
        parameters = {
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": str(dovecot.lmtp_socket.parent / "smtp-auth"),
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject_unauth_destination",
            "smtpd_sender_restrictions": "reject_authenticated_sender_login_mismatch",
            "smtpd_sender_login_maps": f"regexp:{owners}",
            "relayhost": f"[{LOOPBACK}]:{smarthost.port}",
        }
        settings = dataclasses.replace(
            encrypting, lmtp_socket=dovecot.lmtp_socket, parameters={**parameters, **(primary or {})}
        )
        postfix = stack.enter_context(Postfix(settings))
        keys: dict[str, dict[str, Any]] = {
            "listen": {"submission": [f"{LOOPBACK}:{port}"], "submissions": [f"{LOOPBACK}:{tls_port}"]},
            "primary.submission": {**verified, "port": postfix.port},
            "world": {
                "dns_servers": [LOOPBACK],
                "dkim": [{"domain": "example.org", "selector": "r1", "key_file": str(key)}],
            },
            "world.smarthost": {**verified, "port": smarthost.port},
            "submission": {"send_as": [{"user": ALICE, "addresses": ["sales@example.org"]}]},
        }
        for section, more in (config or {}).items():
            keys.setdefault(section, {}).update(more)
        relay = Relay(
            RelaySettings(
                smtp_port=postfix.port,
                imap_port=dovecot.imap_port,
                certificate=server_pair,
                config=keys,
            )
        )
        stack.enter_context(relay)
        relay.until(lambda: all(s["ever_reached"] for s in relay.status()["modes"].values() if s["configured"]))
        trust = ssl.create_default_context(cafile=str(authority.ca))
        yield Office(dovecot, postfix, relay, smarthost, port, tls_port, trust)


@pytest.fixture
def here(server_pair: Pair, authority: Authority, tmp_path: Path) -> Iterator[Office]:
    """An office with a way out."""
    with office(server_pair, authority, tmp_path) as made:
        yield made


def is_report(mail: bytes, about: str) -> bool:
    """Whether it is a delivery status notification about this recipient."""
    return b"report-type=delivery-status" in mail and f"rfc822; {about}".encode() in mail


async def test_an_outage_during_which_users_write(here: Office) -> None:
    for address in (ALICE, BOB):
        with here.login(address):
            pass
    await here.down()
    content = letter("to-both")
    async with here.user() as client:
        outcome = await client.transaction(ALICE, [BOB, FRIEND, "nobody@world.example"], content)
        assert outcome.accepted, outcome
        # The colleague has it when the sender has heard that it was taken.
        once(here.read(BOB), content)
        spoofed = await client.transaction(ALICE, [FRIEND], letter("spoofed", BOB))
        assert spoofed.final is not None
        assert spoofed.final.code == 550
        assert (await client.command(f"MAIL FROM:<{BOB}>")).code == 553
        assert (await client.transaction("sales@example.org", [BOB], letter("sale", "sales@example.org"))).accepted
    await here.until(lambda: copies(here.abroad(), content) == 1)
    (abroad,) = here.abroad()
    assert verifies(abroad)
    assert b"with ESMTPS" in abroad
    # Who is not there is told to the user who wrote, on the standby.
    await here.until(lambda: any(is_report(mail, "nobody@world.example") for mail in here.read(ALICE)))
    assert here.relay.metric("relay_world_transactions_total", protection="smarthost", result="taken") == 1
    assert here.relay.metric("relay_world_signatures_total", result="signed") >= 1
    await here.until(lambda: here.routes() == {"primary": 3})
    await here.up()
    await here.drained()
    once(here.arrived(BOB), content, letter("sale", "sales@example.org"))
    assert len(here.arrived(BOB)) == 2
    assert sum(is_report(mail, "nobody@world.example") for mail in here.arrived(ALICE)) == 1
    assert len(here.abroad()) == 1
    assert here.routes() == {}


async def test_while_the_primary_is_up_it_has_the_word(here: Office) -> None:
    content = letter("through")
    async with here.user(implicit=True) as client:
        outcome = await client.transaction(ALICE, [BOB, "nobody@example.org", FRIEND], content)
        assert [answer.code for answer in outcome.recipients] == [250, 550, 250]
        assert "User unknown in virtual mailbox table" in outcome.recipients[1].text
        assert outcome.final is not None
        assert "queued as" in outcome.final.text
        refused = await client.transaction(BOB, [FRIEND], letter("refused", BOB))
        assert "not owned by user" in (refused.mail.text + " ".join(answer.text for answer in refused.recipients))
    await here.arrives(content, BOB)
    await here.until(lambda: len(here.abroad()) == 1)
    assert b"by primary.example.org" in here.abroad()[0]
    assert not here.relay.owed()
    # What worked there is known here, from submission alone.
    await here.down()
    async with here.user() as client:
        assert (await client.transaction(ALICE, [BOB], letter("later"))).accepted
    with pytest.raises(AssertionError, match="454"):
        async with here.user(CAROL):
            pass


@pytest.mark.parametrize("moment", ["recipients", "content"])
async def test_the_message_during_which_the_primary_dies(here: Office, moment: str) -> None:
    content = letter("dying")
    async with here.user() as client:
        assert (await client.command(f"MAIL FROM:<{ALICE}>")).code == 250
        assert (await client.command(f"RCPT TO:<{BOB}>")).code == 250
        assert (await client.command(f"RCPT TO:<{FRIEND}>")).code == 250
        if moment == "recipients":
            await asyncio.to_thread(here.postfix.kill)
        assert (await client.command("DATA")).code == 354
        if moment == "content":
            await asyncio.to_thread(here.postfix.kill)
        await client.send(dot_stuff(content))
        assert (await client.reply()).code == 250
    await here.until(lambda: copies(here.abroad(), content) == 1)
    await asyncio.to_thread(here.postfix.start)
    await here.drained()
    once(here.arrived(BOB), content)
    assert copies(here.abroad(), content) == 1


async def test_mail_for_the_world_can_be_kept_for_the_primary(
    server_pair: Pair, authority: Authority, tmp_path: Path
) -> None:
    trusting = {"mynetworks": "127.0.0.0/8", "smtpd_relay_restrictions": "permit_mynetworks, reject"}
    hold = {"world": {"hold": True}}
    with office(server_pair, authority, tmp_path, config=hold, primary=trusting) as here:
        with here.login(ALICE):
            pass
        await here.down()
        content = letter("kept")
        async with here.user() as client:
            assert (await client.transaction(ALICE, [BOB, FRIEND], content)).accepted
        assert here.routes() == {"primary": 1}
        await here.up()
        await here.drained()
        await here.until(lambda: copies(here.abroad(), content) == 1)
        once(here.arrived(BOB), content)


async def test_no_relay_in_any_combination(here: Office) -> None:
    with here.login(ALICE):
        pass

    async def tries() -> None:
        # From this machine a login in clear is allowed; what comes of a wrong one is the same.
        for port, answers in ((here.relay.mx_port, {502}), (here.port, {454, 535})):
            async with await SmtpClient.connect(port) as client:
                await client.ehlo()
                assert (await client.command("AUTH PLAIN AGJvYgBzZWNyZXQ=")).code in answers
                mail = await client.command(f"MAIL FROM:<{ALICE}>")
                rcpt = await client.command(f"RCPT TO:<{FRIEND}>")
                assert (mail.code, rcpt.code) in {(250, 550), (250, 554), (530, 503)}
                assert (await client.command("DATA")).code in {503, 554}
        async with await SmtpClient.connect(here.tls_port, tls=here.trust) as client:
            await client.ehlo()
            wrong = base64.b64encode(f"\0{ALICE}\0guess".encode()).decode()
            assert (await client.command(f"AUTH PLAIN {wrong}")).code in {454, 535}
            assert (await client.command(f"MAIL FROM:<{ALICE}>")).code == 530
        async with here.user() as client:
            assert (await client.command(f"MAIL FROM:<{ALICE}>")).code == 250
            assert (await client.command("RCPT TO:<a%world.example@example.org>")).code == 550

    await tries()
    await here.down()
    await tries()
    assert not here.abroad()
