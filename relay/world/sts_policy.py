"""MTA-STS records and policies (RFC 8461 3.1, 3.2): text in, values or None out. No I/O.

What does not keep to the grammar is no policy: a domain that writes nonsense is treated as one that writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

import msgspec

_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31}):[ \t]*([^\r\n]*?)[ \t]*")
_AGE = re.compile(r"[0-9]{1,10}")
_LONGEST_AGE = 31_557_600
"""RFC 8461 3.2: a year."""
_MOST_PATTERNS = 200


class Mode(StrEnum):
    """What to do when the checks fail."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class Policy(msgspec.Struct, frozen=True, array_like=True):
    """What a domain asks of those who send to it."""

    mode: Mode
    max_age: int
    """Seconds."""
    patterns: tuple[str, ...]
    """Host names, lower case; `*.` stands for one label."""

    def names(self, host: str) -> bool:
        """Whether mail may go to this MX host (RFC 8461 4.1)."""
        host = host.rstrip(".").lower()
        _, _, parent = host.partition(".")
        return any(
            host == pattern or (pattern.startswith("*.") and bool(parent) and parent == pattern[2:])
            for pattern in self.patterns
        )


def record_id(texts: Sequence[str]) -> str | None:
    """The id of a domain's record among the TXT values of `_mta-sts.<domain>`; None = it has no policy."""
    records = [text for text in texts if re.match(r"v=STSv1[ \t]*;", text)]
    if len(records) != 1:  # RFC 8461 3.1: neither none nor several
        return None
    for part in records[0].split(";"):
        name, _, value = part.strip(" \t").partition("=")
        if name == "id":
            return value if _ID.fullmatch(value) else None
    return None


def parse_policy(text: str) -> Policy | None:
    """A policy file (RFC 8461 3.2)."""
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in re.split(r"\r?\n", text):
        if not line.strip(" \t"):
            continue
        match = _FIELD.fullmatch(line)
        if match is None:
            return None
        name, value = match[1], match[2]
        if name == "mx":
            patterns.append(value.rstrip(".").lower())
        else:
            fields.setdefault(name, value)  # of those given twice the first counts
    age = fields.get("max_age", "")
    mode = fields.get("mode", "")
    if fields.get("version") != "STSv1" or not _AGE.fullmatch(age) or mode not in set(Mode):
        return None
    if len(patterns) > _MOST_PATTERNS or (not patterns and mode != Mode.NONE):
        return None
    return Policy(Mode(mode), min(int(age), _LONGEST_AGE), tuple(patterns))
