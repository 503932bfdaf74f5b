"""A message that a user sends: the transaction of `mailing` with other collaborators, and items of their own routes.

While the primary's submission is in use the transaction is handed to it over the connection on which the user is logged
in, and ends with its own replies. Otherwise, or when it is lost on the way, the message is taken here: recipients in
our domains read it on the standby at once and get it from the primary later, the others get it by the way out.

1. What is taken here without the primary in it is checked: the reverse-path and all authors are the user's to use.
2. One message becomes one item for each route, committed together; their outcomes are written one by one.
3. Missing fields are added before the commit (RFC 6409 8), so that every copy of the message is the same.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence

import msgspec

from relay.accounts.directory import Verdict
from relay.core.envelope import Envelope, Origin
from relay.core.errors import RelayError
from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.core.mode import Service
from relay.core.reply import Reply
from relay.inbound.endings import Refusal
from relay.inbound.mailing import Finished, Mailing
from relay.inbound.ports import Bundle, Directory, Draft, Queue, Services
from relay.primary.smtp import SmtpPool
from relay.proto.mime.header import HeaderScanner, HeaderSection
from relay.proto.smtp.command import MailCommand
from relay.spool.queue import Result
from relay.store.records import Accepted, Lease, Route
from relay.world.completion import missing_fields

_ORDER = (Route.PRIMARY, Route.WORLD)
"""The first item's name is in the Received line that the primary gets: it is what the primary is asked about."""


class Submission(Mailing):
    """One per MAIL of a user who is logged in."""

    def __init__(self, services: Services, command: MailCommand, origin: Origin, upstream: SmtpPool | None) -> None:
        """`origin.login` is the account."""
        self._shares = Shares(services.queue)
        self._submitting = services.submitting
        self._account = origin.login or ""
        with_users = dataclasses.replace(
            services,
            pool=upstream,
            service=Service.SUBMISSION,
            policy=services.submitting.policy,
            directory=Correspondents(services.directory),
            queue=self._shares,
        )
        super().__init__(with_users, command, origin)

    def unwelcome(self) -> Reply | None:
        """Why this sender may not go on; the primary says so by itself where it is asked."""
        return self._refuses_sender() if self._attempt is None else None

    def begin(self) -> Draft:
        """See `Mailing.begin`."""
        route_of = self._submitting.route_of
        wanted = {route_of(taken.recipient.address) for taken in self.taken}
        routes = [route for route in _ORDER if route in wanted]
        services = self._services
        bundle = services.intake.begin_bundle(routes)
        completed = f"{bundle.items[0]}@{services.settings.hostname}"
        return Submitted(
            bundle,
            self._shares,
            members=lambda envelope: [
                [index for index, one in enumerate(envelope.recipients) if route_of(one.address) is route]
                for route in routes
            ],
            complete=lambda header: missing_fields(header, now=services.clock.now(), message_id=completed),
            refuses=lambda header: (
                self._refuses_sender() or self._submitting.senders.refuses_header(self._account, header)
            ),
        )

    async def finish(self, draft: Draft, held: tuple[bytes, ...] | None) -> Finished:
        """See `Mailing.finish`. The primary gets the message as it is kept here, not as it came."""
        del held
        return await super().finish(draft, None)

    def _refuses_sender(self) -> Reply | None:
        return self._submitting.senders.refuses_sender(self._account, self.command.reverse_path)


class Submitted:
    """A message on its way into the spool: completed, and for several routes at a time (a `Draft`)."""

    def __init__(
        self,
        bundle: Bundle,
        shares: Shares,
        *,
        members: Callable[[Envelope], Sequence[Sequence[int]]],
        complete: Callable[[HeaderSection], bytes],
        refuses: Callable[[HeaderSection], Reply | None],
    ) -> None:
        """`members` are the indexes of the recipients of each item."""
        self._bundle = bundle
        self._shares = shares
        self._members = members
        self._complete = complete
        self._refuses = refuses
        self._scanner = HeaderScanner()
        self._header: HeaderSection | None = None
        self._waiting: list[bytes] = []

    @property
    def item(self) -> ItemId:
        """Of the first one."""
        return self._bundle.items[0]

    async def write(self, block: bytes) -> None:
        """Append. NotNow."""
        if self._header is not None:
            await self._bundle.write(block)
            return
        self._waiting.append(block)
        header = self._scanner.feed(block)
        if header is not None:
            await self._begin(header)

    async def commit(self, envelope: Envelope, origin: Origin, *, intent: bool) -> Accepted:
        """Make it durable; with `intent` the primary judges it, else we do. NotNow, Refusal."""
        header = self._header
        if header is None:
            header = await self._begin(self._scanner.finish())
        refusal = None if intent else self._refuses(header)
        if refusal is not None:
            await self.discard()
            raise Refusal(refusal)
        members = self._members(envelope)
        envelopes = [
            msgspec.structs.replace(envelope, recipients=tuple(envelope.recipients[index] for index in indexes))
            for indexes in members
        ]
        accepted = await self._bundle.commit(envelopes, origin, intent=intent)
        self._shares.take(accepted, members)
        return accepted[0]

    async def discard(self) -> None:
        """Forget it, unless it was committed. Idempotent."""
        self._waiting.clear()
        await self._bundle.discard()

    async def _begin(self, header: HeaderSection) -> HeaderSection:
        self._header = header
        blocks, self._waiting = self._waiting, []
        # What begins with a blank would become part of our last line.
        if header.complete and header.data[:1] not in (b" ", b"\t"):
            blocks.insert(0, self._complete(header))
        for block in blocks:
            if block:
                await self._bundle.write(block)
        return header


class Shares:
    """The queue for one transaction whose message became several items: each has its share of the outcome."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._leases: list[tuple[Lease, Sequence[int]]] = []

    def take(self, accepted: Sequence[Accepted], members: Sequence[Sequence[int]]) -> None:
        """These are under way."""
        self._leases = [
            (one.lease, indexes) for one, indexes in zip(accepted, members, strict=True) if one.lease is not None
        ]

    async def renew(self, leases: Sequence[Lease], *, seconds: float) -> list[Lease]:
        """See `ports.Queue`."""
        del leases
        return await self._queue.renew([lease for lease, _ in self._leases], seconds=seconds)

    async def settle(
        self,
        lease: Lease,
        state: ItemState,
        results: Sequence[Result] = (),
        *,
        note: Reply | None = None,
        next_attempt_at: float = 0.0,
        counts_as_attempt: bool = True,
        patient: bool = False,
    ) -> None:
        """See `ports.Queue`; the first error is raised when all are done."""
        del lease
        by_index = {result.index: result for result in results}

        async def one(held: Lease, indexes: Sequence[int]) -> None:
            mine = [
                Result(new, by_index[old].state, by_index[old].reply)
                for new, old in enumerate(indexes)
                if old in by_index
            ]
            await self._queue.settle(
                held,
                share(state, [result.state for result in mine], len(indexes)),
                mine,
                note=note,
                next_attempt_at=next_attempt_at,
                counts_as_attempt=counts_as_attempt,
                patient=patient,
            )

        done = await asyncio.gather(*(one(*each) for each in self._leases), return_exceptions=True)
        for error in done:
            if isinstance(error, RelayError):
                raise error
            if isinstance(error, BaseException):
                raise error


def share(state: ItemState, states: Sequence[RecipientState], count: int) -> ItemState:
    """The state of one item of several, of whose `count` recipients the primary had these."""
    if state is ItemState.REFUSED:
        return state
    if RecipientState.UNKNOWN in states:
        return ItemState.UNKNOWN
    delivered = len(states) == count and set(states) == {RecipientState.DELIVERED}
    return ItemState.DELIVERED if delivered else ItemState.PENDING


class Correspondents:
    """The directory for users who write to the world: whom it does not know of is theirs to know."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def verdict(self, address: str) -> Verdict:
        """See `ports.Directory`."""
        verdict = await self._directory.verdict(address)
        return Verdict.UNKNOWN_ACCEPT if verdict is Verdict.NOT_OURS else verdict

    async def learn(self, address: str, answer: Reply) -> None:
        """See `ports.Directory`."""
        await self._directory.learn(address, answer)
