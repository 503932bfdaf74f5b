"""A message and some of its recipients on their way out: one transaction for each domain, one reply for each recipient.

A stored message enters, an `Outcome` leaves. Which servers, how protected and how signed is decided elsewhere; here is
the order in which things are tried and what a failure means for whom.

1. Each recipient gets exactly one answer: a reply, or "unsure" where the last reply was lost.
2. Domains do not wait for each other, and what goes wrong with one says nothing about the others. Trouble with a server
   is a 4xx for the recipients concerned.
3. The next server of a domain is tried for whom none has decided about yet: no contact, or a 4xx before the content.
   After the content of a message has broken a connection it waits.
4. `before_dot` is awaited before each final dot, one call at a time.
5. The whole message is read, and found undamaged, before anything is said about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from relay.core.envelope import Envelope, Origin, split_address
from relay.core.ids import ItemId
from relay.core.reply import Reply, reply
from relay.obs.world_metrics import Delivery, Protected, WorldMetrics
from relay.primary.errors import NoContact, ReplyLost
from relay.primary.settings import SmtpSettings
from relay.world.dkim_signer import Signer
from relay.world.outcome import Outcome
from relay.world.parcel import BeforeDot, Errand, Letter, Parcel, blocks, next_hop
from relay.world.pools import Pools
from relay.world.protection import Protection, Protector
from relay.world.routing import NO_SERVER, Host, Router
from relay.world.settings import WorldSettings

Trace = Callable[[Envelope, Origin, ItemId], bytes]
"""The Received line that goes ahead of the message, with CRLF (RFC 5321 4.4)."""
_SMALL = 256 * 1024
"""Up to this size a message is read once and kept for all transactions."""


class World:
    """The way out."""

    def __init__(
        self,
        *,
        router: Router,
        protector: Protector,
        pools: Pools,
        signer: Signer,
        settings: WorldSettings,
        trace: Trace,
        metrics: WorldMetrics | None = None,
    ) -> None:
        self._router = router
        self._protector = protector
        self._pools = pools
        self._signer = signer
        self._settings = settings
        self._trace = trace
        self._metrics = metrics

    async def deliver(self, letter: Letter, recipients: Sequence[int], before_dot: BeforeDot) -> Outcome:
        """Try to deliver to the recipients with these indexes. Damaged, and whatever `before_dot` raises."""
        parcel = await self._pack(letter, before_dot)
        groups = self._groups(letter.envelope, recipients)
        turns = asyncio.Semaphore(self._settings.domains)

        async def one(domain: str, members: list[int]) -> Errand:
            async with turns:
                errand = Errand(parcel, members)
                await (self._to_smarthost(errand) if self._settings.smarthost else self._to_domain(domain, errand))
                return errand

        tasks = [asyncio.create_task(one(domain, members)) for domain, members in groups.items()]
        try:
            errands = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        replies = {index: said for errand in errands for index, said in errand.replies.items()}
        return Outcome(tuple(sorted(replies.items())), tuple(sorted(i for e in errands for i in e.unsure)))

    async def _pack(self, letter: Letter, before_dot: BeforeDot) -> Parcel:
        content = await letter.read() if letter.size <= _SMALL else None
        signing = self._signer.begin() if self._signer.keys else None
        async for block in blocks(content) if content is not None else letter.stream():
            if signing is not None:
                await asyncio.to_thread(signing.feed, block)
        signatures = (await asyncio.to_thread(signing.finish)).fields if signing is not None else b""
        if self._metrics is not None:
            self._metrics.signatures["signed" if signatures else "no_key"].inc()
        trace = self._trace(letter.envelope, letter.origin, letter.row.id)
        return Parcel(letter, content, trace + signatures, before_dot)

    def _groups(self, envelope: Envelope, recipients: Iterable[int]) -> dict[str, list[int]]:
        """Recipients by their next hop."""
        groups: dict[str, list[int]] = {}
        for index in recipients:
            domain = ""
            if self._settings.smarthost is None:
                domain = next_hop(split_address(envelope.recipients[index].address)[1])
            groups.setdefault(domain, []).append(index)
        return groups

    async def _to_smarthost(self, errand: Errand) -> None:
        smarthost = self._settings.smarthost
        assert smarthost is not None
        settings = SmtpSettings(
            smarthost.endpoint,
            self._settings.hostname,
            credentials=smarthost.credentials,
            deadlines=self._settings.deadlines,
        )
        await self._try(settings, Protection(), errand)
        errand.close(NO_SERVER)

    async def _to_domain(self, domain: str, errand: Errand) -> None:
        way = await self._router.way(domain)
        if isinstance(way, Reply):
            errand.close(way)
            return
        policy = await self._protector.policy(way)
        notes: list[Reply] = []
        tries = 0
        for host in await self._router.hosts(way):
            protection = host if isinstance(host, Reply) else await self._protector.of(way, host, policy)
            if isinstance(host, Reply) or isinstance(protection, Reply):
                notes.extend(one for one in (host, protection) if isinstance(one, Reply))
                continue
            for address in islice(host.addresses, self._settings.exchangers - tries):
                tries += 1
                await self._try(self._smtp(host, address, protection), protection, errand)
                if not errand.open:
                    return
        # A doubt is kinder than a refusal: permanent only where every host has said so.
        errand.close(min(notes, key=lambda note: note.code, default=NO_SERVER))

    def _smtp(self, host: Host, address: str, protection: Protection) -> SmtpSettings:
        return SmtpSettings(
            protection.endpoint(host, address, self._settings.port, self._settings.ca_file),
            self._settings.hostname,
            deadlines=self._settings.deadlines,
        )

    def _count(self, protection: Protection, result: Delivery) -> None:
        if self._metrics is not None:
            through: Protected = "smarthost" if self._settings.smarthost is not None else protection.level.value
            self._metrics.transactions[through, result].inc()

    async def _try(self, settings: SmtpSettings, protection: Protection, errand: Errand) -> None:
        """One server, for everyone still open: as many transactions as the limit on recipients asks for."""
        waiting = list(errand.open)
        while waiting:
            some, waiting = waiting[: self._settings.recipients], waiting[self._settings.recipients :]
            parcel = errand.parcel
            accepted: list[int] = []
            try:
                async with self._pools.transaction(settings, protection, parcel.letter.row.id) as tx:
                    mail, answers = await tx.envelope(parcel.envelope(some), parcel.size)
                    for index, said in zip(some, answers if mail.positive else [mail] * len(some), strict=True):
                        if said.positive:
                            accepted.append(index)
                        else:
                            errand.heard(index, said, final=said.permanent)
                    if accepted:
                        said = await tx.data(parcel.body(), prepend=parcel.prepend, before_dot=parcel.before_dot)
                        for index in accepted:
                            errand.heard(index, said, final=True)
                    self._count(protection, "taken" if said.positive else "refused" if said.permanent else "deferred")
            except ReplyLost:
                self._count(protection, "unsure")
                errand.lost(accepted)
            except NoContact as trouble:
                self._count(protection, "no_contact")
                said = reply(451, f"4.4.2 {trouble.reason}")
                for index in set(errand.open).intersection(some if trouble.in_data else (*some, *waiting)):
                    # Our own limits are in the way of the next server too.
                    errand.heard(index, said, final=trouble.in_data or not trouble.evidence)
                if not trouble.in_data:
                    return
