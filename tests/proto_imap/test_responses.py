"""Responses and codes as they stand on the wire; what comes in cannot end a line, and our own client reads it back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap import client_data, codes, encode, names, responses
from relay.proto.imap.client import Data, ResponseReader, Status
from relay.proto.imap.fetch import Attribute, BodyPart, Form
from relay.proto.imap.listing import Entry
from relay.proto.imap.search import Return
from relay.proto.imap.threads import Node


def lines() -> list[tuple[bytes, bytes]]:
    """What is made, and what it must be."""
    binary = BodyPart(peek=False, part=(1, 2), partial=(5, 9), form=Form.DECODED)
    size = BodyPart(peek=True, part=(3,), form=Form.DECODED_SIZE)
    return [
        (responses.status("x y", {"MESSAGES": 3, "MAILBOXID": "F1", "APPENDLIMIT": None}),
         b'* STATUS "x y" (MESSAGES 3 MAILBOXID (F1) APPENDLIMIT NIL)\r\n'),
        (responses.status("Ä", {"SIZE": 1}), b"* STATUS &AMQ- (SIZE 1)\r\n"),
        (responses.status("Ä", {"SIZE": 1}, utf8=True), '* STATUS "Ä" (SIZE 1)\r\n'.encode()),
        (responses.status("R&D", {"SIZE": 1}), b"* STATUS R&-D (SIZE 1)\r\n"),
        (responses.status("R&D", {"SIZE": 1}, utf8=True), b"* STATUS R&D (SIZE 1)\r\n"),
        (responses.status("nil", {}), b'* STATUS "nil" ()\r\n'),
        (responses.namespace(), b'* NAMESPACE (("" "/")) NIL NIL\r\n'),
        (responses.namespace(shared=("P/", "Ä/")), b'* NAMESPACE (("" "/")) NIL (("P/" "/")("&AMQ-/" "/"))\r\n'),
        (responses.namespace((), ("Ä/",), utf8=True), '* NAMESPACE NIL (("Ä/" "/")) NIL\r\n'.encode()),
        (responses.quota("", [("STORAGE", 10, 512)]), b'* QUOTA "" (STORAGE 10 512)\r\n'),
        (responses.quota("", []), b'* QUOTA "" ()\r\n'),
        (responses.quota_root("INBOX", [""]), b'* QUOTAROOT INBOX ""\r\n'),
        (responses.quota_root("INBOX", []), b"* QUOTAROOT INBOX\r\n"),
        (responses.enabled(("UTF8=ACCEPT",)), b"* ENABLED UTF8=ACCEPT\r\n"),
        (responses.enabled(()), b"* ENABLED\r\n"),
        (responses.identity({"name": 'a"b', "version": None}), b'* ID ("name" "a\\"b" "version" NIL)\r\n'),
        (responses.identity({}), b"* ID NIL\r\n"),
        (responses.numbered(b"SORT", [5, 3]), b"* SORT 5 3\r\n"),
        (responses.numbered(b"SORT", []), b"* SORT\r\n"),
        (responses.thread([]), b"* THREAD\r\n"),
        (responses.thread([_node(1, _node(2)), _node(None, _node(3), _node(4))]), b"* THREAD (1 2)((3)(4))\r\n"),
        (responses.object_id(Attribute.EMAILID, "M1"), b"EMAILID (M1)"),
        (responses.object_id(Attribute.THREADID, None), b"THREADID NIL"),
        (responses.save_date(0.0), b'SAVEDATE "01-Jan-1970 00:00:00 +0000"'),
        (responses.save_date(None), b"SAVEDATE NIL"),
        (responses.preview("Hi"), b'PREVIEW "Hi"'),
        (responses.preview(""), b'PREVIEW ""'),
        (responses.preview("ä"), b"PREVIEW {2}\r\n\xc3\xa4"),
        (responses.preview(None), b"PREVIEW NIL"),
        (responses.binary(binary, b"a\0"), b"BINARY[1.2]<5> ~{2}\r\na\0"),
        (responses.binary(binary, b"ab"), b'BINARY[1.2]<5> "ab"'),
        (responses.binary(binary, b"\r\n"), b"BINARY[1.2]<5> {2}\r\n\r\n"),
        (responses.binary_size(size, 7), b"BINARY.SIZE[3] 7"),
        (codes.appenduid(38505, [3955]), b"APPENDUID 38505 3955"),
        (codes.appenduid(1, [3, 4, 5]), b"APPENDUID 1 3:5"),
        (codes.copyuid(1, [304, 319, 320], [3956, 3957, 3958]) or b"", b"COPYUID 1 304,319:320 3956:3958"),
        (codes.mailboxid("F2"), b"MAILBOXID (F2)"),
        (codes.inprogress("A1", 454, 1000), b'INPROGRESS ("A1" 454 1000)'),
        (codes.inprogress("A1", 454), b'INPROGRESS ("A1" 454 NIL)'),
        (codes.inprogress("A1", None, 9), b'INPROGRESS ("A1" NIL NIL)'),
        (codes.badcharset({"UTF-8", "US-ASCII"}), b"BADCHARSET (US-ASCII UTF-8)"),
        (codes.permanentflags(b"\\Seen \\*"), b"PERMANENTFLAGS (\\Seen \\*)"),
        (codes.capability(("IMAP4rev1", "ID")), b"CAPABILITY IMAP4rev1 ID"),
        (codes.uidvalidity(1) + codes.uidnext(2) + codes.unseen(3), b"UIDVALIDITY 1UIDNEXT 2UNSEEN 3"),
    ]  # fmt: skip


def _node(number: int | None, *replies: Node) -> Node:
    node = Node(None, list(replies))
    node.id = number
    return node


@pytest.mark.parametrize(("made", "expected"), lines(), ids=lambda value: repr(value)[:40])
def test_the_wire(made: bytes, expected: bytes) -> None:
    assert made == expected


def test_nothing_copied_has_no_code() -> None:
    assert codes.copyuid(1, [], []) is None


FOUND = [2, 10, 11]
SEARCHES: list[tuple[frozenset[Return] | None, bool, list[int], bytes]] = [
    (None, False, FOUND, b"* SEARCH 2 10 11\r\n"),
    (None, False, [], b"* SEARCH\r\n"),
    (None, True, FOUND, b'* ESEARCH (TAG "a1") ALL 2,10:11\r\n'),
    (frozenset({Return.ALL}), False, FOUND, b'* ESEARCH (TAG "a1") ALL 2,10:11\r\n'),
    (frozenset({Return.ALL}), False, [], b'* ESEARCH (TAG "a1")\r\n'),
    (
        frozenset({Return.MIN, Return.MAX, Return.COUNT}),
        False,
        FOUND,
        b'* ESEARCH (TAG "a1") MIN 2 MAX 11 COUNT 3\r\n',
    ),
    (frozenset({Return.MIN, Return.COUNT}), False, [], b'* ESEARCH (TAG "a1") COUNT 0\r\n'),
    (frozenset({Return.SAVE}), True, FOUND, b""),
    (frozenset({Return.SAVE, Return.MAX}), False, FOUND, b'* ESEARCH (TAG "a1") MAX 11\r\n'),
]


@pytest.mark.parametrize(("returns", "rev2", "found", "expected"), SEARCHES)
def test_searches(returns: frozenset[Return] | None, rev2: bool, found: list[int], expected: bytes) -> None:
    assert responses.search("a1", found, returns, by_uid=False, rev2=rev2) == expected
    by_uid = responses.search("a1", found, returns, by_uid=True, rev2=rev2)
    assert by_uid == expected.replace(b'"a1")', b'"a1") UID')


SAVES: list[tuple[set[Return], list[int]]] = [
    (set(), FOUND),
    ({Return.MIN}, [2]),
    ({Return.MAX}, [11]),
    ({Return.MIN, Return.MAX}, [2, 11]),
    ({Return.MIN, Return.COUNT}, FOUND),
    ({Return.MAX, Return.ALL}, FOUND),
]


@pytest.mark.parametrize(("returns", "expected"), SAVES)
def test_what_is_saved(returns: set[Return], expected: list[int]) -> None:
    assert responses.to_save(FOUND, frozenset(returns | {Return.SAVE})) == expected
    assert responses.to_save([], frozenset(returns | {Return.SAVE})) == []
    assert responses.to_save([5], frozenset({Return.MIN, Return.MAX, Return.SAVE})) == [5]


def read(wire: bytes) -> list[object]:
    reader = ResponseReader()
    reader.feed(wire)
    found: list[object] = []
    while (event := reader.next()) is not None:
        found.append(event)
    return found


NAME_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=30)


@given(NAME_TEXT, st.booleans())
def test_names_come_back(name: str, utf8: bool) -> None:
    name = names.checked(name)
    (data,) = read(responses.listed(Entry(name, ("\\Noselect",)), utf8=utf8))
    assert isinstance(data, Data)
    found = client_data.listed(data, utf8=utf8)
    assert found is not None
    assert found.name == name


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.none() | st.text(max_size=40), max_size=5))
def test_an_identity_is_one_response(fields: dict[str, str | None]) -> None:
    (data,) = read(responses.identity(fields))
    assert isinstance(data, Data)
    assert data.name == "ID"


@given(st.sets(st.integers(1, 500), min_size=1, max_size=40))
def test_copyuid_comes_back_in_order(numbers: set[int]) -> None:
    sources = sorted(numbers)
    targets = list(range(900, 900 + len(sources)))
    (status,) = read(encode.condition("a", "OK", "Done", codes.copyuid(7, sources, targets)))
    assert isinstance(status, Status)
    copied = client_data.copied(status)
    assert copied is not None
    assert client_data.expand(copied.sources, 1000) == sources
    assert client_data.expand(copied.targets, 1000) == targets


def test_codes_are_words() -> None:
    words = {value for name, value in vars(codes).items() if name.isupper() and isinstance(value, bytes)}
    assert len(words) > 20
    assert all(re.fullmatch(rb"[A-Z-]+", word) for word in words)
