"""TLS on the way out: what a domain publishes decides, and a check that fails really keeps the mail back."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop

from relay.core.clock import SystemClock
from relay.vault.chains import public_key_info
from relay.world.dane import Tlsa, permits
from relay.world.settings import Network, StsSettings, WorldSettings
from tests.peers.certs import Authority, Pair, server_context
from tests.primary.fake import FakeSmtp
from tests.world.policy_host import ENFORCE, PolicyHost, policy_host
from tests.world.site import Letter, Memory, Site, site

BODY = b"From: user@example.org\r\n\r\nhello\r\n"
ZONE = {
    ("example.com", "MX"): ["10 mx.example.com."],
    ("mx.example.com", "A"): ["127.0.0.1"],
    ("mta-sts.example.com", "A"): ["127.0.0.1"],
    ("_mta-sts.example.com", "TXT"): ['"v=STSv1; " "id=1;"'],
}
NO_STS = {key: value for key, value in ZONE.items() if "mta-sts" not in key[0]}


@dataclass
class Scene:
    """A domain with MTA-STS."""

    site: Site
    web: PolicyHost
    server: FakeSmtp

    async def send(self) -> int:
        """The code that one message gets."""
        (answer,) = await self.site.replies(Letter(BODY, "one@example.com"))
        return answer.code


@contextlib.asynccontextmanager
async def scene(
    authority: Authority,
    server: FakeSmtp,
    *,
    memory: Memory | None = None,
    web_name: str = "mta-sts.example.com",
    nowhere: tuple[Network, ...] = (),
) -> AsyncIterator[Scene]:
    """`web_name` is whom the policy host's certificate names."""
    context = server_context(authority.issue(web_name, stem="policy-host"))
    ca = str(authority.ca)
    async with policy_host(context) as web:
        sts = StsSettings(port=web.port, ca_file=ca, seconds=1.0)
        async with site(ZONE, server.port, sts=sts, memory=memory, validates=False, ca_file=ca, nowhere=nowhere) as s:
            yield Scene(s, web, server)


def tls_for(authority: Authority, *names: str, days: float = 1) -> ssl.SSLContext:
    return server_context(authority.issue(*names, days=days, stem=f"mx-{'-'.join(names)}-{days}"))


# --- MTA-STS ---


async def test_an_enforced_policy_that_is_kept_delivers_through_verified_tls(authority: Authority) -> None:
    async with FakeSmtp(context=tls_for(authority, "mx.example.com")) as server, scene(authority, server) as s:
        assert await s.send() == 250
        assert await s.send() == 250
        assert len(s.web.asked) == 1
        assert b"GET /.well-known/mta-sts.txt HTTP/1.1" in s.web.asked[0]
        assert b"host: mta-sts.example.com\r\n" in s.web.asked[0].lower()
    assert server.sessions[0].tls


@pytest.mark.parametrize("what", ["name", "expired", "no_tls", "unknown_authority"])
async def test_an_enforced_policy_that_is_broken_keeps_the_mail_back(
    authority: Authority, tmp_path: Path, what: str
) -> None:
    context: ssl.SSLContext | None = None
    match what:
        case "name":
            context = tls_for(authority, "other.example.com")
        case "expired":
            context = tls_for(authority, "mx.example.com", days=-0.5)
        case "unknown_authority":
            context = tls_for(Authority(tmp_path), "mx.example.com")
    async with FakeSmtp(context=context) as server, scene(authority, server) as s:
        assert await s.send() == 451
    assert not server.taken
    assert not any(command.startswith("MAIL") for session in server.sessions for command in session.commands)


async def test_a_server_that_the_policy_does_not_name_gets_nothing(authority: Authority) -> None:
    async with FakeSmtp(context=tls_for(authority, "mx.example.com")) as server, scene(authority, server) as s:
        s.web.body = ENFORCE.replace("mx.example.com", "*.example.net").encode()
        (answer,) = await s.site.replies(Letter(BODY, "one@example.com"))
        assert (answer.code, answer.enhanced) == (451, "4.7.5")
    assert not server.sessions


@pytest.mark.parametrize("mode", ["testing", "none"])
async def test_a_policy_that_does_not_enforce_delivers_anyway(authority: Authority, mode: str) -> None:
    async with FakeSmtp() as server, scene(authority, server) as s:
        s.web.body = ENFORCE.replace("enforce", mode).encode()
        assert await s.send() == 250


@pytest.mark.parametrize("fault", ["404", "redirect", "html", "large", "silent", "certificate", "nonsense"])
async def test_a_policy_that_cannot_be_fetched_is_none_and_not_asked_for_again_at_once(
    authority: Authority, fault: str
) -> None:
    web_name = "elsewhere.example.com" if fault == "certificate" else "mta-sts.example.com"
    async with FakeSmtp() as server, scene(authority, server, web_name=web_name) as s:
        match fault:
            case "404":
                s.web.status = "404 Not Found"
            case "redirect":
                s.web.status, s.web.more = "302 Found", f"Location: https://127.0.0.1:{s.web.port}/\r\n"
            case "html":
                s.web.kind = "text/html"
            case "large":
                s.web.body += b"x: y\r\n" * 20_000
            case "silent":
                s.web.silent = True
            case "nonsense":
                s.web.body = b"\xff\xfe"
        assert await s.send() == 250
        asked = len(s.web.asked)
        assert asked <= 1
        assert await s.send() == 250
        assert len(s.web.asked) == asked


async def test_a_policy_outlives_its_record_its_web_server_and_a_restart(authority: Authority) -> None:
    memory = Memory()
    async with (
        FakeSmtp(context=tls_for(authority, "mx.example.com")) as server,
        scene(authority, server, memory=memory) as s,
    ):
        assert await s.send() == 250
    assert memory.saved == 1
    async with FakeSmtp() as server, scene(authority, server, memory=memory) as s:
        del s.site.dns.zone[("_mta-sts.example.com", "TXT")]
        assert await s.send() == 451
        s.site.clock.advance(86_401)
        assert await s.send() == 250
        assert s.web.asked == []


async def test_a_new_id_brings_a_new_policy_and_a_failed_fetch_keeps_the_old(authority: Authority) -> None:
    async with FakeSmtp(context=tls_for(authority, "mx.example.com")) as server, scene(authority, server) as s:
        assert await s.send() == 250
        s.site.dns.zone[("_mta-sts.example.com", "TXT")] = ['"v=STSv1; id=2;"']
        s.web.status = "500 Oops"
        s.site.clock.advance(61)
        server.script = lambda verb, *_: "454 4.7.0 not now" if verb == "STARTTLS" else None
        assert await s.send() == 451
        s.web.status, s.web.body = "200 OK", ENFORCE.replace("enforce", "none").encode()
        s.site.clock.advance(301)
        assert await s.send() == 250


async def test_a_policy_host_that_leads_nowhere_is_not_asked(authority: Authority) -> None:
    async with FakeSmtp() as server, scene(authority, server, nowhere=WorldSettings("x").nowhere) as s:
        assert await s.site.way_out.policies.policy("example.com") is None
        assert s.web.asked == []


# --- DANE ---


def spki(pair: Pair) -> bytes:
    found = public_key_info(ssl.PEM_cert_to_DER_cert(pair.certificate.read_text()))
    assert found is not None
    return found


def tlsa(usage: int, selector: int, matching: int, data: bytes) -> list[str]:
    chosen = {0: data, 1: hashlib.sha256(data).digest(), 2: hashlib.sha512(data).digest()}[matching]
    return [f"{usage} {selector} {matching} {chosen.hex()}"]


def with_tlsa(port: int, records: list[str], name: str = "mx.example.com") -> dict[tuple[str, str], list[str]]:
    return {**NO_STS, (f"_{port}._tcp.{name}", "TLSA"): records}


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
async def test_dane_ee_asks_for_the_key_and_for_nothing_else(
    authority: Authority, selector: int, matching: int
) -> None:
    # Another name, and expired: RFC 7672 3.1.1 wants neither looked at.
    pair = authority.issue("elsewhere.example", days=-0.5, stem="dane-ee")
    data = spki(pair) if selector else ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())
    async with FakeSmtp(context=server_context(pair)) as server:
        zone = with_tlsa(server.port, tlsa(3, selector, matching, data))
        async with site(zone, server.port, signed=[""]) as s:
            assert [one.code for one in await s.replies(Letter(BODY, "one@example.com"))] == [250]
    assert server.sessions[0].tls


@pytest.mark.parametrize("tls", [True, False])
async def test_dane_with_another_key_or_without_tls_keeps_the_mail_back(authority: Authority, tls: bool) -> None:
    context = server_context(authority.issue("mx.example.com", stem="dane-other")) if tls else None
    async with FakeSmtp(context=context) as server:
        zone = with_tlsa(server.port, tlsa(3, 1, 1, b"somebody else's key"))
        async with site(zone, server.port, signed=[""]) as s:
            assert [one.code for one in await s.replies(Letter(BODY, "one@example.com"))] == [451]
    assert not server.taken
    assert not any(command.startswith("MAIL") for session in server.sessions for command in session.commands)


def chained(authority: Authority, pair: Pair, directory: Path) -> ssl.SSLContext:
    chain = directory / "chain.pem"
    chain.write_bytes(pair.certificate.read_bytes() + authority.ca.read_bytes())
    return server_context(Pair(chain, pair.private_key))


@pytest.mark.parametrize(
    "shown",
    [
        ("mx.example.com", 1, 250),
        ("example.com", 1, 250),
        ("other.example.com", 1, 451),
        ("mx.example.com", -0.5, 451),
    ],
)
@pytest.mark.parametrize("selector", [0, 1])
async def test_dane_ta_asks_for_the_authority_the_name_and_the_dates(
    authority: Authority, tmp_path: Path, shown: tuple[str, float, int], selector: int
) -> None:
    name, days, code = shown
    pair = authority.issue(name, days=days, stem="dane-ta")
    ca = ssl.PEM_cert_to_DER_cert(authority.ca.read_text())
    data = public_key_info(ca) if selector else ca
    assert data is not None
    async with FakeSmtp(context=chained(authority, pair, tmp_path)) as server:
        zone = with_tlsa(server.port, tlsa(2, selector, 1, data))
        async with site(zone, server.port, signed=[""]) as s:
            s.clock.advance(_today() - s.clock.now())
            assert [one.code for one in await s.replies(Letter(BODY, "one@example.com"))] == [code]
    assert len(server.taken) == (code == 250)


def _today() -> float:
    return SystemClock().now()


def test_dane_ta_does_not_take_a_chain_of_somebody_else(authority: Authority, tmp_path: Path) -> None:
    leaf = ssl.PEM_cert_to_DER_cert(Authority(tmp_path).issue("mx.example.com").certificate.read_text())
    ca = ssl.PEM_cert_to_DER_cert(authority.ca.read_text())
    good = ssl.PEM_cert_to_DER_cert(authority.issue("mx.example.com", stem="dane-good").certificate.read_text())
    digest, whole = Tlsa(2, 0, 1, hashlib.sha256(ca).digest()), Tlsa(2, 0, 0, ca)
    names, now = ("mx.example.com",), _today()
    assert permits((digest,), (good, ca), names, now)
    assert permits((whole,), (good,), names, now)
    assert not permits((digest,), (leaf, ca), names, now)
    assert not permits((whole,), (leaf,), names, now)
    assert not permits((digest,), (good,), names, now)
    assert not permits((digest,), (), names, now)
    assert not permits((Tlsa(3, 0, 1, digest.data),), (good, ca), names, now)
    assert not permits((digest, whole), (b"no certificate", ca), names, now)


@pytest.mark.parametrize("signed", [[], ["mx.example.com"], ["example.net"]])
async def test_records_that_the_dns_does_not_vouch_for_count_for_nothing(
    authority: Authority, signed: list[str]
) -> None:
    context = server_context(authority.issue("mx.example.com", stem="dane-unsigned"))
    async with FakeSmtp(context=context) as server:
        zone = with_tlsa(server.port, tlsa(3, 1, 1, b"another"))
        async with site(zone, server.port, signed=signed) as s:
            assert [one.code for one in await s.replies(Letter(BODY, "one@example.com"))] == [250]


async def test_an_ad_flag_of_servers_that_are_not_trusted_counts_for_nothing() -> None:
    async with FakeSmtp() as server:
        zone = with_tlsa(server.port, tlsa(3, 1, 1, b"another"))
        async with site(zone, server.port, signed=[""], validates=False) as s:
            assert [one.code for one in await s.replies(Letter(BODY, "one@example.com"))] == [250]


async def test_unusable_records_still_ask_for_encryption(authority: Authority) -> None:
    context = server_context(authority.issue("elsewhere.example", stem="dane-unusable"))
    async with FakeSmtp(context=context) as tls, FakeSmtp(host="127.0.0.2", port=tls.port) as clear:
        zone = with_tlsa(tls.port, tlsa(1, 1, 1, b"pkix"))
        async with site(zone, tls.port, signed=[""]) as s:
            assert [one.code for one in await s.replies(Letter(BODY, "one@example.com"))] == [250]
            s.dns.zone[("mx.example.com", "A")] = ["127.0.0.2"]
            s.clock.advance(61)
            assert [one.code for one in await s.replies(Letter(BODY, "one@example.com"))] == [451]
    assert tls.sessions[0].tls
    assert not clear.taken


async def test_a_tlsa_question_without_an_answer_passes_the_server_over() -> None:
    async with FakeSmtp() as server, site(NO_STS, server.port, signed=[""]) as s:
        s.dns.broken.add(f"_{server.port}._tcp.mx.example.com")
        (answer,) = await s.replies(Letter(BODY, "one@example.com"))
        assert (answer.code, answer.enhanced) == (451, "4.7.5")
    assert not server.sessions


async def test_dane_wins_over_mta_sts(authority: Authority) -> None:
    pair = authority.issue("elsewhere.example", stem="dane-wins")
    async with FakeSmtp(context=server_context(pair)) as server, scene(authority, server) as s:
        assert await s.send() == 451  # its name is not what MTA-STS asks for
        zone = {**ZONE, (f"_{server.port}._tcp.mx.example.com", "TLSA"): tlsa(3, 1, 1, spki(pair))}
        sts = StsSettings(port=s.web.port, ca_file=str(authority.ca), seconds=1.0)
        async with site(zone, server.port, signed=[""], sts=sts, ca_file=str(authority.ca)) as both:
            assert [one.code for one in await both.replies(Letter(BODY, "one@example.com"))] == [250]


async def test_tlsa_records_are_found_at_the_end_of_a_cname(authority: Authority) -> None:
    pair = authority.issue("elsewhere.example", stem="dane-cname")
    async with FakeSmtp(context=server_context(pair)) as server:
        zone = {
            ("example.com", "MX"): ["10 mx.example.com."],
            ("mx.example.com", "CNAME"): ["real.example.net."],
            ("real.example.net", "A"): ["127.0.0.1"],
            (f"_{server.port}._tcp.real.example.net", "TLSA"): tlsa(3, 1, 1, b"another"),
        }
        async with site(zone, server.port, signed=[""]) as s:
            assert [one.code for one in await s.replies(Letter(BODY, "one@example.com"))] == [451]
            s.dns.zone[(f"_{server.port}._tcp.real.example.net", "TLSA")] = tlsa(3, 1, 1, spki(pair))
            s.clock.advance(61)
            assert [one.code for one in await s.replies(Letter(BODY, "one@example.com"))] == [250]


async def test_a_connection_made_under_one_protection_is_not_used_under_another(authority: Authority) -> None:
    context = server_context(authority.issue("elsewhere.example", stem="dane-switch"))
    async with FakeSmtp(context=context) as server, site(NO_STS, server.port, signed=[""]) as s:
        assert [one.code for one in await s.replies(Letter(BODY, "one@example.com"))] == [250]
        s.dns.zone[(f"_{server.port}._tcp.mx.example.com", "TLSA")] = tlsa(3, 1, 1, b"another")
        s.clock.advance(61)
        assert [one.code for one in await s.replies(Letter(BODY, "one@example.com"))] == [451]
    assert len(server.taken) == 1


def test_dane_holds_under_uvloop_too(authority: Authority) -> None:
    async def through(pair: Pair, data: bytes) -> int:
        async with FakeSmtp(context=server_context(pair)) as server:
            zone = with_tlsa(server.port, tlsa(3, 1, 1, data))
            async with site(zone, server.port, signed=[""]) as s:
                (answer,) = await s.replies(Letter(BODY, "one@example.com"))
                return answer.code

    pair = authority.issue("elsewhere.example", stem="dane-uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(through(pair, spki(pair))) == 250
        assert runner.run(through(pair, b"another")) == 451
