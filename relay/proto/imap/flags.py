"""Flags of a message (RFC 9051 2.3.2): five system flags as bits, keywords as words. `\\Recent` is a session's own."""

from __future__ import annotations

import re
from enum import IntFlag
from types import MappingProxyType

import msgspec


class System(IntFlag):
    """System flags that a client may set; the values are those that the store keeps."""

    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DELETED = 8
    DRAFT = 16


NAMES: MappingProxyType[System, str] = MappingProxyType(
    {
        System.ANSWERED: "\\Answered",
        System.FLAGGED: "\\Flagged",
        System.DELETED: "\\Deleted",
        System.SEEN: "\\Seen",
        System.DRAFT: "\\Draft",
    }
)
_BY_NAME = MappingProxyType({name.lower(): flag for flag, name in NAMES.items()})
_KEYWORD = re.compile(r"[^\x00-\x20\x7f-\U0010ffff(){%*\"\\\]]{1,255}\Z")
SYSTEM_NAMES = " ".join(NAMES.values())
"""For FLAGS and PERMANENTFLAGS."""


class Flags(msgspec.Struct, frozen=True):
    """A set of flags. Keywords keep the case they came in; two that differ only in case are one (RFC 9051 2.3.2)."""

    system: System = System(0)
    keywords: tuple[str, ...] = ()

    def has_keyword(self, name: str) -> bool:
        """Whether the keyword is set, in any case."""
        wanted = name.lower()
        return any(keyword.lower() == wanted for keyword in self.keywords)

    def plus(self, other: Flags) -> Flags:
        """Both; a keyword that is already there keeps its spelling."""
        known = {keyword.lower() for keyword in self.keywords}
        added = tuple(keyword for keyword in other.keywords if keyword.lower() not in known)
        return Flags(self.system | other.system, self.keywords + added)

    def minus(self, other: Flags) -> Flags:
        """Without the others."""
        gone = {keyword.lower() for keyword in other.keywords}
        return Flags(self.system & ~other.system, tuple(k for k in self.keywords if k.lower() not in gone))

    def encode(self, *, recent: bool = False) -> bytes:
        """The list inside the parentheses of FLAGS."""
        names = [name for flag, name in NAMES.items() if flag in self.system]
        names.extend(self.keywords)
        if recent:
            names.append("\\Recent")
        return " ".join(names).encode("ascii")


def parse(words: list[bytes]) -> Flags | None:
    """Flags from their words; None when one of them is no flag that a client may set (RFC 9051 9 flag)."""
    system = System(0)
    keywords: dict[str, str] = {}
    for word in words:
        try:
            text = word.decode("ascii")
        except UnicodeDecodeError:
            return None
        bit = _BY_NAME.get(text.lower())
        if bit is not None:
            system |= bit
        elif _KEYWORD.match(text):
            keywords.setdefault(text.lower(), text)
        else:
            return None
    return Flags(system, tuple(keywords.values()))
