"""The queue as replay, cut-through and the operator use it: store rows with their reasons sealed and opened.

Replies of the primary name addresses, so they are sealed like everything else; under the vault's own key rather
than the message's, because the reason why a message cannot be opened must still be readable.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from relay.core.clock import Clock
from relay.core.envelope import Envelope, Origin
from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.core.reply import Reply
from relay.spool.read import Reader
from relay.spool.record import decode_reply, encode_reply
from relay.store.api import Store
from relay.store.records import ItemRow, Lease, Outcome, RecipientResult, Route
from relay.vault.sealing import Vault


class Result(msgspec.Struct, frozen=True):
    """What one recipient of an attempt came to."""

    index: int
    state: RecipientState
    reply: Reply | None = None


class RecipientView(msgspec.Struct, frozen=True):
    """One recipient in plain words."""

    address: str
    state: RecipientState
    reply: str | None


class ItemView(msgspec.Struct, frozen=True):
    """One item in plain words, for the operator's eyes only."""

    id: ItemId
    state: ItemState
    route: Route
    received_at: float
    changed_at: float
    next_attempt_at: float
    attempts: int
    size: int
    note: str | None
    reverse_path: str | None
    """None when the envelope does not open."""
    client_address: str | None
    recipients: tuple[RecipientView, ...]


class Queue:
    """Claims, intents and outcomes."""

    def __init__(self, store: Store, vault: Vault, clock: Clock, *, owner: str) -> None:
        self.store = store
        self.owner = owner
        self._vault = vault
        self._clock = clock
        self._reader = Reader(store, vault)

    async def claim(
        self, *, limit: int, seconds: float, states: Sequence[ItemState], route: Route = Route.PRIMARY
    ) -> list[ItemRow]:
        """Due items for this worker, oldest first, leased for `seconds`."""
        now = self._clock.now()
        return await self.store.claim(self.owner, states=states, route=route, now=now, until=now + seconds, limit=limit)

    async def intend(self, leases: Sequence[Lease]) -> None:
        """Write down that these may be delivered from now on; before the final dot. LeaseLost."""
        await self.store.intend(leases, now=self._clock.now())

    async def renew(self, leases: Sequence[Lease], *, seconds: float) -> list[Lease]:
        """Extend; what is missing from the answer is lost."""
        return await self.store.renew(leases, until=self._clock.now() + seconds)

    async def release(self, leases: Sequence[Lease]) -> None:
        """Hand back untouched."""
        await self.store.release(leases)

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
        """Record what the attempt came to; `patient`: no peer waits for it. LeaseLost: somebody else settles it."""
        sealed = {reply: self._seal(lease.item, reply) for reply in {note, *(result.reply for result in results)}}
        outcome = Outcome(
            state=state,
            recipients=tuple(RecipientResult(r.index, r.state, sealed[r.reply]) for r in results),
            next_attempt_at=next_attempt_at,
            note=sealed[note],
            counts_as_attempt=counts_as_attempt,
        )
        await self.store.settle(lease, outcome, now=self._clock.now(), patient=patient)

    async def move(
        self, item: ItemId, to: ItemState, *, note: Reply | None = None, next_attempt_at: float = 0.0
    ) -> ItemRow:
        """A step by the operator or the sweep; see `QueueStore.move`."""
        return await self.store.move(
            item, to=to, now=self._clock.now(), note=self._seal(item, note), next_attempt_at=next_attempt_at
        )

    async def quarantine(self, item: ItemId, damage: Damaged) -> None:
        """Stored bytes do not verify. The caller tells the operator (log, metric)."""
        await self.move(item, ItemState.QUARANTINED, note=Reply(554, (f"5.3.0 Damaged: {damage}",)))

    def view(self, row: ItemRow) -> ItemView:
        """The item in plain words; what does not open is shown as such, never raised."""
        envelope: Envelope | None = None
        origin: Origin | None = None
        note = self._open(row.id, row.note)
        try:
            message = self._reader.open(row)
            envelope, origin = message.envelope, message.origin
        except Damaged as damage:
            note = note or f"Damaged: {damage}"
        return ItemView(
            id=row.id,
            state=row.state,
            route=row.route,
            received_at=row.received_at,
            changed_at=row.changed_at,
            next_attempt_at=row.next_attempt_at,
            attempts=row.attempts,
            size=row.size,
            note=note,
            reverse_path=envelope.reverse_path if envelope else None,
            client_address=origin.client_address if origin else None,
            recipients=tuple(
                RecipientView(
                    address=envelope.recipients[r.index].address if envelope else "?",
                    state=r.state,
                    reply=self._open(row.id, r.detail),
                )
                for r in row.recipients
            ),
        )

    def _seal(self, item: ItemId, reply: Reply | None) -> bytes | None:
        return None if reply is None else self._vault.seal(f"reply:{item}", encode_reply(reply))

    def _open(self, item: ItemId, sealed: bytes | None) -> str | None:
        if sealed is None:
            return None
        try:
            reply = decode_reply(self._vault.open(f"reply:{item}", sealed))
        except Damaged:
            return "(the stored reply is damaged)"
        return f"{reply.code} {reply.text}"
