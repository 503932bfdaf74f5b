"""The client's half: replies, EHLO keywords, xtext, XCLIENT, XFORWARD, credentials."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.envelope import Origin
from relay.core.errors import PeerFault
from relay.core.reply import Reply, reply
from relay.proto.smtp import xtext
from relay.proto.smtp.ehlo import parse_ehlo
from relay.proto.smtp.reader import ReplyReader
from relay.proto.smtp.xclient import xclient_command, xforward_commands
from tests.proto_smtp.pieces import POINTS, cuts, octets

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=20)
REPLIES = st.builds(Reply, st.integers(min_value=200, max_value=599), st.lists(TEXT, min_size=1, max_size=4).map(tuple))


def read(pieces: list[bytes]) -> list[Reply]:
    reader = ReplyReader()
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (answer := reader.next()) is not None:
            found.append(answer)
    assert reader.pending == 0
    return found


@given(st.lists(REPLIES, max_size=4), POINTS)
def test_replies_survive_every_cut(replies: list[Reply], points: list[int]) -> None:
    wire = b"".join(answer.encode() for answer in replies)
    for pieces in ([wire], octets(wire), cuts(wire, points)):
        assert read(pieces) == replies


def test_a_bare_code_is_a_reply() -> None:
    assert read([b"250\r\n250-\r\n250 x\r\n"]) == [Reply(250, ("",)), Reply(250, ("", "x"))]


@pytest.mark.parametrize(
    "wire",
    [
        b"hello\r\n",
        b"25\r\n",
        b"2500 x\r\n",
        b"150 x\r\n",
        b"600 x\r\n",
        b"250-a\r\n251 b\r\n",
        b"\r\n",
        b"250_x\r\n",
        b"250 " + b"x" * 5000,
        b"250-x\r\n" * 300,
        b"250 " + b"x" * 5000 + b"\r\n",
        b"x" * 300_000,
    ],
    ids=lambda wire: repr(wire[:12]),
)
def test_what_is_no_reply(wire: bytes) -> None:
    reader = ReplyReader()
    with pytest.raises(PeerFault):
        reader.feed(wire)
        while reader.next() is not None:
            pass


def test_bytes_beyond_the_reply_are_seen() -> None:
    reader = ReplyReader()
    reader.feed(b"220 go\r\n250 injected\r\n")
    assert reader.next() == reply(220, "go")
    assert reader.pending


def test_ehlo_keywords() -> None:
    lines = (
        "mx.example.org hi",
        "SIZE 1000",
        "pipelining",
        "AUTH PLAIN LOGIN",
        "AUTH=PLAIN",
        "LIMITS RCPTMAX=50 X=y",
        "",
    )
    offered = parse_ehlo(Reply(250, lines))
    assert "PIPELINING" in offered
    assert "STARTTLS" not in offered
    assert offered.size_limit == 1000
    assert offered.parameters("AUTH") == ("PLAIN", "LOGIN")
    assert offered.limits == {"RCPTMAX": 50}
    assert parse_ehlo(Reply(250, ("x", "SIZE"))).size_limit is None
    assert parse_ehlo(Reply(250, ("x", "SIZE 0"))).size_limit is None


@given(st.text(max_size=40).filter(lambda text: text.isprintable()))
def test_xtext_round_trip(text: str) -> None:
    encoded = xtext.encode(text)
    assert xtext.is_xtext(encoded)
    assert xtext.decode(encoded) == text.encode()


@pytest.mark.parametrize("text", ["a b", "+", "+2b", "a=b", "\n", "ä", "+G0"])
def test_not_xtext(text: str) -> None:
    with pytest.raises(ValueError, match="xtext"):
        xtext.decode(text)


def origin(**changes: object) -> Origin:
    fields: dict[str, object] = {"client_address": "192.0.2.7", "client_port": 4711, "helo": "mail.example.net"}
    return Origin(**(fields | changes))  # type: ignore[arg-type]  # test values by field name


def test_xclient() -> None:
    offered = {"NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN"}
    line = xclient_command(origin(login="bob"), offered)
    assert line == (
        b"XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=mail.example.net LOGIN=bob\r\n"
    )
    assert xclient_command(origin(), set()) == b""
    assert xclient_command(origin(client_address="2001:db8::1"), {"ADDR"}) == b"XCLIENT ADDR=IPV6:2001:db8::1\r\n"
    assert xclient_command(origin(client_address="::ffff:192.0.2.1"), {"ADDR"}) == b"XCLIENT ADDR=192.0.2.1\r\n"
    assert xclient_command(origin(client_address="?"), {"ADDR"}) == b"XCLIENT ADDR=[UNAVAILABLE]\r\n"


def test_a_name_that_the_dns_did_not_say_is_no_missing_name() -> None:
    offered = {"NAME", "ADDR"}
    known, deferred = origin(client_name="out.example.net"), origin(client_name_deferred=True)
    assert xclient_command(known, offered) == b"XCLIENT NAME=out.example.net ADDR=192.0.2.7\r\n"
    assert xclient_command(deferred, offered) == b"XCLIENT NAME=[TEMPUNAVAIL] ADDR=192.0.2.7\r\n"
    # XFORWARD knows one kind of absence only.
    assert xforward_commands(deferred, offered) == (b"XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7\r\n",)


@given(st.text(max_size=300), st.text(max_size=300))
def test_nothing_a_client_chose_ends_the_line(helo: str, name: str) -> None:
    offered = {"NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"}
    who = origin(helo=helo.encode("utf-8", "ignore").decode(), client_name=name.encode("utf-8", "ignore").decode())
    for line in (xclient_command(who, offered), *xforward_commands(who, offered, ident="x y")):
        assert line.count(b"\r\n") == 1
        assert line.endswith(b"\r\n")
        assert not set(line[:-2]) & {0, 10, 13}
    assert all(len(line) <= 512 for line in xforward_commands(who, offered, ident="x"))
