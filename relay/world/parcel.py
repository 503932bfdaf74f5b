"""One message as it is sent: what goes ahead of it, its bytes again and again, its envelope for some recipients.

A stored message enters; blocks and envelopes for transactions leave, and what was heard about whom is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from relay.core.envelope import Envelope, Origin, Recipient, split_address
from relay.core.reply import Reply
from relay.store.records import ItemRow
from relay.world.resolver import a_label

BeforeDot = Callable[[], Awaitable[None]]


class Letter(Protocol):
    """`spool.read.StoredMessage`."""

    row: ItemRow
    envelope: Envelope
    origin: Origin

    @property
    def size(self) -> int:
        """Octets."""
        ...

    def stream(self) -> AsyncIterator[bytes]:
        """Blocks. Damaged before the first doubtful byte."""
        ...

    async def read(self) -> bytes:
        """All of it. Damaged."""
        ...


class Parcel:
    """A message as all its transactions send it."""

    def __init__(self, letter: Letter, content: bytes | None, prepend: bytes, before_dot: BeforeDot) -> None:
        self.letter = letter
        self.prepend = prepend
        self._content = content
        self._before_dot = before_dot
        self._dot = asyncio.Lock()
        self._failed: Exception | None = None

    @property
    def size(self) -> int:
        """Octets, those in front included."""
        return self.letter.size + len(self.prepend)

    def body(self) -> AsyncIterator[bytes]:
        """The message, from its beginning."""
        return self.letter.stream() if self._content is None else blocks(self._content)

    def envelope(self, recipients: Sequence[int]) -> Envelope:
        """For some recipients."""
        whole = self.letter.envelope
        return msgspec.structs.replace(
            whole,
            reverse_path=_wire(whole.reverse_path),
            recipients=tuple(_addressed(whole.recipients[index]) for index in recipients),
        )

    async def before_dot(self) -> None:
        """Before each final dot, one transaction at a time; after a failure none goes on."""
        async with self._dot:
            if self._failed is not None:
                raise self._failed
            try:
                await self._before_dot()
            except Exception as error:
                self._failed = error
                raise


class Errand:
    """One parcel for the recipients of one domain, and what was heard so far."""

    def __init__(self, parcel: Parcel, members: Sequence[int]) -> None:
        self.parcel = parcel
        self.replies: dict[int, Reply] = {}
        self.unsure: list[int] = []
        self.open = list(members)
        """For whom the next server may be tried."""

    def heard(self, index: int, said: Reply, *, final: bool) -> None:
        """A reply for a recipient."""
        self.replies[index] = said
        if final:
            self.open.remove(index)

    def lost(self, indexes: Iterable[int]) -> None:
        """Nobody knows."""
        for index in indexes:
            self.replies.pop(index, None)
            self.open.remove(index)
            self.unsure.append(index)

    def close(self, note: Reply) -> None:
        """There is nothing left to try: who has heard nothing yet gets the note."""
        for index in self.open:
            self.replies.setdefault(index, note)
        self.open = []


def next_hop(domain: str) -> str:
    """A domain as it is compared with others."""
    try:
        return a_label(domain)
    except ValueError:
        return domain  # a literal, or nothing that the router will take


def _wire(address: str) -> str:
    """With the domain in A-labels where that spares the server SMTPUTF8 (RFC 5891 4.4)."""
    local, domain = split_address(address)
    if not local.isascii() or domain.isascii():
        return address
    return f"{local}@{next_hop(domain)}"


def _addressed(recipient: Recipient) -> Recipient:
    return msgspec.structs.replace(recipient, address=_wire(recipient.address))


async def blocks(content: bytes) -> AsyncIterator[bytes]:
    """A message in one piece, as a stream."""
    yield content
