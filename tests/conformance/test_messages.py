"""The same letters taken by the standby over SMTP and by Dovecot: every FETCH of them gives the same octets."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conformance.conftest import Pairing
from tests.conformance.letters import letters
from tests.conformance.wire import Garbled, Hung, Reply, Wire, literal
from tests.peers.smtpclient import SmtpClient
from tests.proto_mime.corpus import corpus

pytestmark = pytest.mark.peers

_PARTIAL = re.compile(r"BODY\.PEEK\[(.*)\]<(\d+)\.(\d+)>")
_ITEMS = 60
"""Sections asked for in one FETCH."""
_SENDERS = 8
_TOGETHER = 50
"""Messages of one APPEND (RFC 3502)."""
_OFFSETS = (0, 1, 2, 10, 77, 1000, 100_000)
_COUNTS = (1, 2, 3, 64, 1024, 10**9)
_FIELDS = ("subject", "FROM", "Content-Type", "X-None", "received")


@dataclass
class Same:
    """Both servers with the same letters in one mailbox; number n is `names[n - 1]`."""

    ours: Wire
    theirs: Wire
    names: list[str]
    again: Callable[[], Wire]
    """Another connection to Dovecot, the mailbox selected, its message numbers those of `names`."""
    _labels: dict[int, list[str]] = field(default_factory=dict)

    def ask(self, number: int, items: Sequence[str]) -> tuple[dict[bytes, Any], dict[bytes, Any]]:
        """What each says of one message."""
        text = f"FETCH {number} ({' '.join(items)})".encode()
        ours = self.ours.ok(text).fetched()
        # Dovecot hangs up now and then at broken parts; asked again it answers.
        said = self.asked_of_dovecot(text) or self.theirs.ok(text)
        assert said.status == "OK"
        theirs = said.fetched()
        assert list(ours) == list(theirs) == [number]
        return ours[number], theirs[number]

    def compare(self, number: int, items: Sequence[str]) -> list[str]:
        """Names of the items that differ."""
        ours, theirs = self.ask(number, items)
        for item in items:
            # Dovecot keeps LF and makes CRLF of it; a partial that begins between the two, and the next ones of the
            # same section, may be one octet off from Dovecot's own text. That text is what counts.
            partial = _PARTIAL.fullmatch(item)
            if partial is None:
                continue
            section, start = partial[1].upper().encode(), int(partial[2])
            key = b"BODY[%b]<%d>" % (section, start)
            assert key in ours
            if ours[key] != theirs[key]:
                whole = self.theirs.ok(b"FETCH %d BODY.PEEK[%b]" % (number, section)).fetched()[number]
                theirs[key] = whole[b"BODY[%b]" % section][start : start + int(partial[3])]
        return [
            f"{self.names[number - 1]}: {key!r}\n   ours {_short(ours.get(key))}\n theirs {_short(theirs.get(key))}"
            for key in {**theirs, **ours}
            if ours.get(key, "absent") != theirs.get(key, "absent")
        ]

    def labels(self, number: int) -> list[str]:
        """`_find_labels`, once."""
        if number not in self._labels:
            self._labels[number] = self._find_labels(number)
        return self._labels[number]

    def _find_labels(self, number: int) -> list[str]:
        """Sections of a message to ask for.

        Of a message inside whose header no empty line ends, Dovecot picks fields from what comes behind it, boundary
        lines too, and gives no empty line (against RFC 9051 6.4.5); its fields are not compared.
        """
        structure = self.theirs.ok(b"FETCH %d BODYSTRUCTURE" % number).fetched()[number][b"BODYSTRUCTURE"]
        labels = list(_labels(structure))
        inner = [label for label in labels if label.endswith(".HEADER")]
        asked = " ".join(f"BODY.PEEK[{label}]" for label in inner).encode()
        headers = self.theirs.ok(b"FETCH %d (%b)" % (number, asked)).fetched()[number]
        cut = [label for label in inner if not _ended(headers[f"BODY[{label}]".encode()])]
        return [label for label in labels if not label.startswith(tuple(f"{label}.FIELDS" for label in cut))]

    def asked_of_dovecot(self, text: bytes) -> Reply | None:
        """Its answer; None where it hangs up or sends fewer octets than announced, as it does at some broken parts."""
        try:
            return self.theirs.command(text)
        except (Hung, Garbled, ConnectionError):
            self.anew()
            return None

    def anew(self) -> None:
        """Speak with Dovecot on another connection from here on."""
        self.close()
        self.theirs = self.again()

    def close(self) -> None:
        """The connection to Dovecot."""
        self.theirs.close()

    def all(self, items: str) -> tuple[dict[int, dict[bytes, Any]], dict[int, dict[bytes, Any]]]:
        """What each says of all messages."""
        text = f"FETCH 1:* ({items})".encode()
        return self.ours.ok(text).fetched(), self.theirs.ok(text).fetched()


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) < 600 else f"{shown[:300]} ... {shown[-250:]} ({len(shown)})"


def _ended(header: bytes) -> bool:
    """Whether a header section has its empty line."""
    return header == b"\r\n" or header.endswith(b"\r\n\r\n")


def _takes(message: bytes) -> bool:
    """Whether it may come in over SMTP: no bare CR, no NUL."""
    return b"\0" not in message and b"\r" not in message.replace(b"\r\n", b"")


@dataclass
class _Twin:
    """A mailbox of Dovecot's with the letters in our order.

    A Dovecot that finds the size in a file's name wrong renames the file, and the letter moves to the end under a new
    UID: all numbers behind it shift. Then another mailbox is filled.
    """

    pairing: Pairing
    user: str
    order: list[bytes]
    _filled: int = 0
    _uids: list[Any] | None = None

    def connection(self) -> Wire:
        """The mailbox selected."""
        wire = self.pairing.theirs(self.user)
        if not self._filled or self._selected(wire) != self._uids:
            self._filled += 1
            self._fill(wire)
        return wire

    def _fill(self, wire: Wire) -> None:
        wire.ok(b"CREATE Twin%d" % self._filled)
        for start in range(0, len(self.order), _TOGETHER):
            letters_of_one = b" ".join(map(literal, self.order[start : start + _TOGETHER]))
            wire.ok(b"APPEND Twin%d %b" % (self._filled, letters_of_one))
        self._uids = self._selected(wire)
        assert self._uids == [[*range(1, len(self.order) + 1)]]

    def _selected(self, wire: Wire) -> list[Any]:
        wire.ok(b"SELECT Twin%d" % self._filled)
        return wire.ok(b"UID SEARCH ALL").named(b"SEARCH")


@pytest.fixture
def same(both_filled: Same) -> Same:
    """With a connection to Dovecot that lives, and its numbers in order."""
    both_filled.anew()
    return both_filled


@pytest.fixture(scope="module")
def both_filled(pairing: Pairing) -> Iterator[Same]:
    messages = {name: message for name, message in {**letters(), **corpus()}.items() if _takes(message)}
    contents = {(text if text.endswith(b"\r\n") else text + b"\r\n"): name for name, text in messages.items()}
    user = pairing.user()
    asyncio.run(_deliver(pairing.relay.mx_port, user, list(contents)))
    with ExitStack() as stack:
        ours = stack.enter_context(pairing.ours(user))
        assert ours.ok(b"SELECT INBOX").named(b"EXISTS") == [[len(contents)]]
        order = [fetched[b"BODY[]"] for fetched in ours.ok(b"FETCH 1:* BODY.PEEK[]").fetched().values()]
        assert sorted(order) == sorted(contents)
        twin = _Twin(pairing, user, order)
        both = Same(ours, twin.connection(), [contents[message] for message in order], twin.connection)
        yield stack.enter_context(closing(both))


async def _deliver(port: int, user: str, contents: list[bytes]) -> None:
    """Over several connections: what is accepted together is committed together."""
    left = iter(contents)

    async def sender() -> None:
        async with await SmtpClient.connect(port) as client:
            await client.ehlo()
            for message in left:
                outcome = await client.transaction("sender@example.net", [user], message)
                assert outcome.accepted, (message[:200], outcome)

    await asyncio.gather(*[sender() for _ in range(_SENDERS)])


def test_structures(same: Same) -> None:
    assert len(same.names) >= 700
    ours, theirs = same.all("ENVELOPE BODY BODYSTRUCTURE RFC822.SIZE")
    assert list(ours) == list(theirs) == list(range(1, len(same.names) + 1))
    wrong = [
        f"{name}: {item.decode()}\n   ours {_short(ours[number][item])}\n theirs {_short(theirs[number][item])}"
        for number, name in enumerate(same.names, 1)
        for item in (b"ENVELOPE", b"BODY", b"BODYSTRUCTURE", b"RFC822.SIZE")
        if ours[number][item] != theirs[number][item]
    ]
    assert not wrong, f"{len(wrong)} differ\n" + "\n".join(wrong[:10])


def test_sections(same: Same) -> None:
    wrong: list[str] = []
    asked = 0
    for number in range(1, len(same.names) + 1):
        labels = same.labels(number)
        items = [f"BODY.PEEK[{label}]" for label in labels]
        for start in range(0, len(items), _ITEMS):
            wrong += same.compare(number, items[start : start + _ITEMS])
        asked += len(items)
    assert asked > 20_000
    assert not wrong, f"{len(wrong)} of {asked} differ\n" + "\n".join(wrong[:10])


def test_partials(same: Same) -> None:
    seed = random.Random("partials")
    wrong: list[str] = []
    for number in range(1, len(same.names) + 1):
        labels = same.labels(number)
        items = [
            f"BODY.PEEK[{label}]<{seed.choice(_OFFSETS)}.{seed.choice(_COUNTS)}>"
            for label in {*seed.choices(labels, k=15), "", "TEXT", "HEADER"}
        ]
        wrong += same.compare(number, sorted(items))
    assert not wrong, f"{len(wrong)} differ\n" + "\n".join(wrong[:10])


def test_old_forms_and_seen(same: Same) -> None:
    r"""RFC822 and its kind; reading without PEEK sets \Seen on both, and says so."""
    wrong: list[str] = []
    for number in range(1, len(same.names) + 1, 10):
        for form in ("RFC822.SIZE", "RFC822.HEADER", "RFC822.TEXT", "RFC822", "BODY[TEXT]<3.5>", "BODY[1]"):
            ours, theirs = same.ask(number, [form])
            for answer in (ours, theirs):
                if b"FLAGS" in answer:
                    answer[b"FLAGS"] = sorted(set(answer[b"FLAGS"]) - {b"\\Recent"})
            if ours != theirs:
                wrong.append(f"{same.names[number - 1]}: {form}\n   ours {_short(ours)}\n theirs {_short(theirs)}")
    assert not wrong, f"{len(wrong)} differ\n" + "\n".join(wrong[:10])


def test_decoded_parts(same: Same) -> None:
    """BINARY of every leaf (RFC 3516), where Dovecot decodes it.

    A fault in one part makes Dovecot refuse the sizes of all others, and of a multipart it decodes the inside while
    the boundaries stay; neither is compared.
    """
    structures = same.theirs.ok(b"FETCH 1:* BODYSTRUCTURE").fetched()
    asked, wrong = 0, []
    for number in range(1, len(same.names) + 1, 4):
        for label, part in _numbered("", structures[number][b"BODYSTRUCTURE"]):
            if isinstance(part[0], list) or part[0].lower() == b"message":
                continue
            text = f"FETCH {number} BINARY.PEEK[{label}]".encode()
            theirs = same.asked_of_dovecot(text)
            if theirs is None or theirs.status != "OK":
                continue
            ours, asked = same.ours.command(text), asked + 1
            if ours.fetched() != theirs.fetched():
                wrong.append(f"{same.names[number - 1]}: {label} {part[:7]}\n   ours {ours}\n theirs {theirs}")
    assert asked > 200
    assert not wrong, f"{len(wrong)} of {asked} differ\n" + "\n".join(wrong[:10])


def test_what_only_append_brings(pairing: Pairing) -> None:
    """Bare CR, which SMTP refuses, is kept by both."""
    odd = {name: message for name, message in corpus().items() if not _takes(message) and b"\0" not in message}
    assert odd
    user = pairing.user()
    twin = _Twin(pairing, user, list(odd.values()))
    with pairing.ours(user) as ours, closing(Same(ours, twin.connection(), list(odd), twin.connection)) as same:
        for message in odd.values():
            ours.ok(b"APPEND INBOX " + literal(message))
        ours.ok(b"SELECT INBOX")
        wrong = [
            difference
            for number in range(1, len(odd) + 1)
            for difference in same.compare(
                number,
                ["ENVELOPE", "BODY", "BODYSTRUCTURE", *(f"BODY.PEEK[{label}]" for label in same.labels(number))],
            )
        ]
    assert not wrong, "\n".join(wrong)


_FOUND_BY_BOTH = (
    "SUBJECT Minutes", "SUBJECT köln", "FROM example.jp", "TO team", "CC person", "TEXT footer", 'HEADER X-Empty ""',
    "HEADER Message-ID 192.0.2.1", 'HEADER List-Id ""', "OR SUBJECT budget FROM carl", "LARGER 4000 SMALLER 9000",
    "SENTON 2-Nov-2026", "SENTSINCE 10-Nov-2026", "SENTBEFORE 10-Nov-2026", "KEYWORD x", "SUBJECT yes", "FROM raw",
    "NOT SUBJECT re", "1:10,20 UID 15:*",
)  # fmt: skip
_FOUND_BY_US_TOO = {
    "SUBJECT GRÜSSE": "we fold case fully: the capital of ß is SS",
    "FROM jürgen": "we read raw 8-bit names that are not UTF-8 as Latin-1",
    "BCC x": "we look at the whole field, Dovecot at the address it parsed, of which an open comment leaves nothing",
    "BODY lorem": "we read text of an unknown charset as far as it is ASCII, Dovecot not at all",
    "BODY été": "we read 8-bit text that claims to be ASCII",
}


def test_searches(same: Same) -> None:
    """The same letters are found, and nothing that Dovecot finds is missed."""
    wrong = []
    for criteria in (*_FOUND_BY_BOTH, *_FOUND_BY_US_TOO):
        words = criteria.encode().split(b" ")
        if any(octet > 127 for octet in words[-1]):
            words[-1] = literal(words[-1])
        text = b"SEARCH CHARSET UTF-8 " + b" ".join(words)
        (ours,), (theirs,) = (wire.ok(text).named(b"SEARCH") for wire in (same.ours, same.theirs))
        if ours != theirs and not (criteria in _FOUND_BY_US_TOO and set(ours) > set(theirs)):
            alone = [
                [same.names[n - 1] for n in sorted(side)[:12]] for side in ({*ours} - {*theirs}, {*theirs} - {*ours})
            ]
            wrong.append(f"{criteria}: ours alone {alone[0]}, theirs alone {alone[1]}")
    assert not wrong, "\n".join(wrong)


def _labels(structure: list[Any]) -> Iterator[str]:
    """Every section of a message, and some that it does not have."""
    yield from ("", "HEADER", "TEXT", *_fields(""))
    for label, part in _numbered("", structure):
        yield from (label, f"{label}.MIME")
        if _is_message(part):
            yield from (f"{label}.HEADER", f"{label}.TEXT", *_fields(f"{label}."))
        else:
            yield from (f"{label}.1", f"{label}.2", f"{label}.HEADER", f"{label}.TEXT")
    yield from ("99", "99.MIME", "99.HEADER", "99.TEXT", "1.99", "1.1.1.1.1.1.1")


def _fields(prefix: str) -> Iterator[str]:
    for form in ("FIELDS", "FIELDS.NOT"):
        yield f"{prefix}HEADER.{form} ({' '.join(_FIELDS)})"


def _is_message(part: list[Any]) -> bool:
    return isinstance(part[0], bytes) and (part[0].lower(), part[1].lower()) == (b"message", b"rfc822")


def _numbered(prefix: str, structure: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Parts by the numbers of RFC 9051 6.4.5.1, read from a BODYSTRUCTURE."""
    if isinstance(structure[0], list):
        parts = [part for part in structure if isinstance(part, list) and part and isinstance(part[0], bytes | list)]
        count = next(at for at, part in enumerate(structure) if not isinstance(part, list))
        parts = structure[:count]
    else:
        parts = [structure]
    for number, part in enumerate(parts, 1):
        label = f"{prefix}{number}"
        yield label, part
        if isinstance(part[0], list):
            yield from _numbered(f"{label}.", part)
        elif _is_message(part):
            yield from _numbered(f"{label}.", part[8])
