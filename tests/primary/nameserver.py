"""A DNS server over UDP on loopback: answers from its zone, or is silent, or broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import dns.message
import dns.rcode
import dns.rrset

Zone = Mapping[tuple[str, str], Sequence[str]]
"""Absolute name and type to the records' texts; names are lower case."""


class NameServer(asyncio.DatagramProtocol):
    """`silent` takes the question and says nothing, `broken` answers SERVFAIL."""

    def __init__(self, zone: Zone) -> None:
        self.silent = False
        self.broken = False
        self.asked: list[tuple[str, str]] = []
        self.address = ("", 0)
        self._zone = zone
        self._names = {name for name, _ in zone}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serving."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        host, port = transport.get_extra_info("sockname")
        self.address = (host, port)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """One question."""
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        (question,) = query.question
        name, kind = question.name.to_text().lower(), question.rdtype.name
        self.asked.append((name, kind))
        if self.silent:
            return
        if self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif (name, kind) in self._zone:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *self._zone[(name, kind)]))
        elif name not in self._names:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def serving(zone: Zone) -> AsyncIterator[NameServer]:
    """For the time of the block."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(zone), local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
