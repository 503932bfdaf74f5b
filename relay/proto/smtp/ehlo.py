"""What a server offers, from its reply to EHLO (RFC 5321 4.1.1.1), for the client side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from relay.core.reply import Reply

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_NOTHING: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Extensions:
    """EHLO keywords in upper case with their parameters as sent; `"STARTTLS" in extensions`."""

    __slots__ = ("_keywords",)

    def __init__(self, keywords: Mapping[str, tuple[str, ...]] = _NOTHING) -> None:
        self._keywords = keywords

    def __contains__(self, keyword: str) -> bool:
        return keyword in self._keywords

    def __repr__(self) -> str:
        return f"Extensions({sorted(self._keywords)})"

    def parameters(self, keyword: str) -> tuple[str, ...]:
        """Parameters of a keyword; empty when it has none or is not offered."""
        return self._keywords.get(keyword, ())

    @property
    def size_limit(self) -> int | None:
        """RFC 1870 4: the fixed maximum in octets; None when there is none or it is not said."""
        words = self.parameters("SIZE")
        if words and words[0].isascii() and words[0].isdigit() and len(words[0]) <= 20:
            return int(words[0]) or None
        return None

    @property
    def limits(self) -> dict[str, int]:
        """RFC 9422 4: numeric limits by name, such as RCPTMAX."""
        pairs = (word.partition("=") for word in self.parameters("LIMITS"))
        return {
            name.upper(): int(value)
            for name, _, value in pairs
            if value.isascii() and value.isdigit() and len(value) < 7
        }


def parse_ehlo(answer: Reply) -> Extensions:
    """Keywords of a positive reply to EHLO. Its first line is the greeting; lines without a keyword are passed over."""
    keywords: dict[str, tuple[str, ...]] = {}
    for line in answer.lines[1:]:
        # "AUTH=PLAIN" is a spelling of before RFC 2554 that some servers still send beside the right one.
        words = line.split()
        if words and _KEYWORD.fullmatch(words[0]):
            keywords.setdefault(words[0].upper(), tuple(words[1:]))
    return Extensions(keywords)
