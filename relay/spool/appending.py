"""Mail that users put into their mailboxes (APPEND, MULTIAPPEND, REPLACE): plain bytes in, durable messages out.

    async with appends.begin(folder, origin) as batch:
        message = batch.message(size, flags=..., keywords=..., internal_date=...)
        await message.write(block)              # as often as needed; sealed while receiving
        ...                                     # MULTIAPPEND: the next message
        appended = await batch.commit(seen)     # now, and only now, OK [APPENDUID ...]

Invariants
1. `commit` returns only after all messages of the batch are on stable storage, in one commit with their journal record.
2. Memory per batch is a few chunks, whatever the size and number of its messages.
3. A commit that has begun is finished, even when the connection that asked for it goes away.
4. What a batch staged and did not commit is dropped by `discard`, or by the sweep when the process dies.
5. What is appended is never sent by SMTP: it is STORED, and reconcile's to give to the primary.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TypeAlias

from relay.core.clock import Clock
from relay.core.envelope import Envelope, Origin
from relay.core.errors import NotNow, PeerFault
from relay.core.ids import item_id
from relay.core.item import ItemState
from relay.obs import crash
from relay.proto.mime.header import HeaderLimits, find_message_id
from relay.spool import deeds
from relay.spool.deeds import Details, Seen
from relay.spool.folders import Folder, NoSuchFolder
from relay.spool.names import Names
from relay.spool.pressure import Pressure
from relay.spool.record import Record, encode_record
from relay.spool.sealed_stream import SealedStream
from relay.spool.words import Words
from relay.store.api import Store, StoreUnavailable
from relay.store.mailbox_records import Appended, NewMessage, Quota, Replaced
from relay.store.records import JournalEntry, NewItem, Route
from relay.vault.sealing import Vault

_MOST_MESSAGES = 1_000
"""In one command."""
_HELD = 512 * 1024
"""Bytes of finished messages that a batch keeps for its commit; with more, they are staged."""
_HEAD = HeaderLimits(size=64 * 1024)
_NOBODY = Envelope("", ())
Search: TypeAlias = Callable[[], Awaitable[Folder | None]]
"""Asks the store for a mailbox again; None where there is none. NotNow."""


class Appends:
    """Begins batches; one per worker."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        clock: Clock,
        pressure: Pressure,
        *,
        quota: Quota | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.store = store
        self.vault = vault
        self.clock = clock
        self.pressure = pressure
        self.quota = quota
        self.names = Names(vault)
        self.words = Words(store, vault)
        self.entropy = entropy
        self._finishing: set[asyncio.Task[Appended]] = set()

    def begin(self, folder: Folder, origin: Origin) -> Batch:
        """One command; use it as an async context manager or call `discard`. `origin` says whose session it is.

        `folder` may be remembered from earlier: the commit finds out whether it still is what it was.
        """
        return Batch(self, folder, origin)

    async def finish(self, appending: asyncio.Task[Appended]) -> Appended:
        """Wait for a commit that outlives its waiter."""
        self._finishing.add(appending)
        appending.add_done_callback(self._finished)
        return await asyncio.shield(appending)

    def _finished(self, appending: asyncio.Task[Appended]) -> None:
        self._finishing.discard(appending)
        if not appending.cancelled():
            appending.exception()  # its waiter may be gone

    async def drain(self) -> None:
        """Wait for commits that are under way; for the end of the process."""
        await asyncio.gather(*self._finishing, return_exceptions=True)


class AppendDraft:
    """One message of a batch."""

    def __init__(
        self, batch: Batch, stream: SealedStream, flags: int, keywords: Sequence[str], internal_date: float | None
    ) -> None:
        self.stream = stream
        self.flags = flags
        self.keywords = keywords
        self.internal_date = internal_date
        self.message_id: bytes | None = None
        """Of its header, once it is complete."""
        self._batch = batch

    async def write(self, block: bytes | bytearray | memoryview) -> None:
        """Append message bytes. StoreUnavailable when they cannot be kept."""
        self._batch.take(len(block))
        await self.stream.write(block)


class Batch:
    """The messages of one command."""

    def __init__(self, appends: Appends, folder: Folder, origin: Origin) -> None:
        self._appends = appends
        self._folder = folder
        self._origin = origin
        self._drafts: list[AppendDraft] = []
        self._taken = 0
        self._unstaged = 0
        self._closed = True
        self._done = False

    async def __aenter__(self) -> Batch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.discard()

    async def message(
        self, size: int | None, *, flags: int = 0, keywords: Sequence[str] = (), internal_date: float | None = None
    ) -> AppendDraft:
        """The next message; the one before is complete. NotNow when there is no room, PeerFault for too many."""
        await self._close()
        if not self._appends.pressure.admits(size):
            raise NotNow("no room on the disk")
        if len(self._drafts) >= _MOST_MESSAGES:
            raise PeerFault("too many messages in one APPEND", public="Too many messages in one command")
        appends = self._appends
        item = item_id(int(appends.clock.now() * 1000), appends.entropy(10))
        stream = SealedStream(appends.store, appends.vault, appends.clock, item)
        draft = AppendDraft(self, stream, flags, keywords, internal_date)
        self._drafts.append(draft)
        self._closed = False
        return draft

    def take(self, size: int) -> None:
        """Count bytes received."""
        self._taken += size
        self._appends.pressure.take(size)

    async def commit(
        self, seen: Seen, *, replaced: tuple[Folder, int] | None = None, search: Search | None = None
    ) -> Appended:
        """Make them durable, all or none; `replaced` is the message that goes in the same commit (RFC 8508).

        Where the mailbox was renamed or deleted meanwhile, `search` says which one has its name now.

        OverQuota, TooManyKeywords, MessageGone, NoSuchFolder; StoreUnavailable: nothing was promised. A cancelled
        commit is finished in the background.
        """
        if self._done:
            raise RuntimeError("a batch is committed once")
        await self._close()
        self._done = True
        appending = asyncio.get_running_loop().create_task(self._commit(seen, replaced, search))
        return await self._appends.finish(appending)

    async def discard(self) -> None:
        """Drop what was received, unless it was committed. Idempotent."""
        if not self._done:
            self._done = True
            await self._drop()

    async def _close(self) -> None:
        """Finish the message being received; with many of them, their chunks do not wait here."""
        if not self._closed:
            self._closed = True
            draft = self._drafts[-1]
            stream = draft.stream
            draft.message_id = find_message_id(stream.head, _HEAD)
            stream.head = b""
            waiting = sum(map(len, stream.finish().chunks))
            if self._unstaged + waiting > _HELD:
                await stream.stage()
            else:
                self._unstaged += waiting

    async def _commit(self, seen: Seen, replaced: tuple[Folder, int] | None, search: Search | None) -> Appended:
        appends, folder = self._appends, self._folder
        now = appends.clock.now()
        entry = deeds.encode(appends.vault, "append", seen, Details(folder.name))
        gone = None
        if replaced is not None:
            other, uid = replaced
            removal = deeds.encode(appends.vault, "expunge", seen, Details(other.name))
            gone = Replaced(other.row.id, uid, removal)
        new = [self._message(draft, now) for draft in self._drafts]
        crash.point("spool.accept.before_store")
        try:
            try:
                appended = await self._store(folder, new, entry, now, gone)
            except NoSuchFolder:
                found = None if search is None else await search()
                if found is None:
                    raise
                appended = await self._store(found, new, entry, now, gone)
        except BaseException:
            await self._drop()
            raise
        crash.point("spool.accept.after_store")
        self._release()
        return appended

    async def _store(
        self, folder: Folder, new: Sequence[NewMessage], entry: JournalEntry, now: float, gone: Replaced | None
    ) -> Appended:
        row, appends = folder.row, self._appends
        try:
            return await appends.store.append(
                row.id, new, entry, now=now, name=row.name_mac, quota=appends.quota, replaced=gone
            )
        except KeyError:
            raise NoSuchFolder("the mailbox was renamed or deleted") from None

    def _message(self, draft: AppendDraft, now: float) -> NewMessage:
        appends, stream = self._appends, draft.stream
        body, key = stream.body(), stream.key
        item = NewItem(
            id=stream.item,
            state=ItemState.STORED,
            received_at=now,
            size=body.size,
            key_id=key.key_id,
            wrapped_key=key.wrapped,
            envelope=key.seal_blob("envelope", encode_record(Record(_NOBODY, self._origin))),
            recipients=(),
            chunks=body.chunks,
            chunk_count=body.chunk_count,
            route=Route.MAILBOX,
            message_mac=appends.names.message_id(draft.message_id) if draft.message_id else None,
        )
        words = appends.words.new(self._folder.account.mac, draft.keywords)
        date = now if draft.internal_date is None else draft.internal_date
        return NewMessage(item, date, draft.flags, words)

    async def _drop(self) -> None:
        self._release()
        try:
            for draft in self._drafts:
                await draft.stream.discard()
        except StoreUnavailable:
            return  # the sweep drops it later

    def _release(self) -> None:
        self._appends.pressure.give(self._taken)
        self._taken = 0
