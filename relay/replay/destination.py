"""Where replay takes a message: a protocol, and its two cases, the primary and the world.

A stored message, the recipients still open and the moment before the final dot enter; a `Verdict` leaves. Replies are
handed on as they are; what they mean is `outcome`'s business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from relay.core.envelope import Envelope, Origin
from relay.core.ids import ItemId
from relay.core.reply import Reply
from relay.primary.errors import NoContact, ReplyLost
from relay.primary.smtp import SmtpPool
from relay.replay.outcome import Verdict
from relay.store.records import ItemRow, Route

if TYPE_CHECKING:
    from relay.world.delivery import World  # imports dnspython and httpx, which no start of the relay waits for

Trace = Callable[[Envelope, Origin, ItemId], bytes]
"""The Received line that goes ahead of the message, with CRLF (RFC 5321 4.4); it holds the item's id."""
BeforeDot = Callable[[], Awaitable[None]]
SMALL = 256 * 1024
"""Up to this size a message is read and checked as a whole before anything is said about it."""


class Message(Protocol):
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


class Destination(Protocol):
    """Somewhere that messages of one route go."""

    route: Route

    async def attempt(self, message: Message, recipients: Sequence[int], before_dot: BeforeDot) -> Verdict:
        """Try to deliver to the recipients with these indexes.

        `before_dot` has been awaited, successfully, before anything is sent after which a delivery is possible, and
        again before each further transaction of the attempt, one call at a time. What it raises is raised here; from
        the first call, nothing was delivered. Damaged.
        """
        ...


class PrimaryDestination:
    """The primary's SMTP server."""

    def __init__(self, pool: SmtpPool, trace: Trace, route: Route = Route.PRIMARY) -> None:
        self.route = route
        self._pool = pool
        self._trace = trace

    async def attempt(self, message: Message, recipients: Sequence[int], before_dot: BeforeDot) -> Verdict:
        """See the protocol."""
        item = message.row.id
        every = message.envelope.recipients
        envelope = msgspec.structs.replace(message.envelope, recipients=tuple(every[i] for i in recipients))
        trace = self._trace(message.envelope, message.origin, item)
        body = _whole(await message.read()) if message.size <= SMALL else message.stream()
        refused: list[tuple[int, Reply]] = []
        accepted: list[int] = []
        try:
            async with self._pool.transaction(message.origin, ident=item) as tx:
                mail, answers = await tx.envelope(envelope, message.size + len(trace))
                if not mail.positive:
                    return Verdict(tuple((index, mail) for index in recipients))
                for index, answer in zip(recipients, answers, strict=True):
                    if answer.positive:
                        accepted.append(index)
                    else:
                        refused.append((index, answer))
                if not accepted:
                    return Verdict(tuple(refused))
                reply = await tx.data(body, prepend=trace, before_dot=before_dot)
        except NoContact as trouble:
            return Verdict(trouble=trouble.reason, evidence=trouble.evidence, in_data=trouble.in_data)
        except ReplyLost as trouble:
            return Verdict(tuple(refused), unsure=tuple(accepted), trouble=trouble.reason, evidence=True)
        return Verdict((*refused, *((index, reply) for index in accepted)))


class WorldDestination:
    """Everybody else's servers, for mail that users sent."""

    def __init__(self, world: World) -> None:
        self.route = Route.WORLD
        self._world = world

    async def attempt(self, message: Message, recipients: Sequence[int], before_dot: BeforeDot) -> Verdict:
        """See the protocol. Trouble is a 4xx for those concerned: no server's health says anything about the others."""
        outcome = await self._world.deliver(message, recipients, before_dot)
        return Verdict(outcome.replies, unsure=outcome.unsure)


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
