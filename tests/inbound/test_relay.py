"""No open relay, in any spelling, on any listener, up or down."""

from __future__ import annotations

import ssl

import pytest

from relay.accounts.directory import Verdict
from relay.core.mode import Mode
from relay.inbound.policy import LocalDomainsOnly, ascii_domain
from relay.inbound.postmaster import OwnPostmaster
from relay.inbound.settings import ListenerName
from tests.inbound.tls import Tls
from tests.inbound.world import World
from tests.peers.smtpclient import SmtpClient
from tests.primary.fake import FakeSmtp

FOREIGN = [
    "user@example.net",
    "user@EXAMPLE.NET",
    "user@example.net.",
    "user@sub.example.org",
    "user@notexample.org",
    "user@example.org.example.net",
    "user@org",
    "user@example",
    "user@[127.0.0.1]",
    "user@[192.0.2.1]",
    "user@[IPv6:::1]",
    "user@localhost",
    "user@mx1.example.org",
    "postmaster@example.net",
    "postmaster@mx2.example.org",
    "postmaster@sub.mx1.example.org",
    "postmaster@mx1.example.org.example.net",
    "postmaster@[192.0.2.1]",
    "postmaster@[127.0.0.2]",
    "postmaster@[IPv6:2001:db8::26]",
    "postmaster@localhost",
    "postmaster%example.net@mx1.example.org",
    "example.net!postmaster@mx1.example.org",
    '"postmaster@example.net"@mx1.example.org',
    "postmaster@example.net@mx1.example.org",
    "postmaster@mx1.example.org@example.net",
    "postmaster+x@mx1.example.org",
    "postmaste@mx1.example.org",
    "user@[192.0.2.25]",
    "user@[IPv6:2001:db8::25]",
    "user%example.net@example.org",
    "user%example.net",
    "example.net!user@example.org",
    "example.net!user",
    '"user@example.net"@example.org',
    '"user%example.net"@example.org',
    '"example.net!user"@example.org',
    '"user\\@example.net"@example.org',
    '"user@example.net"',
    "@example.org:user@example.net",
    "@example.org,@example.org:user@example.net",
    "user@example.org@example.net",
    "user@example.net@example.org",
    "user@",
    "@example.org",
    "",
    "user",
    "<user@example.net>",
    "user@example.net,user@example.org",
    "user@example.net user@example.org",
    "user@example.net\x00@example.org",
    "user@example.org\x00.example.net",
    "user@example.org/example.net",
    "user@example.org\\",
    "user;example.net@example.org;",
    "user@ｅxample.net",
]
SENDERS = ["", "bob@example.org", "a@example.net", "postmaster@example.org"]
OURS = [
    "user@example.org",
    "USER@Example.ORG",
    "user@example.org.",
    '"odd user"@example.org',
    "@example.net:user@example.org",
]


OUR_POSTMASTER = [
    "postmaster",
    "Postmaster@mx1.example.org",
    "POSTMASTER@MX1.Example.ORG.",
    '"postmaster"@mx1.example.org',
    "@example.net:postmaster@mx1.example.org",
    "postmaster@[127.0.0.1]",
    "postmaster@[192.0.2.25]",
    "postmaster@[IPv6:2001:DB8:0::25]",
    "postmaster@[ipv6:::ffff:192.0.2.25]",
]


@pytest.mark.parametrize("address", OUR_POSTMASTER, ids=repr)
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
async def test_our_own_postmaster_is_taken_and_is_the_bare_one(address: str, *, up: bool) -> None:
    mode = Mode.NORMAL if up else Mode.STANDBY
    async with FakeSmtp() as primary, World(primary=primary.port, mode=mode) as world, await world.client() as client:
        world.directory.default = Verdict.NO_SUCH
        outcome = await client.transaction("", [address], b"Subject: broken\r\n\r\nyour host is broken\r\n")
        assert outcome.accepted, outcome
        (recipient,) = world.spool.only.envelope.recipients
        assert recipient.address.lower() == "postmaster"
        asked = [line for session in primary.sessions for line in session.commands if line.startswith("RCPT")]
        assert [line.lower() for line in asked] == ["rcpt to:<postmaster>"] * up


def test_a_domain_of_ours_keeps_its_own_postmaster() -> None:
    own = OwnPostmaster(["Example.ORG", "mx1.example.org"], domains=["example.org"])
    assert own.heard("postmaster@example.org", lambda: None) == "postmaster@example.org"
    assert own.heard("postmaster@mx1.example.org", lambda: None) == "postmaster"
    assert own.heard("postmaster@[::1]", lambda: "fe80::1%eth0") == "postmaster@[::1]"
    assert own.heard("postmaster@[IPv6:fe80::1]", lambda: "fe80::1%eth0") == "postmaster"
    assert own.heard("postmaster@[192.0.2.7]", lambda: "::ffff:192.0.2.7") == "postmaster"


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
async def test_the_world_s_mail_is_not_taken(sender: str, up: bool) -> None:
    mode = Mode.NORMAL if up else Mode.STANDBY
    async with FakeSmtp() as primary, World(primary=primary.port, mode=mode) as world:
        world.directory.default = Verdict.KNOWN
        for start in range(0, len(FOREIGN), 5):
            await refuses_all(await world.client(), sender, FOREIGN[start : start + 5])
        assert not world.spool.items
        assert not any(line.startswith("RCPT") for session in primary.sessions for line in session.commands)


async def refuses_all(client: SmtpClient, sender: str, addresses: list[str]) -> None:
    """A few foreign addresses on one connection, so that the limit of errors does not speak first."""
    for address in addresses:
        assert (await client.command(f"MAIL FROM:<{sender}>")).code == 250
        answer = await client.command(f"RCPT TO:<{address}>")
        assert 500 <= answer.code < 560, (address, answer)
        assert (await client.command("DATA")).code == 554
        assert (await client.command("RSET")).code == 250
    await client.quit()
    await client.close()


@pytest.mark.parametrize("address", FOREIGN, ids=repr)
async def test_each_alone_with_smtputf8_too(address: str) -> None:
    async with World() as world, await world.client() as client:
        world.directory.default = Verdict.KNOWN
        assert (await client.command("MAIL FROM:<> SMTPUTF8")).code == 250
        assert (await client.command(f"RCPT TO:<{address}>")).code >= 500
        assert (await client.command("DATA")).code in {503, 554}
        assert not world.spool.items


@pytest.mark.parametrize("address", OURS, ids=repr)
async def test_our_own_mail_is_taken(address: str) -> None:
    async with World() as world, await world.client() as client:
        assert (await client.command("MAIL FROM:<a@example.net>")).code == 250
        assert (await client.command(f"RCPT TO:<{address}>")).code == 250


@pytest.mark.parametrize("name", ["submission", "submissions"])
async def test_submission_without_login_takes_nothing(name: ListenerName, tls: Tls) -> None:
    async with World(listener=name, context=tls.server) as world, await world.client() as client:
        for _ in range(2):
            for sender in SENDERS:
                assert (await client.command(f"MAIL FROM:<{sender}>")).code == 530
            assert (await client.command("RCPT TO:<user@example.org>")).code == 503
            assert (await client.command("DATA")).code == 503
            if world.services.metrics.faults["errors"]._value.get():
                break
            if not (await client.starttls(tls.client)).ok:
                break
            await client.ehlo()
        assert not world.spool.items


@pytest.mark.parametrize("address", ["user%example.net@example.org", "user!x@example.org", '"a@b"@example.org'])
async def test_a_login_opens_the_world_and_no_route_behind_us(address: str, tls: Tls) -> None:
    async with World(listener="submission", context=tls.server) as world, await world.client() as client:
        await client.starttls(tls.client)
        await client.ehlo()
        assert (await client.command("AUTH PLAIN AGJvYgBzZWNyZXQ=")).code == 235
        assert (await client.command("MAIL FROM:<bob@example.org>")).code == 250
        answer = await client.command(f"RCPT TO:<{address}>")
        assert (answer.code, answer.text[:5]) == (550, "5.7.1")
        assert (await client.command("RCPT TO:<eve@example.org>")).code == 250
        assert (await client.command("RCPT TO:<eve@example.net>")).code == 250


def test_domains_compare_in_every_spelling() -> None:
    assert ascii_domain("BÜCHER.example.") == "xn--bcher-kva.example"
    policy = LocalDomainsOnly(["Bücher.Example"])
    for domain in ("bücher.example", "xn--bcher-kva.example", "XN--BCHER-KVA.EXAMPLE.", "BÜCHER.example"):
        assert policy.refuses(f"a@{domain}", login=None) is None
    for domain in ("bucher.example", "b" * 70 + ".example", "bücher..example", ""):
        assert policy.refuses(f"a@{domain}", login=None) is not None


def test_the_context_is_what_it_says(tls: Tls) -> None:
    assert tls.client.verify_mode is ssl.CERT_REQUIRED
