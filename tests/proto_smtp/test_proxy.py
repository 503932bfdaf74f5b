"""The PROXY header: both versions, every cut, bounds."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.proxy import LONGEST_V1, LONGEST_V2, SIGNATURE_V2, Family, Header, Invalid, NeedMore, ProxyParser
from tests.proto_smtp.pieces import POINTS, cuts, octets


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE_V2 + bytes([0x20 | command, family << 4 | 1]) + len(body).to_bytes(2, "big") + body


V4 = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + (4711).to_bytes(2, "big") + (25).to_bytes(2, "big")
V6 = ipaddress.IPv6Address("2001:db8::7").packed * 2 + (4711).to_bytes(2, "big") + (25).to_bytes(2, "big")

GOOD = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n", Header("192.0.2.7", 4711, Family.INET, local=False)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n", Header("2001:db8::7", 4711, Family.INET6, local=False)),
    (b"PROXY UNKNOWN\r\n", Header("", 0, Family.UNKNOWN, local=False)),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Header("", 0, Family.UNKNOWN, local=False)),
    (v2(1, 1, V4), Header("192.0.2.7", 4711, Family.INET, local=False)),
    (v2(1, 1, V4 + b"\x04\x00\x01\x00"), Header("192.0.2.7", 4711, Family.INET, local=False)),
    (v2(1, 2, V6), Header("2001:db8::7", 4711, Family.INET6, local=False)),
    (v2(0, 0, b""), Header("", 0, Family.UNKNOWN, local=True)),
    (v2(0, 1, V4), Header("", 0, Family.UNKNOWN, local=True)),
    (v2(1, 3, bytes(216)), Header("", 0, Family.UNIX, local=False)),
    (v2(1, 0, b""), Header("", 0, Family.UNKNOWN, local=False)),
]


@pytest.mark.parametrize(("wire", "header"), GOOD, ids=lambda value: repr(value)[:30])
@given(points=POINTS)
def test_headers_survive_every_cut(wire: bytes, header: Header, points: list[int]) -> None:
    tail = b"\x16\x03\x01\r\nEHLO x\r\n"
    for pieces in ([wire + tail], octets(wire + tail), cuts(wire + tail, points)):
        parser = ProxyParser()
        seen = [parser.feed(piece) for piece in pieces]
        assert seen[-1] == header
        assert parser.rest == tail
        assert all(answer in (header, NeedMore()) for answer in seen)


@pytest.mark.parametrize(
    "wire",
    [
        b"EHLO x\r\n",
        b"\x16\x03\x01",
        b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 70000 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        b"PROXY TCP9\r\n",
        b"PROXY " + b"x" * 200,
        b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
        v2(2, 1, V4),
        v2(1, 1, V4[:11]),
        v2(1, 2, V6[:35]),
        v2(1, 3, bytes(215)),
        SIGNATURE_V2 + b"\x11\x11\x00\x00",
        v2(1, 1, V4 + bytes(5000)),
    ],
    ids=lambda wire: repr(wire[:20]),
)
def test_what_is_no_header(wire: bytes) -> None:
    for pieces in ([wire], octets(wire)):
        parser = ProxyParser()
        answers = [parser.feed(piece) for piece in pieces]
        assert isinstance(answers[-1], Invalid)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE_V2, SIGNATURE_V2 + b"\x21"]))
def test_any_octets_end_in_an_answer_within_bounds(noise: bytes, head: bytes) -> None:
    parser = ProxyParser()
    answer = parser.feed(head + noise)
    if isinstance(answer, NeedMore):
        assert len(head + noise) < (LONGEST_V2 if (head + noise).startswith(b"\r") else LONGEST_V1)
