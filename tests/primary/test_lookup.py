"""The DNS as `check` sees it, asked over UDP on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.message
import dns.rcode
import dns.rrset

from relay.primary.lookup import Dns, Exchanger

ZONE = {
    ("example.org.", "MX"): ["20 MX1.example.org.", "10 mx0.example.org."],
    ("mx1.example.org.", "A"): ["192.0.2.1"],
    ("mx1.example.org.", "AAAA"): ["2001:db8::1"],
    ("1.2.0.192.in-addr.arpa.", "PTR"): ["MX1.example.org."],
    ("nomx.example.", "A"): ["192.0.2.2"],
}
NAMES = {name for name, _ in ZONE}


class Server(asyncio.DatagramProtocol):
    """Answers from ZONE; `silent` takes the question and says nothing, `broken` answers SERVFAIL."""

    def __init__(self) -> None:
        self.silent = False
        self.broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.silent:
            return
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        (question,) = query.question
        name, kind = question.name.to_text().lower(), question.rdtype.name
        if self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif (name, kind) in ZONE:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *ZONE[(name, kind)]))
        elif name not in NAMES:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def asked(seconds: float = 5.0) -> AsyncIterator[tuple[Dns, Server]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    try:
        host, port = transport.get_extra_info("sockname")
        yield Dns(seconds, server=(host, port)), server
    finally:
        transport.close()


async def test_answers() -> None:
    async with asked() as (resolver, _):
        assert await resolver.mail_exchangers("example.org") == [
            Exchanger(10, "mx0.example.org"),
            Exchanger(20, "mx1.example.org"),
        ]
        assert await resolver.addresses("mx1.example.org") == ["192.0.2.1", "2001:db8::1"]
        assert await resolver.names("192.0.2.1") == ["mx1.example.org"]


async def test_no_such_record_and_no_such_name_are_answers() -> None:
    async with asked() as (resolver, _):
        assert await resolver.mail_exchangers("nomx.example") == []
        assert await resolver.mail_exchangers("nobody.example") == []
        assert await resolver.addresses("nobody.example") == []
        assert await resolver.names("2001:db8::7") == []


async def test_silence_and_failure_are_no_answers_and_end_in_time() -> None:
    async with asked(seconds=0.1) as (resolver, server):
        server.silent = True
        async with asyncio.timeout(5):
            assert await resolver.mail_exchangers("example.org") is None
            assert await resolver.addresses("mx1.example.org") is None
        server.silent, server.broken = False, True
        async with asyncio.timeout(5):
            assert await resolver.names("192.0.2.1") is None
