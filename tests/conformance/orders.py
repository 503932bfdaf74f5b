"""Random valid commands of a user's, for two servers in the same state.

A command is written once; `{uids:2,3}` in it stands for the UIDs of the 2nd and 3rd message of the selected mailbox,
which each server has its own of. What is drawn depends on nothing but the seed and the state (`World`).
"""

# ruff: noqa: E501  # tables of commands read best unbroken

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Sequence
from typing import Final

from tests.conformance.wire import literal

SPECIAL: Final = ("INBOX", "Sent", "Drafts", "Trash", "Junk")
"""They are always there: who deletes or renames one finds an empty one again, on each server in a way of its own."""
NAMES: Final = (
    *SPECIAL, "Alpha", "Alpha/Beta", "Alpha/Beta/Gamma", "Delta", "Delta/Alpha", "two words",
    "Entw&APw-rfe", "100", "Omega",
)  # fmt: skip
_KEYWORDS: Final = ("$Forwarded", "Junk", "NonJunk", "todo")
_SYSTEM: Final = ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft")
_PEOPLE: Final = ("ann@example.org", "Bob <bob@example.com>", "carl@example.net", '"Zoe, of A" <zoe@example.org>')
_SUBJECTS: Final = (
    "Budget",
    "Re: Budget",
    "re: budget",
    "Fwd: Minutes",
    "Minutes",
    "[list] Minutes (fwd)",
    "=?utf-8?Q?=C3=84pfel?=",
    "",
)
_WORDS: Final = ("budget", "minutes", "ann", "example", "apples", "nothing", "zoe")
_SORT_KEYS: Final = ("ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO")
_UIDS: Final = re.compile(rb"\{uids:([0-9,]+)\}")


@dataclasses.dataclass
class World:
    """What both servers agree on."""

    names: list[str]
    """Mailboxes that can be selected."""
    selected: str | None = None
    read_only: bool = False
    messages: int = 0
    """In the selected mailbox."""


@dataclasses.dataclass(frozen=True)
class Order:
    """One command, and what it may change besides the selected mailbox."""

    text: bytes
    touches: tuple[str, ...] = ()
    """Mailboxes to look at afterwards."""
    selects: str | None = None
    leaves: bool = False
    """No mailbox is selected afterwards."""

    def on(self, uids: Sequence[int]) -> bytes:
        """The command for a server whose selected mailbox has these UIDs."""

        def fill(match: re.Match[bytes]) -> bytes:
            return b",".join(b"%d" % uids[int(number) - 1] for number in match[1].split(b","))

        return _UIDS.sub(fill, self.text)


class Orders:
    """Draws commands."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"orders {seed}")
        self._count = 0
        self._ids: list[str] = []

    def next(self, world: World) -> Order:
        """A command that is valid in this state."""
        anywhere: list[tuple[int, Callable[[World], Order]]] = [
            (10, self._append), (10, self._select), (4, self._create), (3, self._delete), (3, self._rename), (3, self._subscribe),
            (4, self._list), (3, self._status),
        ]  # fmt: skip
        reading: list[tuple[int, Callable[[World], Order]]] = [
            (8, self._copy), (2, self._close), (10, self._search), (6, self._sort), (4, self._thread), (8, self._fetch),
        ]  # fmt: skip
        # Not after EXAMINE: we answer NO, Dovecot answers OK to some of them and does nothing.
        writing: list[tuple[int, Callable[[World], Order]]] = [(14, self._store), (8, self._move), (5, self._expunge)]
        table = anywhere
        if world.selected and world.messages:
            table = table + reading + ([] if world.read_only else writing)
        kinds, weights = [kind for _, kind in table], [weight for weight, _ in table]
        return self.random.choices(kinds, weights)[0](world)

    # --- pieces ---

    def _name(self, world: World, *, absent: float = 0.1) -> str:
        return self.random.choice(NAMES) if self.random.random() < absent else self.random.choice(world.names)

    def _places(self, world: World) -> list[int]:
        return sorted(self.random.sample(range(1, world.messages + 1), self.random.randint(1, min(4, world.messages))))

    def _set(self, world: World) -> tuple[bytes, bytes]:
        """`UID ` or nothing, and a set to go with it."""
        places = ",".join(map(str, self._places(world)))
        if self.random.random() < 0.5:
            return b"UID ", b"{uids:%b}" % places.encode()
        low = self.random.randint(1, world.messages)
        return b"", self.random.choice((places, f"{low}:*", f"*:{low}", "*", f"1:{low}", "1:*")).encode()

    def _flags(self) -> bytes:
        flags = self.random.sample((*_SYSTEM, "\\Deleted", *_KEYWORDS), self.random.randint(0, 3))
        return " ".join(dict.fromkeys(flags)).encode()

    def _message(self) -> bytes:
        self._count += 1
        r, name = self.random, f"{self._count}@example.org"
        fields = [
            f"From: {r.choice(_PEOPLE)}",
            f"To: {r.choice(_PEOPLE)}",
            f"Subject: {r.choice(_SUBJECTS)}",
            f"Date: Mon, {r.randint(1, 28)} Nov 2025 {r.randrange(24):02}:00:00 +0000",
            f"Message-ID: <{name}>",
        ]
        if r.random() < 0.3:
            fields.append(f"Cc: {r.choice(_PEOPLE)}")
        if self._ids and r.random() < 0.6:
            fields.append(
                "References: "
                + " ".join(f"<{one}>" for one in r.sample(self._ids, min(len(self._ids), r.randint(1, 3))))
            )
        self._ids.append(name)
        r.shuffle(fields)
        body = "".join(f"line {n} about {r.choice(_WORDS)}\r\n" for n in range(r.randrange(20)))
        return ("\r\n".join(fields) + f"\r\n\r\n{body}").encode()

    # --- commands ---

    def _append(self, world: World) -> Order:
        name = self._name(world)
        text = b"APPEND " + quoted(name)
        for _ in range(self.random.choice((1, 1, 1, 3))):
            if self.random.random() < 0.7:
                text += b" (%b)" % self._flags()
            text += b' "%02d-Nov-2025 %02d:30:00 +0000"' % (self.random.randint(1, 28), self.random.randrange(24))
            text += b" " + literal(self._message())
        return Order(text, (name,))

    def _select(self, world: World) -> Order:
        name = self._name(world)
        if name in world.names:
            return Order(self.random.choice((b"SELECT ", b"SELECT ", b"EXAMINE ")) + quoted(name), selects=name)
        return Order(b"SELECT " + quoted(name), leaves=True)

    def _create(self, world: World) -> Order:
        name = self.random.choice(["INBOX", *NAMES[len(SPECIAL) :]])
        return Order(b"CREATE " + quoted(name), (name,))

    def _delete(self, world: World) -> Order:
        name = self.random.choice([name for name in NAMES if name not in (*SPECIAL, world.selected)])
        return Order(b"DELETE " + quoted(name), (name,))

    def _rename(self, world: World) -> Order:
        # Not onto a mailbox that is there: Dovecot's Maildir lets an empty one be replaced.
        old = self.random.choice(NAMES[len(SPECIAL) :])
        new = self.random.choice(
            [name for name in NAMES if name not in (*SPECIAL, *world.names, old)] or [old + "/new"]
        )
        if world.selected and (world.selected + "/").startswith(old + "/"):
            return self._list(world)
        return Order(b"RENAME " + quoted(old) + b" " + quoted(new), (old, new))

    def _subscribe(self, world: World) -> Order:
        word = self.random.choice((b"SUBSCRIBE ", b"UNSUBSCRIBE "))
        return Order(word + quoted(self.random.choice([name for name in world.names if name not in SPECIAL[1:]])))

    def _list(self, world: World) -> Order:
        reference, pattern = (
            self.random.choice(("", "", "Alpha/", "Alpha")),
            self.random.choice(("*", "%", "%/%", "A*", "*a", "inbox", "Alpha/%", "D%")),
        )
        form = self.random.choice((
            b'LIST "%b" "%b"', b'LSUB "%b" "%b"', b'LIST (SUBSCRIBED) "%b" "%b"', b'LIST "%b" "%b" RETURN (SUBSCRIBED CHILDREN)',
            b'LIST "%b" "%b" RETURN (STATUS (MESSAGES UNSEEN))', b'LIST (SUBSCRIBED RECURSIVEMATCH) "%b" "%b"', b'LIST (SPECIAL-USE) "%b" "%b"',
        ))  # fmt: skip
        return Order(form % (reference.encode(), pattern.encode()))

    def _status(self, world: World) -> Order:
        return Order(b"STATUS " + quoted(self._name(world)) + b" (MESSAGES UNSEEN SIZE)")

    def _store(self, world: World) -> Order:
        prefix, numbers = self._set(world)
        form = self.random.choice((b"+FLAGS", b"+FLAGS", b"-FLAGS", b"FLAGS"))
        return Order(
            prefix + b"STORE %b %b%b (%b)" % (numbers, form, self.random.choice((b"", b".SILENT")), self._flags())
        )

    def _copy(self, world: World) -> Order:
        prefix, numbers = self._set(world)
        name = self._name(world)
        return Order(prefix + b"COPY %b %b" % (numbers, quoted(name)), (name,))

    def _move(self, world: World) -> Order:
        prefix, numbers = self._set(world)
        name = self._name(world)
        return Order(prefix + b"MOVE %b %b" % (numbers, quoted(name)), (name,))

    def _expunge(self, world: World) -> Order:
        if self.random.random() < 0.5:
            return Order(b"EXPUNGE")
        return Order(b"UID EXPUNGE {uids:%b}" % ",".join(map(str, self._places(world))).encode())

    def _close(self, world: World) -> Order:
        return Order(self.random.choice((b"CLOSE", b"UNSELECT")), (world.selected or "INBOX",), leaves=True)

    def _criteria(self, world: World, depth: int = 2) -> bytes:
        r, word = self.random, self.random.choice(_WORDS).encode()
        day = b"%d-Nov-2025" % r.randint(1, 28)
        simple = [
            b"ALL", b"SEEN", b"UNSEEN", b"DELETED", b"UNDELETED", b"FLAGGED", b"ANSWERED", b"DRAFT", b"KEYWORD todo", b"UNKEYWORD $Forwarded",
            b"SUBJECT " + word, b"FROM " + word, b"TO " + word, b"CC " + word, b"TEXT " + word, b"BODY " + word, b"HEADER References example",
            b"BEFORE " + day, b"SINCE " + day, b"ON " + day, b"SENTBEFORE " + day, b"SENTSINCE " + day, b"SENTON " + day,
            b"LARGER %d" % r.randrange(1000), b"SMALLER %d" % r.randrange(1000), b"%d:*" % r.randint(1, world.messages),
            b"UID {uids:%d}" % r.randint(1, world.messages), b"*", b'HEADER Cc ""',
        ]  # fmt: skip
        if depth and r.random() < 0.4:
            one, two = self._criteria(world, depth - 1), self._criteria(world, depth - 1)
            # No NOT of a group: Dovecot 2.3 finds nothing by OR (UNDELETED) (NOT (ANSWERED SEEN)) where it should.
            return r.choice((b"NOT " + r.choice(simple), b"OR (%b) (%b)" % (one, two), b"(%b) %b" % (one, two)))
        return r.choice(simple)

    def _search(self, world: World) -> Order:
        prefix = self.random.choice((b"", b"UID "))
        options = self.random.choice((b"", b"", b"RETURN (COUNT) ", b"RETURN (MIN MAX ALL COUNT) ", b"RETURN () "))
        return Order(prefix + b"SEARCH " + options + self._criteria(world))

    def _sort(self, world: World) -> Order:
        keys = [
            self.random.choice(("", "REVERSE ")) + key
            for key in self.random.sample(_SORT_KEYS, self.random.randint(1, 3))
        ]
        prefix, charset = self.random.choice((b"", b"UID ")), self.random.choice((b"UTF-8", b"US-ASCII"))
        return Order(prefix + b"SORT (%b) %b %b" % (" ".join(keys).encode(), charset, self._criteria(world)))

    def _thread(self, world: World) -> Order:
        method = self.random.choice((b"REFERENCES", b"ORDEREDSUBJECT"))
        return Order(self.random.choice((b"", b"UID ")) + b"THREAD %b UTF-8 %b" % (method, self._criteria(world)))

    def _fetch(self, world: World) -> Order:
        prefix, numbers = self._set(world)
        items = self.random.choice(
            (
                b"FLAGS",
                b"ALL",
                b"FULL",
                b"FAST",
                b"(UID RFC822.SIZE BODYSTRUCTURE)",
                b"BODY[TEXT]",
                b"(FLAGS BODY.PEEK[]<3.10>)",
            )
        )
        return Order(prefix + b"FETCH %b %b" % (numbers, items))


def quoted(name: str) -> bytes:
    """A mailbox name as a quoted string."""
    return b'"%b"' % name.encode()
