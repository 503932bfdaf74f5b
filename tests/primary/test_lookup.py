"""The DNS as `check` sees it, asked over UDP on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from relay.primary.lookup import Dns, Exchanger, Values
from tests.peers.dns import DnsServer, serving

ZONE = {
    ("example.org", "MX"): ["20 MX1.example.org.", "10 mx0.example.org."],
    ("mx1.example.org", "A"): ["192.0.2.1"],
    ("mx1.example.org", "AAAA"): ["2001:db8::1"],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["MX1.example.org."],
    ("nomx.example", "A"): ["192.0.2.2"],
}


@asynccontextmanager
async def asked(seconds: float = 5.0) -> AsyncIterator[tuple[Dns, DnsServer]]:
    async with serving(ZONE) as server:
        yield Dns(seconds, server=server.address), server


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


async def test_an_answer_says_how_long_it_holds() -> None:
    async with asked() as (resolver, _):
        assert await resolver.pointers("192.0.2.1") == Values(("mx1.example.org",), 60.0)
        assert await resolver.hosts("mx1.example.org", 4) == Values(("192.0.2.1",), 60.0)
        assert await resolver.hosts("mx1.example.org", 6) == Values(("2001:db8::1",), 60.0)
        assert await resolver.hosts("nomx.example", 6) == Values()
        assert await resolver.pointers("2001:db8::7") == Values()


async def test_silence_and_failure_are_no_answers_and_end_in_time() -> None:
    async with asked(seconds=0.1) as (resolver, server):
        server.silent.add("")
        async with asyncio.timeout(5):
            assert await resolver.mail_exchangers("example.org") is None
            assert await resolver.addresses("mx1.example.org") is None
        server.silent.clear()
        server.broken.add("")
        async with asyncio.timeout(5):
            assert await resolver.names("192.0.2.1") is None
