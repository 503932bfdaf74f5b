"""The same commands to the standby and to Dovecot, and what came of them in terms that both share.

Messages are named by their Message-ID, UIDs by the place of their message, sets are spelled out. What is left is
compared as it is; what may differ is in `EXCUSED_CODES` and `EXCUSED_ATTRIBUTES`, each with its reason.

1. A UID of a mailbox names one message for ever; this holds on each side by itself.
2. The message count that a side has told (EXISTS, EXPUNGE) is the count that it has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from tests.conformance.orders import Order, World, quoted
from tests.conformance.wire import Reply, Wire

_STATE: Final = b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
_ID: Final = b"BODY[HEADER.FIELDS (MESSAGE-ID)]"
_RESULTS: Final = (b"SEARCH", b"ESEARCH", b"SORT", b"THREAD", b"LIST", b"LSUB", b"STATUS")

Shown = dict[str, Any]


class Side:
    """One server: a session that works, and another one that only looks."""

    def __init__(self, name: str, session: Wire, watcher: Wire) -> None:
        self.name = name
        self.session = session
        self.watcher = watcher
        self.uids: list[int] = []
        self.count = 0
        self._named: dict[tuple[Any, int], str] = {}
        self._validity: Any = None

    def run(self, order: Order) -> Shown:
        """Say a command; its answer, and what the mailboxes are afterwards."""
        before = list(self.uids)
        reply = self.session.command(order.on(self.uids))
        self._hear(reply, order)
        shown: Shown = {"status": reply.status, "code": self._code(reply, order, before)}
        results = [self._result(values, before) for values in reply.untagged if values[0] in _RESULTS]
        shown["results"] = sorted(results, key=repr)  # mailboxes are listed in any order (RFC 9051 6.3.9)
        if b"FETCH " in order.text[:10]:
            shown["fetched"] = self._fetched(reply, before)
        return shown

    def _hear(self, reply: Reply, order: Order) -> None:
        """Invariant 2's model."""
        if order.leaves or order.selects:
            self.count, self.uids = 0, []
        for values in reply.untagged:
            if values[1:] == [b"EXISTS"]:
                assert values[0] >= self.count, "EXISTS never shrinks"
                self.count = values[0]
            elif values[1:] == [b"EXPUNGE"]:
                assert 1 <= values[0] <= self.count
                self.count -= 1
            elif values[0] == b"OK" and values[1].upper().startswith(b"UIDVALIDITY "):
                self._validity = int(values[1].split()[1])

    def state(self) -> list[Any]:
        """The selected mailbox, in order."""
        messages = self._look(self.session, self._validity)
        assert len(messages) == self.count, f"{self.name} told {self.count}, has {len(messages)}"
        self.uids = [uid for uid, _ in messages]
        return [shown for _, shown in messages]

    def mailbox(self, name: str) -> list[Any] | None:
        """Any mailbox, in order; None where there is none."""
        found = self._open(name)
        return None if found is None else [shown for _, shown in found]

    def _open(self, name: str) -> list[tuple[int, Any]] | None:
        reply = self.watcher.command(b"EXAMINE " + quoted(name))
        if reply.status != "OK":
            return None
        validity = next(int(code.split()[1]) for word, code in _conditions(reply) if code.startswith(b"UIDVALIDITY"))
        found = self._look(self.watcher, validity)
        self.watcher.ok(b"UNSELECT")  # who has a mailbox open while it is deleted is thrown out by both
        return found

    def _look(self, wire: Wire, validity: Any) -> list[tuple[int, Any]]:
        found = []
        fetched = wire.command(_STATE).fetched()
        for number, data in sorted(fetched.items()):
            uid, name = data[b"UID"], _message_id(data)
            assert self._named.setdefault((validity, uid), name) == name, f"{self.name}: UID {uid} is another message"
            found.append((uid, (name, _flags(data), data[b"INTERNALDATE"].strip(), data[b"RFC822.SIZE"])))
            assert number == len(found)
        uids = [uid for uid, _ in found]
        assert uids == sorted(set(uids)), f"{self.name}: UIDs out of order"
        return found

    def names(self) -> dict[str, list[str]]:
        """LIST of everything: name to attributes.

        Dovecot forgets to say that a deleted mailbox with others below it cannot be selected: who has some is asked.
        """
        found = {}
        for attributes, _, name in self.session.ok(b'LIST "" "*"').named(b"LIST"):
            shown = {_text(flag).lower() for flag in attributes} - {"\\marked", "\\unmarked"}
            if "\\haschildren" in shown:
                reply = self.watcher.command(b"STATUS " + quoted(_text(name)) + b" (MESSAGES)")
                shown = shown | ({"\\noselect"} if reply.status == "NO" else set())
            found[_text(name)] = sorted(shown)
        return found

    def subscribed(self) -> list[str]:
        """LSUB of everything."""
        return sorted(_text(name) for _, _, name in self.session.ok(b'LSUB "" "*"').named(b"LSUB"))

    # --- translations ---

    def _code(self, reply: Reply, order: Order, before: list[int]) -> Any:
        """The response code; UIDs in it as the messages that they name."""
        word, _, rest = reply.code.partition(b" ")
        code = word.upper().decode()
        sets: list[bytes] = rest.split()
        untagged = [code.split() for _, code in _conditions(reply) if code.upper().startswith(b"COPYUID")]
        if untagged:  # MOVE says it beside its tagged answer (RFC 6851 4.3)
            code, sets = "COPYUID", untagged[0][1:]
        if code in ("APPENDUID", "COPYUID"):
            there = dict(self._open(order.touches[0]) or [])
            if code == "APPENDUID":
                return code, [there[uid][0] for uid in _expand(sets[1])]
            sources = [before.index(uid) + 1 for uid in _expand(sets[1])]
            return code, sources, [there[uid][0] for uid in _expand(sets[2])]
        if order.text.startswith(b"RENAME") and reply.status == "NO":
            return "NO"  # a missing source and a name that is taken: which fault is named first is nobody's business
        return "" if code in EXCUSED_CODES else code

    def _result(self, values: list[Any], before: list[int]) -> Any:
        name, rest = values[0].decode(), values[1:]
        if name == "ESEARCH":
            by_uid = b"UID" in rest
            data = dict(zip(rest[1 + by_uid :: 2], rest[2 + by_uid :: 2], strict=True))
            place: Callable[[int], int] = (lambda uid: before.index(uid) + 1) if by_uid else (lambda number: number)
            return name, by_uid, {
                key: value if key == b"COUNT" else [place(one) for one in _expand(value)] for key, value in data.items()
            }  # fmt: skip
        if name in ("SEARCH", "SORT", "THREAD"):
            return name, rest
        if name == "STATUS":
            data = dict(zip(rest[1][::2], rest[1][1::2], strict=True))
            return name, _text(rest[0]), data
        attributes = {_text(flag).lower() for flag in rest[0]} - EXCUSED_ATTRIBUTES.keys()
        return name, sorted(attributes), _text(rest[2]), rest[3:]

    def _fetched(self, reply: Reply, before: list[int]) -> Any:
        shown = {}
        for number, data in reply.fetched().items():
            if b"UID" in data:
                data[b"UID"] = before.index(data[b"UID"]) + 1
            if b"FLAGS" in data:
                data[b"FLAGS"] = _flags(data)
            shown[number] = data
        return shown


EXCUSED_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "MAILBOXID": "RFC 8474, which Dovecot 2.3 does not have",
        "HASCHILDREN": "RFC 9051; Dovecot 2.3 is of IMAP4rev1",
        "CLIENTBUG": "Dovecot says it to STATUS of the selected mailbox",
        "NONEXISTENT": "RFC 5530; Dovecot says it in some of its answers only",
    }
)


EXCUSED_ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "\\haschildren": "we always say it, Dovecot only where it is asked; `names` compares it after every step",
        "\\hasnochildren": "as its contrary",
        "\\noselect": "see `names`",
        "\\marked": "for a server to say or not (RFC 9051 7.3.1)",
        "\\unmarked": "as its contrary",
        "\\nonexistent": "Dovecot's word for it in extended forms (RFC 5258 3.4)",
        **dict.fromkeys(
            ("\\drafts", "\\junk", "\\sent", "\\trash"), "Dovecot says it in LIST where asked, and in LSUB"
        ),
    }
)


def _conditions(reply: Reply) -> list[tuple[bytes, bytes]]:
    return [(values[0], values[1]) for values in reply.untagged if values[0] in (b"OK", b"NO")]


def _text(value: Any) -> str:
    """An atom that happens to be a number is a name all the same."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _message_id(data: dict[bytes, Any]) -> str:
    return re.sub(r"(?i)^message-id:\s*|\s+$", "", _text(data[_ID]))


def _flags(data: dict[bytes, Any]) -> list[str]:
    r"""Without \Recent: who is told first is a race by definition (RFC 3501 2.3.2)."""
    return sorted(_text(flag) for flag in data[b"FLAGS"] if flag != b"\\Recent")


def _expand(text: Any) -> list[int]:
    """A set, spelled out in the order given."""
    found: list[int] = []
    for piece in _text(text).split(","):
        low, _, high = piece.partition(":")
        found += range(int(low), int(high or low) + 1)
    return found


class Twins:
    """Both servers under the same commands."""

    def __init__(self, ours: Side, theirs: Side) -> None:
        self.sides = (ours, theirs)
        self.world = World([])
        self.said: list[str] = []

    def step(self, order: Order) -> None:
        """One command on both; AssertionError where they part."""
        self.said.append(repr(order.text[:160]))
        ours, theirs = (side.run(order) for side in self.sides)
        self._same("answer", ours, theirs)
        if ours["status"] == "OK" and order.selects:
            self.world.selected, self.world.read_only = order.selects, order.text.startswith(b"EXAMINE")
        elif order.leaves or order.selects:
            self.world.selected = None
        if self.world.selected is not None:
            mine, other = (side.state() for side in self.sides)
            self._same(f"selected {self.world.selected}", mine, other)
            self.world.messages = len(mine)
        for name in order.touches:
            self._same(name, *(side.mailbox(name) for side in self.sides))
        names, their_names = (side.names() for side in self.sides)
        self._same("names", names, their_names)
        self._same("subscribed", *(side.subscribed() for side in self.sides))
        self.world.names = [
            name for name, attributes in names.items() if not {"\\noselect", "\\nonexistent"} & {*attributes}
        ]

    def _same(self, what: str, ours: Any, theirs: Any) -> None:
        if ours != theirs:
            steps = "\n".join(self.said[-8:])
            raise AssertionError(
                f"{what}\n  ours {ours}\ntheirs {theirs}\nafter {len(self.said)} commands, the last:\n{steps}"
            )
