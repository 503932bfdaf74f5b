"""What the replies of an attempt mean for an item. Pure: replies in, states out.

1. Unknown means temporary: only a 5xx about the message or the recipient is permanent, and even that only holds the
   item; nothing here bounces mail.
2. Every open recipient gets a result of its own; one that was refused does not hold up the others.
3. An item is DELIVERED only when every recipient is; HELD when nobody is waiting and somebody was refused.
4. Who was accepted in a transaction whose last reply was lost is UNKNOWN, and so is the item.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from relay.core.item import ItemState, RecipientState
from relay.core.reply import QUARREL, Reply

OPEN = frozenset({RecipientState.WAITING, RecipientState.UNKNOWN})
"""Recipients that the next attempt is for."""


class Verdict(msgspec.Struct, frozen=True):
    """What one attempt heard."""

    replies: tuple[tuple[int, Reply], ...] = ()
    """Recipient index and the reply that decides for it: of RCPT where negative, else of MAIL or the content."""
    unsure: tuple[int, ...] = ()
    """Recipients whose final reply was lost."""
    trouble: str | None = None
    """Bland reason when the connection failed."""
    evidence: bool = False
    """Whether the trouble says something about the primary's health."""
    in_data: bool = False
    """Whether it came while content was under way: perhaps the message is the reason."""


class Result(StrEnum):
    """One word for an attempt, for gate, pacing and metrics."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    NO_CONTACT = "no_contact"


class Decision(msgspec.Struct, frozen=True):
    """What to settle."""

    result: Result
    state: ItemState
    recipients: tuple[tuple[int, RecipientState, Reply | None], ...] = ()
    note: Reply | None = None
    retry: bool = False
    """PENDING: whether it waits for its backoff (True) or may go again at once."""
    counts: bool = True
    """Whether it was an attempt of this message."""
    untouched: bool = False
    """Nothing was learned about the message: hand it back as it was."""


def code_of(verdict: Verdict | None) -> int | None:
    """The code of the reply that an operator wants to see first; None where there was none."""
    first = telling(reply for _, reply in verdict.replies) if verdict is not None else None
    return None if first is None else first.code


def judge(reply: Reply) -> RecipientState:
    """What a reply means for a recipient."""
    if reply.positive:
        return RecipientState.DELIVERED
    if reply.permanent and reply.code not in QUARREL:
        return RecipientState.REFUSED
    return RecipientState.WAITING


def decide(states: Sequence[RecipientState], verdict: Verdict) -> Decision:
    """`states` are those of all recipients before the attempt, by index."""
    if verdict.trouble is not None and not verdict.unsure:
        return Decision(
            Result.NO_CONTACT,
            ItemState.PENDING,
            note=Reply(451, (f"4.4.2 {verdict.trouble}",)),
            retry=verdict.in_data,
            counts=verdict.in_data,
            untouched=not verdict.in_data,
        )
    after = list(states)
    results: list[tuple[int, RecipientState, Reply | None]] = []
    for index, reply in verdict.replies:
        after[index] = judge(reply)
        results.append((index, after[index], reply))
    for index in verdict.unsure:
        after[index] = RecipientState.UNKNOWN
        results.append((index, RecipientState.UNKNOWN, None))
    note = telling(reply for _, reply in verdict.replies)
    if verdict.unsure:
        return Decision(Result.UNKNOWN, ItemState.UNKNOWN, tuple(results), note)
    closing = any(reply.code == 421 for _, reply in verdict.replies)
    progress = any(state is RecipientState.DELIVERED for _, state, _ in results)
    refused = any(state is RecipientState.REFUSED for _, state, _ in results)
    state = settled_state(after)
    if state is ItemState.PENDING:
        result = Result.REFUSED if refused else Result.DELIVERED if progress else Result.DEFERRED
        return Decision(result, state, tuple(results), note, retry=True, counts=not closing)
    if state is ItemState.DELIVERED:
        return Decision(Result.DELIVERED, state, tuple(results))
    return Decision(Result.REFUSED if refused else Result.DELIVERED, state, tuple(results), note)


def settled_state(states: Iterable[RecipientState]) -> ItemState:
    """Where an item is whose recipients are so."""
    seen = set(states)
    if seen & OPEN:
        return ItemState.PENDING
    return ItemState.HELD if RecipientState.REFUSED in seen else ItemState.DELIVERED


def telling(replies: Iterable[Reply]) -> Reply | None:
    """The reply that an operator wants to see first: a refusal before a delay before a success."""
    return max(replies, key=lambda reply: reply.code, default=None)
