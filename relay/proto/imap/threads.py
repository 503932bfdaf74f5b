"""THREAD as pure functions: ORDEREDSUBJECT and REFERENCES (RFC 5256 3, after Zawinski's algorithm).

Enters: messages by ascending number. Leaves: a forest, and its form on the wire. Promises:

1. Steps: proportional to messages and references (times the logarithm that sorting costs); no recursion, so that a
   thread may be as deep as the mailbox is large.
2. Every message is in the forest once, whatever the headers say; a reference never makes a loop.

The links of RFC 5256's steps (1)(A) and (1)(B) are made in two rounds: first every message under its own last
reference, then what the chains of references say about the others. Where no header lies this is what one round in the
order of the RFC gives, but no link is ever taken back, so a loop is found by joining sets and not by walking upwards.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from types import MappingProxyType

import msgspec

from relay.proto.imap.sorting import Sortable

MOST_REFERENCES = 1_000
"""Message-IDs of one References field that are looked at, from its end (count)."""

_MESSAGE_ID = re.compile(rb"<([^<>\s]{1,998})>")
_FOLDED = re.compile(rb"[\r\n]")


class Algorithm(Enum):
    """The value is the name on the wire."""

    ORDEREDSUBJECT = "ORDEREDSUBJECT"
    REFERENCES = "REFERENCES"


class Threadable(msgspec.Struct, frozen=True):
    """One message. `sort` has id, sent date and collated base subject."""

    sort: Sortable
    is_reply: bool = False
    """Its subject was changed by a reply or forward (`Subject.changed`)."""
    message_id: bytes | None = None
    references: tuple[bytes, ...] = ()
    """`references()`."""


class Node:
    """A message, or with `id` None a place that holds its replies together."""

    __slots__ = ("date", "id", "is_reply", "replies", "subject")

    def __init__(self, message: Threadable | None, replies: list[Node] | None = None) -> None:
        self.id = None if message is None else message.sort.id
        self.date = 0.0 if message is None else message.sort.sent
        self.subject = "" if message is None else message.sort.subject
        self.is_reply = message is not None and message.is_reply
        self.replies: list[Node] = [] if replies is None else replies


def message_ids(field: bytes) -> tuple[bytes, ...]:
    """The Message-IDs in a Message-ID, References or In-Reply-To value, in order."""
    return tuple(_MESSAGE_ID.findall(_FOLDED.sub(b"", field)))


def references(references_field: bytes | None, in_reply_to: bytes | None) -> tuple[bytes, ...]:
    """What a message answers, oldest first; In-Reply-To's first where References has none (RFC 5256 3 REFERENCES)."""
    found = message_ids(references_field or b"")
    return found[-MOST_REFERENCES:] or message_ids(in_reply_to or b"")[:1]


# --- ORDEREDSUBJECT ---


def by_subject(messages: Sequence[Threadable]) -> list[Node]:
    """Messages of one base subject are one thread: the oldest, and all others below it."""
    threads: dict[str, Node] = {}
    for message in sorted(messages, key=lambda one: one.sort.sent):
        node = Node(message)
        first = threads.setdefault(node.subject, node)
        if first is not node:
            first.replies.append(node)
    return list(threads.values())  # by the date of their first: so they were made


# --- REFERENCES ---


class _Linker:
    """Parents by index: messages first, then the identifiers that are only mentioned."""

    def __init__(self, messages: Sequence[Threadable]) -> None:
        self._messages = messages
        self._index: dict[bytes, int] = {}
        for at, message in enumerate(messages):
            if message.message_id is not None:
                # Of two with one Message-ID the later counts as having none (RFC 5256 3 REFERENCES (1)).
                self._index.setdefault(message.message_id, at)
        self.parent: list[int] = [-1] * len(messages)
        self._set = list(range(len(messages)))

    def link(self) -> list[int]:
        """Parent of each; -1 for none."""
        chains = [[self._at(one) for one in message.references] for message in self._messages]
        for at, chain in enumerate(chains):
            if chain:
                self._join(chain[-1], at)
        for at, chain in enumerate(chains):
            for above, below in itertools.pairwise(chain):
                # A message without references that comes later has "now no parent": only what follows may give it one.
                if not (at < below < len(self._messages)):
                    self._join(above, below)
        return self.parent

    def _at(self, message_id: bytes) -> int:
        at = self._index.setdefault(message_id, len(self.parent))
        if at == len(self.parent):
            self.parent.append(-1)
            self._set.append(at)
        return at

    def _root(self, at: int) -> int:
        joined = self._set
        while joined[at] != at:
            joined[at] = at = joined[joined[at]]
        return at

    def _join(self, above: int, below: int) -> None:
        """Unless there is a parent already, or `above` is somewhere below `below`."""
        if self.parent[below] < 0 and (top := self._root(above)) != self._root(below):
            self.parent[below] = above
            self._set[below] = top


def by_references(messages: Sequence[Threadable]) -> list[Node]:
    """Messages below what they answer; threads of one base subject are joined."""
    nodes = [Node(message) for message in messages]
    parents = _Linker(messages).link()
    nodes.extend(Node(None) for _ in range(len(parents) - len(nodes)))
    roots: list[Node] = []  # step 2
    for node, parent in zip(nodes, parents, strict=True):
        (nodes[parent].replies if parent >= 0 else roots).append(node)
    roots = _pruned(roots)
    _sort(roots)
    roots = _joined(roots)
    _sort(roots)
    return roots


def _levels(roots: list[Node]) -> list[Node]:
    """Every node, each before those below it."""
    found, waiting = [], list(roots)
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting.extend(node.replies)
    return found


def _pruned(roots: list[Node]) -> list[Node]:
    """Step 3: places without a message go, and what is below them comes up."""
    for node in reversed(_levels(roots)):
        if any(reply.id is None for reply in node.replies):
            # Those below were done before, so that every empty place among the replies holds messages only.
            node.replies = [
                kept for reply in node.replies for kept in ([reply] if reply.id is not None else reply.replies)
            ]
    # At the top a place stays where it holds two or more together.
    found: list[Node] = []
    for node in roots:
        if node.id is None and len(node.replies) < 2:
            found.extend(node.replies)
        else:
            found.append(node)
    return found


def _sort(roots: list[Node]) -> None:
    """Steps 4 and 6: siblings by sent date; a place without a message has the date and subject of its first."""
    for node in reversed(_levels(roots)):
        node.replies.sort(key=_date)
        if node.id is None:
            first = node.replies[0]
            node.date, node.subject = first.date, first.subject
    roots.sort(key=_date)


def _date(node: Node) -> float:
    return node.date


def _joined(roots: list[Node]) -> list[Node]:
    """Step 5: threads of one base subject under one root."""
    table: dict[str, Node] = {}
    for node in roots:
        held = table.get(node.subject)
        if held is None or (node.id is None and held.id is not None) or (held.is_reply and not node.is_reply):
            table[node.subject] = node
    gone: set[int] = set()
    places: dict[int, Node] = {}
    for node in roots:
        held = table[node.subject]
        if not node.subject or held is node:
            continue
        if held.id is None:
            held.replies.extend(node.replies if node.id is None else [node])
        elif node.is_reply and not held.is_reply:
            held.replies.append(node)
        else:
            place = Node(None, [held, node])
            places[id(held)] = table[node.subject] = place
            place.subject = node.subject
        gone.add(id(node))
    return [places.get(id(node), node) for node in roots if id(node) not in gone]


ALGORITHMS: MappingProxyType[Algorithm, Callable[[Sequence[Threadable]], list[Node]]] = MappingProxyType(
    {Algorithm.ORDEREDSUBJECT: by_subject, Algorithm.REFERENCES: by_references}
)


# --- on the wire ---


def encode(roots: Iterable[Node]) -> bytes:
    """`(1 2 (3)(4 5))(6)`: a chain on one level, a list for each branch (RFC 5256 4 thread-list)."""
    out: list[bytes] = []
    waiting: list[Node | bytes] = [*reversed(list(roots))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, bytes):
            out.append(node)
            continue
        words: list[bytes] = []
        while True:
            if node.id is not None:
                words.append(b"%d" % node.id)
            if len(node.replies) != 1:
                break
            node = node.replies[0]
        out.append(b"(" + b" ".join(words))
        if words and node.replies:
            out.append(b" ")
        waiting.append(b")")
        waiting.extend(reversed(node.replies))
    return b"".join(out)
