"""Who handled a message, read from the trace lines above it: whose doing a second copy is.

The relay's Received line holds its item id, Postfix's its queue id. Two items: the sender was let in twice. One item
and two queue ids: the relay handed it over twice. One queue id: Postfix, which took it once, delivered it twice (it
ended between a delivery and its note of it).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

TRACE: Final = re.compile(
    rb"(?:(?:Return-Path|X-Original-To|Delivered-To|Received|Authentication-Results|ARC-[\w-]+):[^\n]*\n"
    rb"(?:[ \t][^\n]*\n)*)*"
)
"""Everything that may stand above the first line of a message."""
_QUEUE_ID: Final = re.compile(rb"by primary\.example\.org \(Postfix\)[^;]*? id ([0-9A-Za-z]+)")
_ITEM_ID: Final = re.compile(rb"by [\w.-]+ with \w+ id ([0-9a-z]{26})\b")


def trace(message: bytes) -> bytes:
    """The trace lines above a message."""
    found = TRACE.match(message)
    return found[0] if found else b""


def queue_id(lines: bytes) -> str | None:
    """Postfix's name for it."""
    found = _QUEUE_ID.search(lines)
    return found[1].decode() if found else None


def item_id(lines: bytes) -> str | None:
    """The relay's name for it."""
    found = _ITEM_ID.search(lines)
    return found[1].decode() if found else None


def explain(copies: Sequence[bytes]) -> str:
    """Whose doing it is that there are several, and the evidence."""
    traces = [trace(copy) for copy in copies]
    items, queued = {item_id(lines) for lines in traces}, {queue_id(lines) for lines in traces}
    if None in items or None in queued:
        verdict = "whose doing it is cannot be told"
    elif len(items) > 1:
        verdict = "accepted twice by the relay"
    elif len(queued) > 1:
        verdict = "handed over twice by the relay"
    else:
        verdict = "delivered twice by Postfix"
    told = [
        f"--- item {item_id(lines)}, queue id {queue_id(lines)}\n{lines.decode(errors='replace')}" for lines in traces
    ]
    return "\n".join([f"{len(copies)} copies, {verdict}", *told])
