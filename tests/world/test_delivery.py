"""From a stored message to one answer for each recipient, through a DNS and servers that misbehave."""

from __future__ import annotations

import asyncio

import pytest

from relay.core.errors import Damaged
from relay.primary.settings import Endpoint, TlsMode
from relay.proto.sasl.credentials import Credentials
from relay.world.settings import Smarthost, WorldSettings
from tests.peers.certs import Authority, server_context
from tests.primary.fake import KEYWORDS, Act, FakeSmtp, Script, Session
from tests.world.site import OWN_ADDRESS, Letter, site

BODY = b"From: user@example.org\r\nSubject: x\r\n\r\nhello\r\n"


def at(verb: str, what: str | Act, word: str = "") -> Script:
    def script(step: str, line: str, _session: Session) -> str | Act | None:
        return what if step == verb and word in line else None

    return script


async def test_mail_goes_to_the_best_server_with_one_transaction_for_a_domain() -> None:
    async with FakeSmtp() as best, FakeSmtp(host="127.0.0.2", port=best.port) as other:
        zone = {
            ("example.com", "MX"): ["20 b.example.com.", "10 a.example.com."],
            ("a.example.com", "A"): ["127.0.0.1"],
            ("b.example.com", "A"): ["127.0.0.2"],
        }
        async with site(zone, best.port) as s:
            answers = await s.replies(Letter(BODY, "one@example.com", "two@EXAMPLE.com"))
            assert [reply.code for reply in answers] == [250, 250]
            assert len(s.dots) == 1
    assert best.taken[0].recipients == ["one@example.com", "two@EXAMPLE.com"]
    assert best.taken[0].content.startswith(b"Received: by mx1.example.org id ")
    assert best.taken[0].content.endswith(BODY)
    assert best.sessions[0].commands[0] == "EHLO mx1.example.org"
    assert not other.sessions


async def test_without_mx_the_domain_is_its_own_server() -> None:
    async with FakeSmtp() as server, site({("example.com", "A"): ["127.0.0.1"]}, server.port) as s:
        assert [reply.code for reply in await s.replies(Letter(BODY, "one@example.com"))] == [250]


async def test_a_domain_literal_is_its_own_address() -> None:
    async with FakeSmtp() as server, site({}, server.port) as s:
        assert [reply.code for reply in await s.replies(Letter(BODY, "one@[127.0.0.1]"))] == [250]
        assert s.dns.asked == []


async def test_an_mx_that_is_a_cname_is_followed() -> None:
    async with FakeSmtp() as server:
        zone = {
            ("example.com", "MX"): ["10 mail.example.com."],
            ("mail.example.com", "CNAME"): ["real.example.net."],
            ("real.example.net", "A"): ["127.0.0.1"],
        }
        async with site(zone, server.port) as s:
            assert [reply.code for reply in await s.replies(Letter(BODY, "one@example.com"))] == [250]


@pytest.mark.parametrize("large", [False, True])
async def test_an_internationalised_domain_is_asked_for_and_told_in_a_labels(large: bool) -> None:
    async with FakeSmtp(keywords=("PIPELINING",)) as server:
        zone = {("xn--bcher-kva.example", "MX"): ["10 mx.example."], ("mx.example", "A"): ["127.0.0.1"]}
        async with site(zone, server.port) as s:
            s.dns.large = large
            answers = await s.replies(Letter(BODY, "one@bücher.example", "two@xn--bcher-kva.example"))
            assert [reply.code for reply in answers] == [250, 250]
            assert (s.dns.by_tcp > 0) == large
    assert server.taken[0].recipients == ["one@xn--bcher-kva.example", "two@xn--bcher-kva.example"]


@pytest.mark.parametrize(
    ("zone", "code", "status"),
    [
        ({}, 550, "5.1.2"),
        ({("example.com", "TXT"): ["x"]}, 550, "5.4.4"),
        ({("example.com", "MX"): ["0 ."]}, 556, "5.1.10"),
        ({("example.com", "MX"): ["10 gone.example.com."]}, 550, "5.4.4"),
        ({("example.com", "MX"): ["10 mx1.example.org.", "20 other.example.com."]}, 554, "5.4.6"),
        ({("example.com", "MX"): ["10 us.example.com."], ("us.example.com", "A"): [OWN_ADDRESS]}, 554, "5.4.6"),
        (
            {
                ("example.com", "MX"): ["10 us.example.com.", "20 worse.example.com."],
                ("us.example.com", "A"): [OWN_ADDRESS],
                ("worse.example.com", "A"): ["127.0.0.1"],
            },
            554,
            "5.4.6",
        ),
    ],
)
async def test_what_the_dns_denies_is_permanent_and_nobody_is_asked(
    zone: dict[tuple[str, str], list[str]], code: int, status: str
) -> None:
    async with FakeSmtp() as server, site(zone, server.port) as s:
        (answer,) = await s.replies(Letter(BODY, "one@example.com"))
        assert (answer.code, answer.enhanced) == (code, status)
        assert s.dots == []
    assert not server.sessions


async def test_what_the_dns_does_not_answer_is_temporary() -> None:
    zone = {
        ("broken.example", "A"): ["127.0.0.1"],
        ("half.example", "MX"): ["10 broken-mx.example.", "20 gone.example."],
        ("silent.example", "A"): ["127.0.0.1"],
    }
    async with FakeSmtp() as server, site(zone, server.port) as s:
        s.dns.broken |= {"broken.example", "broken-mx.example"}
        s.dns.silent.add("silent.example")
        answers = await s.replies(Letter(BODY, "a@broken.example", "b@half.example", "c@silent.example"))
        assert [reply.enhanced for reply in answers] == ["4.4.3"] * 3
        assert all(reply.transient for reply in answers)
        # A failure is forgotten in a moment.
        s.dns.broken.clear()
        s.clock.advance(6)
        assert (await s.replies(Letter(BODY, "a@broken.example")))[0].positive


async def test_servers_of_a_better_preference_than_ours_are_used() -> None:
    async with FakeSmtp() as server:
        zone = {
            ("example.com", "MX"): ["10 better.example.com.", "20 us.example.com."],
            ("better.example.com", "A"): ["127.0.0.1"],
            ("us.example.com", "A"): [OWN_ADDRESS],
        }
        async with site(zone, server.port) as s:
            assert [reply.code for reply in await s.replies(Letter(BODY, "one@example.com"))] == [250]


async def test_addresses_that_lead_nowhere_are_not_connected_to() -> None:
    async with FakeSmtp() as server:
        zone = {("example.com", "A"): ["127.0.0.1"]}
        async with site(zone, server.port, nowhere=WorldSettings("x").nowhere) as s:
            (answer,) = await s.replies(Letter(BODY, "one@example.com"))
            (literal,) = await s.replies(Letter(BODY, "one@[127.0.0.1]"))
            assert (answer.enhanced, literal.enhanced) == ("5.4.4", "5.4.4")
    assert not server.sessions


async def test_each_domain_has_an_outcome_of_its_own() -> None:
    def script(verb: str, line: str, _session: Session) -> str | None:
        said = {"nobody": "550 5.1.1 unknown", "full": "452 4.2.2 full"}
        return next((text for word, text in said.items() if verb == "RCPT" and word in line), None)

    async with FakeSmtp(script) as good, FakeSmtp(at("MAIL", "554 5.7.1 no"), host="127.0.0.2", port=good.port):
        zone = {
            ("good.example", "A"): ["127.0.0.1"],
            ("bad.example", "A"): ["127.0.0.2"],
            ("down.example", "A"): ["127.0.0.3"],
        }
        everyone = ("a@good.example", "nobody@good.example", "b@bad.example", "full@good.example", "c@down.example")
        async with site(zone, good.port) as s:
            answers = await s.replies(Letter(BODY, *everyone, "d@gone.example"))
    assert [reply.code for reply in answers] == [250, 550, 554, 452, 451, 550]
    assert answers[1].text == "5.1.1 unknown"
    assert good.taken[0].recipients == ["a@good.example"]


@pytest.mark.parametrize(
    "script",
    [
        at("GREETING", "554 5.3.2 no"),
        at("EHLO", Act.CUT),
        at("MAIL", "451 4.3.0 later"),
        at("RCPT", "450 4.2.0 greylisted"),
        at("RCPT", Act.STALL),
    ],
)
async def test_the_next_server_is_tried_when_the_first_does_not_decide(script: Script) -> None:
    async with FakeSmtp(script) as first, FakeSmtp(host="127.0.0.2", port=first.port) as second:
        zone = {
            ("example.com", "MX"): ["10 a.example.com.", "20 b.example.com."],
            ("a.example.com", "A"): ["127.0.0.1"],
            ("b.example.com", "A"): ["127.0.0.2"],
        }
        async with site(zone, first.port) as s:
            assert [reply.code for reply in await s.replies(Letter(BODY, "one@example.com"))] == [250]
    assert len(second.taken) == 1


@pytest.mark.parametrize(
    ("script", "code"),
    [(at("RCPT", "550 5.1.1 unknown"), 550), (at("DOT", "451 4.3.0 later"), 451), (at("CONTENT", Act.CUT), 451)],
)
async def test_the_next_server_is_not_tried_when_the_first_has_decided(script: Script, code: int) -> None:
    async with FakeSmtp(script) as first, FakeSmtp(host="127.0.0.2", port=first.port) as second:
        zone = {("example.com", "A"): ["127.0.0.1", "127.0.0.2"]}
        second.script = script
        async with site(zone, first.port) as s:
            body = BODY + b"y" * 998 + b"\r\n" + (b"x" * 998 + b"\r\n") * 20_000
            assert [reply.code for reply in await s.replies(Letter(body, "one@example.com"))] == [code]
    assert len(first.sessions) + len(second.sessions) == 1


async def test_a_lost_reply_leaves_its_recipients_unsure_and_the_others_answered() -> None:
    def script(verb: str, line: str, _session: Session) -> str | Act | None:
        if verb == "RCPT" and "nobody" in line:
            return "550 5.1.1 unknown"
        return Act.TAKE_AND_CUT if verb == "DOT" else None

    async with FakeSmtp(script) as lossy, FakeSmtp(host="127.0.0.2", port=lossy.port) as good:
        zone = {("a.example", "A"): ["127.0.0.1"], ("b.example", "A"): ["127.0.0.2"]}
        async with site(zone, lossy.port) as s:
            outcome = await s.send(Letter(BODY, "one@a.example", "nobody@a.example", "two@b.example"))
    assert outcome.unsure == (0,)
    assert [(index, reply.code) for index, reply in outcome.replies] == [(1, 550), (2, 250)]
    assert len(lossy.taken) == len(good.taken) == 1


async def test_many_recipients_are_several_transactions_on_one_connection() -> None:
    async with FakeSmtp() as server, site({("example.com", "A"): ["127.0.0.1"]}, server.port, recipients=3) as s:
        letter = Letter(BODY, *(f"u{n}@example.com" for n in range(8)))
        assert {reply.code for reply in await s.replies(letter)} == {250}
        assert len(s.dots) == 3
    assert [len(taken.recipients) for taken in server.taken] == [3, 3, 2]
    assert len(server.sessions) == 1


async def test_nothing_is_sent_when_the_intent_cannot_be_written() -> None:
    async with FakeSmtp() as one, FakeSmtp(host="127.0.0.2", port=one.port) as two:
        zone = {("a.example", "A"): ["127.0.0.1"], ("b.example", "A"): ["127.0.0.2"]}
        calls: list[None] = []

        async def fail() -> None:
            calls.append(None)
            await asyncio.sleep(0)
            raise OSError("disk")

        async with site(zone, one.port) as s:
            with pytest.raises(OSError, match="disk"):
                await s.way_out.world.deliver(Letter(BODY, "a@a.example", "b@b.example"), [0, 1], fail)
    assert len(calls) == 1
    assert not one.taken
    assert not two.taken


async def test_a_damaged_message_is_not_even_announced() -> None:
    class Torn(Letter):
        async def read(self) -> bytes:
            raise Damaged("chunk 0")

    async with FakeSmtp() as server, site({("example.com", "A"): ["127.0.0.1"]}, server.port) as s:
        with pytest.raises(Damaged):
            await s.send(Torn(BODY, "one@example.com"))
    assert not server.sessions


async def test_connections_are_bounded_for_a_server_and_in_all() -> None:
    async with FakeSmtp() as one, FakeSmtp(host="127.0.0.2", port=one.port) as two:
        zone = {("a.example", "A"): ["127.0.0.1"], ("b.example", "A"): ["127.0.0.2"]}
        async with site(zone, one.port, connections=3, pools=1) as s:
            letters = [Letter(BODY, f"u{n}@a.example", f"u{n}@b.example") for n in range(10)]
            outcomes = await asyncio.gather(*(s.replies(letter) for letter in letters))
            assert {reply.code for replies in outcomes for reply in replies} == {250}
            assert len(s.way_out.pools) == 1
        assert one.most_open <= 2
        assert two.most_open <= 2
        assert len(one.taken) == len(two.taken) == 10


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_a_smarthost_gets_everything_after_a_login(authority: Authority, mechanism: str) -> None:
    def script(verb: str, line: str, session: Session) -> str | None:
        answers = {"AUTH": "334 VXNlcm5hbWU6", "cmVsYXk=": "334 UGFzc3dvcmQ6", "b3Blbg==": "235 2.7.0 ok"}
        return answers.get(line if verb != "AUTH" else "AUTH") if mechanism == "LOGIN" else None

    context = server_context(authority.issue(stem=f"smarthost-{mechanism}"))
    keywords = (*KEYWORDS, f"AUTH {mechanism}")
    async with FakeSmtp(script, context=context, implicit=True, keywords=keywords) as server:
        endpoint = Endpoint("localhost", server.port, TlsMode.IMPLICIT, ca_file=str(authority.ca))
        smarthost = Smarthost(endpoint, Credentials("relay", b"open"))
        async with site({}, 25, smarthost=smarthost) as s:
            answers = await s.replies(Letter(BODY, "one@a.example", "two@b.example"))
            assert [reply.code for reply in answers] == [250, 250]
            assert s.dns.asked == []
    assert server.taken[0].recipients == ["one@a.example", "two@b.example"]


async def test_a_smarthost_that_refuses_the_login_is_temporary(authority: Authority) -> None:
    context = server_context(authority.issue(stem="smarthost-no"))
    keywords = (*KEYWORDS, "AUTH PLAIN")
    async with FakeSmtp(at("AUTH", "535 5.7.8 no"), context=context, keywords=keywords) as server:
        endpoint = Endpoint("localhost", server.port, TlsMode.STARTTLS, ca_file=str(authority.ca))
        async with site({}, 25, smarthost=Smarthost(endpoint, Credentials("relay", b"wrong"))) as s:
            (answer,) = await s.replies(Letter(BODY, "one@a.example"))
    assert answer.transient
    assert not server.taken


async def test_answers_are_kept_for_their_time_and_no_longer() -> None:
    async with FakeSmtp() as server, site({("example.com", "A"): ["127.0.0.1"]}, server.port) as s:
        for seconds in (0, 30, 31):
            s.clock.advance(seconds)
            assert (await s.replies(Letter(BODY, "one@example.com")))[0].positive
        assert s.dns.asked.count(("example.com", "A")) == 2
