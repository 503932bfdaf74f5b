"""Feed and directory of the model, and the model as one object."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from relay.core.ids import ItemId
from relay.core.item import ItemState
from relay.store.memory.mailboxes import MemoryMailboxes
from relay.store.memory.queueing import MemoryQueue
from relay.store.memory.state import State
from relay.store.records import (
    Change,
    ChangeKind,
    Credential,
    KnownRecipient,
    Mac,
)


class MemoryStore(MemoryQueue, MemoryMailboxes):
    """`store.api.Store` without a disk."""

    def __init__(self, *, dedup_window: float = 600.0) -> None:
        self._state = State()
        self._dedup_window = dedup_window

    async def close(self) -> None:
        """Nothing to let go."""

    # --- feed ---

    async def last_change(self) -> int:
        """See the contract."""
        return self._state.last

    async def changes(self, *, after: int, limit: int, kinds: Sequence[ChangeKind] = ()) -> list[Change]:
        """See the contract."""
        return [c for c in self._state.changes if c.seq > after and (not kinds or c.kind in kinds)][:limit]

    async def ledger(self, item: ItemId) -> list[Change]:
        """See the contract."""
        return [c for c in self._state.changes if c.item == item and c.kind is ChangeKind.ITEM]

    async def wait_change(self, *, after: int, timeout: float) -> int:
        """See the contract."""
        try:
            async with asyncio.timeout(timeout):
                while self._state.last <= after:
                    await self._state.news.wait()
        except TimeoutError:
            pass
        return self._state.last

    async def trim_changes(self, *, before: float, limit: int) -> int:
        """See the contract."""
        state = self._state
        gone = {c.seq for c in [c for c in state.changes if c.at < before and self._free(c)][:limit]}
        state.changes = [c for c in state.changes if c.seq not in gone]
        named = {c.item for c in state.changes}
        for item in [i for i, one in state.items.items() if one.state is ItemState.PURGED and i not in named]:
            del state.items[item]
        return len(gone)

    def _free(self, change: Change) -> bool:
        if change.seq == self._state.last:
            return False
        item = None if change.item is None else self._state.items.get(change.item)
        return change.kind is not ChangeKind.ITEM or item is None or item.state is ItemState.PURGED

    # --- directory ---

    async def known_recipients(self, macs: Sequence[Mac]) -> dict[Mac, KnownRecipient]:
        """See the contract."""
        return {mac: self._state.known[mac] for mac in macs if mac in self._state.known}

    async def learn_recipients(self, domain: Mac, known: Sequence[KnownRecipient]) -> None:
        """See the contract."""
        if known:
            self._state.domains.setdefault(domain, min(one.seen_at for one in known))
        for one in known:
            before = self._state.known.get(one.mac)
            if before is None or one.seen_at >= before.seen_at:
                self._state.known[one.mac] = one

    async def domain_first_seen(self, domain: Mac) -> float | None:
        """See the contract."""
        return self._state.domains.get(domain)

    async def credential(self, mac: Mac, kind: str) -> Credential | None:
        """See the contract."""
        return self._state.credentials.get((mac, kind))

    async def put_credential(self, credential: Credential) -> None:
        """See the contract."""
        self._state.credentials[credential.mac, credential.kind] = credential

    async def delete_credential(self, mac: Mac, kind: str | None = None) -> int:
        """See the contract."""
        gone = [key for key in self._state.credentials if key[0] == mac and kind in (None, key[1])]
        for key in gone:
            del self._state.credentials[key]
        return len(gone)

    async def credentials(self, kind: str | None = None) -> list[Credential]:
        """See the contract."""
        return [one for key, one in sorted(self._state.credentials.items()) if kind in (None, key[1])]

    async def sweep_credentials(self, kind: str, *, before: float, limit: int) -> int:
        """See the contract."""
        held = self._state.credentials
        gone = [key for key, one in held.items() if one.kind == kind and one.updated_at < before][:limit]
        for key in gone:
            del held[key]
        return len(gone)

    async def setting(self, name: str) -> bytes | None:
        """See the contract."""
        return self._state.settings.get(name)

    async def put_setting(self, name: str, value: bytes, *, now: float) -> None:
        """See the contract."""
        self._state.settings[name] = value
        self._state.announce(ChangeKind.SETTING, now, new=name)

    async def put_setting_if_absent(self, name: str, value: bytes, *, now: float) -> bytes:
        """See the contract."""
        if name not in self._state.settings:
            await self.put_setting(name, value, now=now)
        return self._state.settings[name]

    async def swap_setting(self, name: str, value: bytes, *, expected: bytes | None, now: float) -> bool:
        """See the contract."""
        if self._state.settings.get(name) != expected:
            return False
        await self.put_setting(name, value, now=now)
        return True

    async def acquire(self, name: str, owner: str, *, now: float, until: float) -> int | None:
        """See the contract."""
        holder, token, end = self._state.leases.get(name, (None, 0, 0.0))
        if holder not in (None, owner) and end > now:
            return None
        renewal = holder == owner and end > now
        self._state.leases[name] = owner, token if renewal else token + 1, until
        return self._state.leases[name][1]

    async def give_up(self, name: str, owner: str) -> None:
        """See the contract."""
        holder, token, _ = self._state.leases.get(name, (None, 0, 0.0))
        if holder == owner:
            self._state.leases[name] = None, token, 0.0
