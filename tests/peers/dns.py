"""A DNS server on loopback, over UDP and TCP: answers from its zone, with the AD flag where the zone is "signed".

1. CNAMEs are followed within the zone, as a recursive server does.
2. AD is set only for a question that asked for it (AD or DO), and only when every name of the answer is in `signed`.
3. A question about a name in `broken` is answered SERVFAIL, one about a name in `silent` not at all; `large` makes UDP
   answers truncated, so that the client has to come back by TCP.
4. `signed`, `broken` and `silent` hold the ends of names; "" is all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Zone = Mapping[tuple[str, str], Sequence[str]]
"""Name (lower case, no trailing dot) and type to the records' texts."""


class DnsServer(asyncio.DatagramProtocol):
    """Made by `serving`; a test changes its fields as it goes."""

    def __init__(self, zone: Zone, *, signed: Sequence[str] = ()) -> None:
        self.zone = dict(zone)
        self.signed = set(signed)
        self.broken: set[str] = set()
        self.silent: set[str] = set()
        self.large = False
        self.ttl = 60
        self.asked: list[tuple[str, str]] = []
        self.by_tcp = 0
        self.address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serving."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """One question by UDP."""
        answer = self.answer(data)
        if answer is None:
            return
        if self.large:
            answer.flags |= dns.flags.TC
            answer.answer.clear()
        self._transport.sendto(answer.to_wire(), addr)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Questions by TCP."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                self.by_tcp += 1
                answer = self.answer(await reader.readexactly(length))
                if answer is not None:
                    wire = answer.to_wire()
                    writer.write(len(wire).to_bytes(2, "big") + wire)
                    await writer.drain()
        writer.transport.abort()

    def answer(self, data: bytes) -> dns.message.Message | None:
        """The answer to a question; None = silence."""
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query, recursion_available=True)
        (question,) = query.question
        name, kind = question.name.to_text(omit_final_dot=True).lower(), question.rdtype.name
        self.asked.append((name, kind))
        if _ends(name, self.silent):
            return None
        if _ends(name, self.broken):
            answer.set_rcode(dns.rcode.SERVFAIL)
            return answer
        seen = [name]
        while kind != "CNAME" and (name, "CNAME") in self.zone and len(seen) < 8:
            (target,) = self.zone[(name, "CNAME")]
            answer.answer.append(dns.rrset.from_text(f"{name}.", self.ttl, "IN", "CNAME", target))
            name = target.rstrip(".").lower()
            seen.append(name)
        if (name, kind) in self.zone:
            answer.answer.append(dns.rrset.from_text(f"{name}.", self.ttl, "IN", kind, *self.zone[(name, kind)]))
        elif not any(known == name or known.endswith(f".{name}") for known, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        asked = query.flags & dns.flags.AD or query.ednsflags & dns.flags.DO
        if asked and all(_ends(one, self.signed) for one in seen):
            answer.flags |= dns.flags.AD
        return answer


def _ends(name: str, ends: Iterable[str]) -> bool:
    return name.endswith(tuple(ends))


@asynccontextmanager
async def serving(zone: Zone, *, signed: Sequence[str] = ()) -> AsyncIterator[DnsServer]:
    """For the time of the block, UDP and TCP on one port."""
    loop = asyncio.get_running_loop()
    server = DnsServer(zone, signed=signed)
    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = loop.create_task(server.stream(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    tcp = await asyncio.start_server(begin, "127.0.0.1", 0)
    port = tcp.sockets[0].getsockname()[1]
    udp, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", port))
    server.address = ("127.0.0.1", port)
    try:
        yield server
    finally:
        udp.close()
        tcp.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
