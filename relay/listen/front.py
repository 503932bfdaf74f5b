"""What a listener needs of the protocol that is spoken on it, and what the protocol learns of its client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from relay.listen.settings import Name
from relay.obs.metrics import Admission


class Peer(NamedTuple):
    """Where the client is: from the socket, or from a PROXY header."""

    address: str
    port: int


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """The other end of the socket."""
    name = transport.get_extra_info("peername")
    return Peer(str(name[0]), int(name[1])) if isinstance(name, tuple) and len(name) >= 2 else Peer("", 0)


class Conversation(Protocol):
    """One admitted connection, from its first octet to its last."""

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done, or cancelled, when nothing of it is left."""
        ...

    def stop(self) -> None:
        """The node stops: end as soon as nothing is under way."""
        ...

    def cut(self) -> None:
        """End now."""
        ...


class Front(Protocol):
    """A protocol, ready to be spoken."""

    @property
    def busy(self) -> bytes:
        """What is said in clear to those who are one too many."""
        ...

    def begin(self, transport: asyncio.Transport, peer: Peer) -> Conversation:
        """Take over an admitted connection, by `hand_over`; called while the loop announces the connection."""
        ...

    def handshake_failed(self) -> None:
        """Implicit TLS did not come about: a scanner, or a client that does not trust us."""
        ...

    async def drain(self) -> None:
        """Finish what outlives conversations. Idempotent: several listeners may share a front."""
        ...


def hand_over(transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
    """From now on the transport is this protocol's."""
    transport.set_protocol(protocol)
    protocol.connection_made(transport)


class _Number(Protocol):
    def inc(self) -> None: ...


class _Level(_Number, Protocol):
    def dec(self) -> None: ...


class Counted(Protocol[Name]):
    """Where connections are counted."""

    @property
    def connections(self) -> Mapping[tuple[Name, Admission], _Number]:
        """By port and by how they were met; every connection once."""
        ...

    @property
    def open(self) -> Mapping[Name, _Level]:
        """Conversations that go on."""
        ...
