"""A small world on loopback: a DNS, servers on addresses of 127/8 that share one port, and our way out to them."""

from __future__ import annotations

import contextlib
import types
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec

from relay.core.clock import ManualClock
from relay.core.envelope import Envelope, Origin, Recipient
from relay.core.ids import ItemId
from relay.core.reply import Reply
from relay.primary.settings import Deadlines, PoolSettings
from relay.store.records import ItemRow
from relay.world.dkim_signer import DkimKey
from relay.world.outcome import Outcome
from relay.world.settings import DnsSettings, StsSettings, WorldSettings
from relay.world.wayout import WayOut, WayOutSettings
from tests.peers.dns import DnsServer, Zone, serving

ORIGIN = Origin(client_address="192.0.2.7", client_port=4711, helo="laptop", login="user@example.org")
QUICK = Deadlines(open=2.0, command=1.0, block=1.0, final=0.5)
HERE = "mx1.example.org"
OWN_ADDRESS = "127.0.0.99"


class Letter:
    """A stored message without a store."""

    def __init__(self, content: bytes, *recipients: str, reverse_path: str = "user@example.org") -> None:
        self.row = cast(ItemRow, types.SimpleNamespace(id=ItemId("01jd0000000000000000000000")))
        self.envelope = Envelope(reverse_path, tuple(map(Recipient, recipients)))
        self.origin = ORIGIN
        self.content = content
        self.reads = 0

    @property
    def size(self) -> int:
        """Octets."""
        return len(self.content)

    async def stream(self) -> AsyncIterator[bytes]:
        """In blocks."""
        self.reads += 1
        for at in range(0, len(self.content), 100_000):
            yield self.content[at : at + 100_000]

    async def read(self) -> bytes:
        """All of it."""
        self.reads += 1
        return self.content


class Memory:
    """A `Keeping` that a test looks into."""

    def __init__(self, value: bytes | None = None) -> None:
        self.value = value
        self.saved = 0

    async def load(self) -> bytes | None:
        """What was saved."""
        return self.value

    async def save(self, value: bytes) -> None:
        """Keep it."""
        self.value = value
        self.saved += 1


@dataclass
class Site:
    """What a test touches."""

    dns: DnsServer
    clock: ManualClock
    way_out: WayOut
    memory: Memory
    dots: list[None] = field(default_factory=list)

    async def before_dot(self) -> None:
        """Counts."""
        self.dots.append(None)

    async def send(self, letter: Letter) -> Outcome:
        """To everybody."""
        return await self.way_out.world.deliver(letter, range(len(letter.envelope.recipients)), self.before_dot)

    async def replies(self, letter: Letter) -> list[Reply]:
        """The same, where nobody is left unsure."""
        outcome = await self.send(letter)
        assert outcome.unsure == ()
        assert [index for index, _ in outcome.replies] == list(range(len(letter.envelope.recipients)))
        return [reply for _, reply in outcome.replies]


def trace(_envelope: Envelope, _origin: Origin, item: ItemId) -> bytes:
    """A Received line as short as can be."""
    return f"Received: by {HERE} id {item}\r\n".encode()


@contextlib.asynccontextmanager
async def site(
    zone: Zone,
    port: int,
    *,
    signed: Sequence[str] = (),
    validates: bool = True,
    sts: StsSettings | None = None,
    memory: Memory | None = None,
    keys: Sequence[DkimKey] = (),
    **more: object,
) -> AsyncIterator[Site]:
    """`port` is where the world's servers listen; `signed` are the zones that DNSSEC protects."""
    async with serving(zone, signed=signed) as server:
        host, dns_port = server.address
        clock = ManualClock(1_700_000_000.0)
        settings = msgspec.structs.replace(
            WorldSettings(
                HERE,
                own_addresses=(OWN_ADDRESS,),
                nowhere=(),
                port=port,
                deadlines=QUICK,
                pool=PoolSettings(connections=2, wait=2.0, idle=5.0),
            ),
            **more,
        )
        kept = memory or Memory()
        way_out = WayOut(
            WayOutSettings(
                settings,
                DnsSettings((host,), dns_port, validates=validates, seconds=1.0),
                sts or StsSettings(seconds=2.0),
                tuple(keys),
            ),
            clock,
            keeping=kept,
            trace=trace,
        )
        try:
            yield Site(server, clock, way_out, kept)
        finally:
            await way_out.close()
