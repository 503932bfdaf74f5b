"""Keywords in plain words. The store numbers the keywords of an account; here the numbers get their words back.

1. A number means one word for ever, so what was learned is never asked for again.
2. Words that IMAP calls equal (in any case) are one keyword; it keeps the spelling it was first seen in.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from relay.core.errors import Damaged
from relay.store.api import Store
from relay.store.records import KeywordRow, Mac, NewKeyword
from relay.vault.sealing import Vault

_PURPOSE = "keywords"
_LIST = msgspec.msgpack.Decoder(tuple[str, ...])


class Words:
    """Numbers to words and back."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._known: dict[int, tuple[str, ...]] = {}
        """One word each; several for a list of version 1, none where the sealed bytes do not open."""

    def mac(self, account: Mac, word: str) -> Mac:
        """Look-up key of a word in an account."""
        return self._vault.mac("keyword", account + word.lower().encode())

    def new(self, account: Mac, words: Iterable[str]) -> tuple[NewKeyword, ...]:
        """Words as the store takes them."""
        return tuple(
            NewKeyword(self.mac(account, word), self._vault.seal(_PURPOSE, msgspec.msgpack.encode((word,))))
            for word in words
        )

    def of(self, numbers: Iterable[int]) -> tuple[str, ...]:
        """Those that were learned and are not damaged."""
        return tuple(word for number in numbers for word in self._known.get(number, ()))

    async def learn(self, account: Mac, numbers: Iterable[int]) -> None:
        """Make sure that `of` knows these numbers. Lists of version 1 are split on the way."""
        if all(number in self._known for number in numbers):
            return
        for keyword in await self._store.keywords(account):
            words = self._known[keyword.id] = self._open(keyword)
            if keyword.mac is None:
                await self._store.split_keywords(account, keyword.id, self.new(account, words))

    def _open(self, keyword: KeywordRow) -> tuple[str, ...]:
        try:
            return _LIST.decode(self._vault.open(_PURPOSE, keyword.name))
        except (Damaged, msgspec.MsgspecError):
            return ()
