"""The same mail, taken apart by Dovecot and by us: structures, envelopes and every section are equal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from relay.proto.mime.section import Section, Text, pick, span
from relay.proto.mime.structure import Kind, Part, parse
from tests.peers.dovecot import Dovecot
from tests.proto_mime import shown
from tests.proto_mime.corpus import corpus
from tests.proto_mime.oracle import Oracle

pytestmark = pytest.mark.peers

USER = "u001@example.org"
FIELDS = (b"subject", b"FROM", b"Content-Type", b"X-None")


def test_structure_and_envelope(dovecot: Dovecot) -> None:
    """BODYSTRUCTURE, ENVELOPE and RFC822.SIZE of the whole corpus."""
    messages = corpus()
    assert len(messages) >= 400
    with Oracle(dovecot, USER, "structure") as oracle:
        oracle.put(messages.values())
        for number, (name, message) in enumerate(messages.items(), 1):
            theirs = oracle.fetch(number, "BODYSTRUCTURE", "ENVELOPE", "RFC822.SIZE")
            ours = parse(message)
            assert ours.envelope is not None
            assert theirs[b"RFC822.SIZE"] == len(message), name
            assert theirs[b"ENVELOPE"] == shown.envelope(ours.envelope), name
            assert theirs[b"BODYSTRUCTURE"] == shown.bodystructure(ours), name


def test_sections(dovecot: Dovecot) -> None:
    """Every section of every part, and parts that are not there."""
    # Dovecot sends NUL as 0x80; that is done where the answer is written.
    messages = {name: message for name, message in corpus().items() if b"\0" not in message}
    checked = 0
    with Oracle(dovecot, USER, "sections") as oracle:
        oracle.put(messages.values())
        for number, (name, message) in enumerate(messages.items(), 1):
            root = parse(message)
            wanted = {_label(section): section for section in _sections(root)}
            theirs = oracle.fetch(number, *(f"BODY.PEEK[{label}]" for label in wanted))
            answers = {key.upper(): value for key, value in theirs.items()}
            for label, section in wanted.items():
                where = span(root, section)
                ours = pick(message[slice(*where)], section) if where else b""
                assert answers[f"BODY[{label}]".upper().encode()] == ours, (name, label)
                checked += 1
    assert checked > 8_000


def _label(section: Section) -> str:
    words = [str(number) for number in section.part]
    if section.text is not Text.ALL:
        words.append(section.text.value.decode())
    names = f" ({b' '.join(section.fields).decode()})" if section.fields else ""
    return ".".join(words) + names


def _sections(root: Part) -> Iterator[Section]:
    yield from _texts((), (Text.ALL, Text.HEADER, Text.TEXT))
    for numbers, part in _numbered(root):
        yield from _texts(numbers, (Text.ALL, Text.MIME))
        if part.kind is Kind.LEAF:
            for guess in ((1,), (1, 1), (2,)):
                yield from _texts((*numbers, *guess), (Text.ALL,))
        # Of a header that a boundary cut short, Dovecot picks fields beyond the end of the message inside.
        if part.kind is not Kind.MESSAGE or part.children[0].octets:
            yield from _texts(numbers, (Text.HEADER, Text.TEXT))
    yield from _texts((99,), (Text.ALL, Text.MIME, Text.HEADER, Text.TEXT))


def _texts(numbers: tuple[int, ...], texts: tuple[Text, ...]) -> Iterator[Section]:
    for text in texts:
        yield Section(numbers, text)
    if Text.HEADER in texts:
        yield Section(numbers, Text.FIELDS, FIELDS)
        yield Section(numbers, Text.FIELDS_NOT, FIELDS)


def _numbered(root: Part) -> Iterator[tuple[tuple[int, ...], Part]]:
    """Every part with its numbers (RFC 9051 6.4.5.1)."""
    left: list[tuple[tuple[int, ...], Part]] = [((), root)]
    while left:
        numbers, scope = left.pop()
        parts = list(enumerate(scope.children, 1)) if scope.kind is Kind.MULTIPART else [(1, scope)]
        for number, part in parts:
            here = (*numbers, number)
            yield here, part
            if part.kind is Kind.MULTIPART:
                left.append((here, part))
            elif part.kind is Kind.MESSAGE:
                left.append((here, part.children[0]))
