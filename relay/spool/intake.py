"""Accepting: plain bytes in, one durable item out. The only way a message enters the spool.

    draft = intake.begin()
    await draft.write(block)            # as often as needed; sealed while receiving
    accepted = await draft.commit(envelope, origin, intent=False)
    ...                                 # now, and only now, 250

Invariants
1. `commit` returns only after the store has the whole item on stable storage (promise 1).
2. Memory per draft is a few chunks, whatever the message's size.
3. A commit that has begun is finished, even when the connection that asked for it goes away (store contract 3).
4. What a draft staged and did not commit is dropped by `discard`, or by the sweep when the process dies.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from types import TracebackType

import msgspec

from relay.core.clock import Clock
from relay.core.envelope import Envelope, Origin
from relay.core.ids import ItemId, item_id
from relay.core.item import ItemState
from relay.obs import crash
from relay.proto.mime.header import HeaderLimits, find_message_id
from relay.spool.names import Names
from relay.spool.pressure import Pressure
from relay.spool.record import Record, encode_record
from relay.spool.sealed_stream import HEAD, SealedStream
from relay.store.api import Store, StoreUnavailable
from relay.store.records import Accepted, NewAccount, NewItem, NewRecipient, Route
from relay.vault.sealing import Vault

_HEAD = HeaderLimits(size=HEAD)
"""How much of the header is looked at for a Message-ID."""
_KNOWN_ACCOUNTS = 10_000


class IntakeSettings(msgspec.Struct, frozen=True):
    """Who accepts, and for how long a cut-through attempt may hold its item."""

    owner: str
    """`node/boot/worker`, the owner of leases."""
    lease_seconds: float = 60.0
    confirm_batch: int = 64


class Intake:
    """Begins drafts; one per worker."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        clock: Clock,
        pressure: Pressure,
        settings: IntakeSettings,
        account_of: Callable[[str], str | None],
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.store = store
        self.vault = vault
        self.names = Names(vault)
        self.clock = clock
        self.pressure = pressure
        self.settings = settings
        self._account_of = account_of
        self._entropy = entropy
        self._accounts: dict[str, NewAccount | None] = {}
        self._confirmed: list[ItemId] = []
        self._confirming: asyncio.Task[None] | None = None

    def begin(self) -> Draft:
        """A new message; use it as an async context manager or call `discard`."""
        return Draft(self, item_id(int(self.clock.now() * 1000), self._entropy(10)))

    def begin_bundle(self, routes: Sequence[Route]) -> Bundle:
        """A new message that goes several ways: one item for each of these."""
        return Bundle(self, [(route, self.begin()) for route in routes])

    def account(self, address: str) -> NewAccount | None:
        """The account that reads mail for a recipient address; None where nobody here does (a notice to a sender)."""
        if address not in self._accounts:
            if len(self._accounts) >= _KNOWN_ACCOUNTS:
                self._accounts.clear()
            reader = self._account_of(address)
            self._accounts[address] = None if reader is None else self.names.new_account(reader)
        return self._accounts[address]

    def confirm(self, item: ItemId) -> None:
        """The sender has seen our 250 (its next command came): forget the item's dedup key. Never waits."""
        self._confirmed.append(item)
        if self._confirming is None:
            self._confirming = asyncio.get_running_loop().create_task(self._confirm())

    async def drain(self) -> None:
        """Before shutdown: wait for confirmations. Commits that were handed over are finished by the store."""
        if self._confirming is not None:
            await self._confirming

    async def _confirm(self) -> None:
        try:
            while self._confirmed:
                batch, self._confirmed = self._confirmed, []
                await self.store.confirm(batch)
        except StoreUnavailable:
            self._confirmed.clear()  # only ever costs a sender that repeats itself one more copy
        finally:
            self._confirming = None


class Draft:
    """One message being received."""

    def __init__(self, intake: Intake, item: ItemId) -> None:
        self.item = item
        self._intake = intake
        self._stream = SealedStream(intake.store, intake.vault, intake.clock, item)
        self._digest = hashlib.sha256()
        self._held = 0
        self._done = False

    async def __aenter__(self) -> Draft:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.discard()

    async def write(self, block: bytes | bytearray | memoryview) -> None:
        """Append message bytes. Raises StoreUnavailable when they cannot be kept."""
        length = len(block)
        self._held += length
        self._intake.pressure.take(length)
        self._digest.update(block)
        if self._stream.add(block):
            await self._stream.stage()

    async def commit(
        self, envelope: Envelope, origin: Origin, *, intent: bool, route: Route = Route.PRIMARY
    ) -> Accepted:
        """Make it durable. With `intent` the item is born INTENT under a lease of ours (cut-through).

        Raises StoreUnavailable: nothing was promised. A cancelled commit is finished by the store.
        """
        if self._done:
            raise RuntimeError("a draft is committed once")
        try:
            new = self.close(envelope, origin, intent=intent, route=route)
            crash.point("spool.accept.before_store")
            accepted = await self._intake.store.accept(new, now=new.received_at)
        except StoreUnavailable:
            await self.forget()
            raise
        finally:
            self.release()
        crash.point("spool.accept.after_store")
        return accepted

    async def discard(self) -> None:
        """Drop what was received, unless it was committed. Idempotent."""
        if self._done:
            return  # a commit lets go by itself
        self._done = True
        self.release()
        await self.forget()

    def close(self, envelope: Envelope, origin: Origin, *, intent: bool, route: Route) -> NewItem:
        """The end: what the store is to accept. `release` follows, and `forget` where it was not accepted."""
        self._done = True
        intake, key = self._intake, self._stream.key
        now = intake.clock.now()
        body = self._stream.finish()
        found = find_message_id(self._stream.head, _HEAD)
        shown = route is Route.PRIMARY
        return NewItem(
            id=self.item,
            state=ItemState.INTENT if intent else ItemState.PENDING,
            received_at=now,
            size=body.size,
            key_id=key.key_id,
            wrapped_key=key.wrapped,
            envelope=key.seal_blob("envelope", encode_record(Record(envelope, origin))),
            recipients=tuple(
                NewRecipient(intake.names.recipient(r.address), intake.account(r.address) if shown else None)
                for r in envelope.recipients
            ),
            chunks=body.chunks,
            chunk_count=body.chunk_count,
            route=route,
            message_mac=intake.names.message_id(found) if found else None,
            # Without a Message-ID two equal messages may be two messages (a sensor that says the same thing twice).
            dedup=intake.names.dedup(_envelope_key(envelope), self._digest.digest()) if found else None,
            owner=intake.settings.owner if intent else None,
            lease_until=now + intake.settings.lease_seconds if intent else 0.0,
        )

    async def forget(self) -> None:
        """Drop what was staged."""
        try:
            await self._stream.discard()
        except StoreUnavailable:
            return  # the sweep drops it later

    def release(self) -> None:
        """Let go of the memory."""
        self._intake.pressure.give(self._held)
        self._held = 0
        self._stream.release()


class Bundle:
    """One message being received that becomes several items, each with a route and recipients of its own.

    They are committed together: all of them are durable, or none.
    """

    def __init__(self, intake: Intake, drafts: Sequence[tuple[Route, Draft]]) -> None:
        self._intake = intake
        self._drafts = drafts

    @property
    def items(self) -> tuple[ItemId, ...]:
        """Their names, in the order of the routes."""
        return tuple(draft.item for _, draft in self._drafts)

    async def write(self, block: bytes) -> None:
        """Append to all of them. StoreUnavailable."""
        for _, draft in self._drafts:
            await draft.write(block)

    async def commit(self, envelopes: Sequence[Envelope], origin: Origin, *, intent: bool) -> list[Accepted]:
        """As `Draft.commit`; an envelope for each route. A repetition is known by the whole of it (contract 2)."""
        if len(self._drafts) == 1:
            ((route, draft),) = self._drafts
            return [await draft.commit(envelopes[0], origin, intent=intent, route=route)]
        drafts = [draft for _, draft in self._drafts]
        try:
            new = [
                draft.close(envelope, origin, intent=intent, route=route)
                for (route, draft), envelope in zip(self._drafts, envelopes, strict=True)
            ]
            crash.point("spool.accept.before_store")
            accepted = await self._intake.store.accept_together(_as_one(new), now=new[0].received_at)
        except StoreUnavailable:
            for draft in drafts:
                await draft.forget()
            raise
        finally:
            for draft in drafts:
                draft.release()
        crash.point("spool.accept.after_store")
        return accepted

    async def discard(self) -> None:
        """As `Draft.discard`."""
        for _, draft in self._drafts:
            await draft.discard()


def _as_one(new: Sequence[NewItem]) -> list[NewItem]:
    """With one dedup key, the first one's, over the keys of all: the same message to other people is another one."""
    keys = [one.dedup for one in new]
    whole = None if None in keys else hashlib.sha256(b"".join(key for key in keys if key is not None)).digest()
    return [msgspec.structs.replace(one, dedup=whole if one is new[0] else None) for one in new]


def _envelope_key(envelope: Envelope) -> bytes:
    """Reverse-path and recipients in a fixed form; a retry names the same ones, perhaps in another order."""
    return msgspec.msgpack.encode((envelope.reverse_path, sorted(r.address for r in envelope.recipients)))
