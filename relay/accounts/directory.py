"""The recipient directory: which addresses exist, learned while the primary answers, believed while it does not.

Addresses enter, a `Verdict` leaves. Sources: configured lists and aliases, the primary's answers to RCPT, logins.

1. The postmaster of our domains exists (RFC 5321 4.5.1).
2. What is not known is never refused for good, unless the operator said `reject`.
3. Memory is bounded, and a look-up costs at most one read of the store; what was learned is written in groups, at most
   `flush_interval` late: losing it costs learning it again.
4. A store that does not answer raises its `NotNow`; nothing is guessed then.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum

import msgspec

from relay.accounts.names import Naming
from relay.core.clock import Clock
from relay.core.envelope import is_postmaster, split_address
from relay.core.errors import NotNow
from relay.core.reply import Reply
from relay.store.api import DirectoryStore
from relay.store.records import KnownRecipient, Mac
from relay.vault.sealing import Vault

Sleep = Callable[[float], Awaitable[None]]


class Unknown(StrEnum):
    """`domains.unknown_recipients`."""

    AUTO = "auto"
    ACCEPT = "accept"
    TEMPFAIL = "tempfail"
    REJECT = "reject"


class Verdict(StrEnum):
    """What is known of a recipient."""

    KNOWN = "known"
    """Positively."""
    UNKNOWN_ACCEPT = "accept"
    """Not known, and taken all the same."""
    NOT_YET = "tempfail"
    """Not known, and doubted: 450."""
    NO_SUCH = "reject"
    """Not known, and the operator wants a refusal: 550 5.1.1."""
    NOT_OURS = "not_ours"
    """Not our domain: 550 5.7.1."""


class DirectorySettings(msgspec.Struct, frozen=True):
    """What the operator says about recipients; times in seconds."""

    domains: frozenset[str]
    """Ours, as written."""
    unknown: Unknown = Unknown.AUTO
    recipients: frozenset[str] = frozenset()
    """The configured list; a domain that has an entry in it is mature."""
    mature_after: float = 14 * 86_400.0
    refresh_after: float = 86_400.0
    """How old a known answer gets before it is written again."""
    cache_entries: int = 50_000
    cache_seconds: float = 60.0
    """How long this process believes its memory before it asks the store again (other workers learn too)."""
    flush_interval: float = 1.0
    flush_batch: int = 500
    pending_limit: int = 20_000


class _Seen(msgspec.Struct, frozen=True, gc=False):
    """One entry of the memory; `valid` None = the store knows nothing."""

    valid: bool | None
    seen_at: float
    until: float


class Directory:
    """One per worker."""

    def __init__(
        self, store: DirectoryStore, vault: Vault, naming: Naming, clock: Clock, settings: DirectorySettings
    ) -> None:
        self._store = store
        self._vault = vault
        self._naming = naming
        self._clock = clock
        self._settings = settings
        self._domains = frozenset(_ascii(domain) for domain in settings.domains)
        self._listed: frozenset[str] = frozenset()
        self._listed_domains: frozenset[str] = frozenset()
        self._memory: OrderedDict[Mac, _Seen] = OrderedDict()
        self._first_seen: dict[str, tuple[float | None, float]] = {}
        """When a domain was first learned of (None = never), and until when that is believed."""
        self._pending: OrderedDict[Mac, tuple[str, KnownRecipient]] = OrderedDict()
        self.replace_list(settings.recipients)

    def replace_list(self, recipients: Iterable[str]) -> None:
        """The configured list as it is now (it is read again on HUP)."""
        self._listed = frozenset(self._naming.full(address) for address in recipients)
        self._listed_domains = frozenset(split_address(address)[1] for address in self._listed)

    def is_ours(self, address: str) -> bool:
        """Whether the address's domain is one of ours; a bare postmaster is."""
        domain = split_address(address)[1]
        return _ascii(domain) in self._domains if domain else is_postmaster(address)

    async def verdict(self, address: str) -> Verdict:
        """What to do with a recipient while the primary cannot be asked. NotNow."""
        if not self.is_ours(address):
            return Verdict.NOT_OURS
        if is_postmaster(address):
            return Verdict.KNOWN
        full, base = self._naming.full(address), self._naming.base(address)
        if full in self._listed or base in self._listed:
            return Verdict.KNOWN
        if self._naming.is_alias(full) or self._naming.is_alias(base):
            return Verdict.KNOWN
        known = await self._look_up(full, base)
        if True in known:
            return Verdict.KNOWN
        unknown = self._settings.unknown
        if unknown is Unknown.AUTO:
            doubted = False in known or await self._is_mature(split_address(full)[1])
            return Verdict.NOT_YET if doubted else Verdict.UNKNOWN_ACCEPT
        return _FORCED[unknown]

    async def learn(self, address: str, answer: Reply) -> None:
        """The primary's own answer to RCPT. What does not speak of the mailbox itself teaches nothing."""
        if answer.positive:
            await self._note(address, valid=True, source="reply")
        elif answer.permanent and (answer.enhanced or "").startswith("5.1."):  # RFC 3463 3.2: addressing status
            await self._note(address, valid=False, source="reply")

    async def saw(self, address: str, *, source: str = "login") -> None:
        """An account was seen to exist (a login, the mirror)."""
        await self._note(address, valid=True, source=source)

    async def flush(self) -> None:
        """Write what was learned. What the store does not take stays for the next time."""
        while self._pending:
            domain = next(iter(self._pending.values()))[0]
            batch = {mac: known for mac, (name, known) in self._pending.items() if name == domain}
            try:
                await self._store.learn_recipients(self._vault.mac("domain", domain), list(batch.values()))
            except NotNow:
                return
            for mac, known in batch.items():
                if mac in self._pending and self._pending[mac][1] is known:
                    del self._pending[mac]

    async def run(self, sleep: Sleep) -> None:
        """Flush for ever, until cancelled; then once more."""
        try:
            while True:
                await sleep(self._settings.flush_interval)
                await self.flush()
        finally:
            await self.flush()

    async def _note(self, address: str, *, valid: bool, source: str) -> None:
        if not self.is_ours(address):
            return
        full = self._naming.full(address)
        mac = self._mac(full)
        now = self._clock.now()
        before = self._memory.get(mac)
        if before is not None and before.valid is valid and now - before.seen_at < self._settings.refresh_after:
            return
        self._keep(mac, valid, now)
        self._pending.pop(mac, None)
        self._pending[mac] = (split_address(full)[1], KnownRecipient(mac, valid, source, now))
        while len(self._pending) > self._settings.pending_limit:
            self._pending.popitem(last=False)
        if len(self._pending) == self._settings.flush_batch:
            await self.flush()

    async def _look_up(self, *addresses: str) -> set[bool | None]:
        """What is known about any of these."""
        now = self._clock.now()
        macs = {self._mac(address) for address in addresses}
        found: set[bool | None] = set()
        missing = []
        for mac in macs:
            seen = self._memory.get(mac)
            if seen is not None and (now < seen.until or mac in self._pending):
                self._memory.move_to_end(mac)
                found.add(seen.valid)
            else:
                missing.append(mac)
        if missing:
            rows = await self._store.known_recipients(missing)
            for mac in missing:
                row = rows.get(mac)
                self._keep(mac, row.valid if row else None, row.seen_at if row else 0.0)
                found.add(row.valid if row else None)
        return found

    async def _is_mature(self, domain: str) -> bool:
        """Whether an unknown recipient of the domain is probably a wrong one."""
        if domain in self._listed_domains:
            return True
        now = self._clock.now()
        first, until = self._first_seen.get(domain, (None, 0.0))
        if first is None and now >= until:
            first = await self._store.domain_first_seen(self._vault.mac("domain", domain))
            self._first_seen[domain] = (first, now + self._settings.cache_seconds)
        return first is not None and now - first >= self._settings.mature_after

    def _keep(self, mac: Mac, valid: bool | None, seen_at: float) -> None:
        self._memory[mac] = _Seen(valid, seen_at, self._clock.now() + self._settings.cache_seconds)
        self._memory.move_to_end(mac)
        while len(self._memory) > self._settings.cache_entries:
            self._memory.popitem(last=False)

    def _mac(self, full: str) -> Mac:
        return self._vault.mac("recipient", full)


_FORCED = {
    Unknown.ACCEPT: Verdict.UNKNOWN_ACCEPT,
    Unknown.TEMPFAIL: Verdict.NOT_YET,
    Unknown.REJECT: Verdict.NO_SUCH,
}


def _ascii(domain: str) -> str:
    """The form in which domains are compared: lower case, no trailing dot, A-labels where they can be made."""
    plain = domain.removesuffix(".").casefold()
    if plain.isascii():
        return plain
    try:
        return plain.encode("idna").decode("ascii")
    except UnicodeError:
        return plain
