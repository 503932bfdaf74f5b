"""LIST and LSUB as transcripts, and the properties that clients build on."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap import commands as c
from relay.proto.imap import listing, responses
from relay.proto.imap.grammar import Parsed
from relay.proto.imap.listing import Box, Entry
from tests.proto_imap.test_grammar import parse

BOXES = [
    Box("INBOX", subscribed=True),
    Box("Sent", special_use="\\Sent"),
    Box("a/b", subscribed=True),
    Box("a/b/c"),
    Box("gone/x", subscribed=True, exists=False),
    Box("Ä"),
]


def listed(text: bytes, boxes: list[Box] | None = None) -> list[bytes]:
    parsed = parse(text)
    assert isinstance(parsed, Parsed), parsed
    command = parsed.command
    assert isinstance(command, c.ListMailboxes)
    found = listing.entries(command, BOXES if boxes is None else boxes)
    return [responses.listed(entry, lsub=command.lsub).removesuffix(b"\r\n") for entry in found]


TRANSCRIPTS: list[tuple[bytes, list[bytes]]] = [
    (b'LIST "" ""', [b'* LIST (\\Noselect) "/" ""']),
    (b'LSUB "" ""', [b'* LSUB (\\Noselect) "/" ""']),
    (
        b'LIST "" *',
        [
            b'* LIST (\\HasNoChildren) "/" INBOX',
            b'* LIST (\\HasNoChildren \\Sent) "/" Sent',
            b'* LIST (\\Noselect \\HasChildren) "/" a',
            b'* LIST (\\HasChildren) "/" a/b',
            b'* LIST (\\HasNoChildren) "/" a/b/c',
            b'* LIST (\\HasNoChildren) "/" &AMQ-',
        ],
    ),
    (
        b'LIST "" %',
        [
            b'* LIST (\\HasNoChildren) "/" INBOX',
            b'* LIST (\\HasNoChildren \\Sent) "/" Sent',
            b'* LIST (\\Noselect \\HasChildren) "/" a',
            b'* LIST (\\HasNoChildren) "/" &AMQ-',
        ],
    ),
    (b"LIST a/ %", [b'* LIST (\\HasChildren) "/" a/b']),
    (b'LIST "" inbox', [b'* LIST (\\HasNoChildren) "/" INBOX']),
    (b'LIST "" (Sent a) RETURN ()', [b'* LIST (\\HasNoChildren \\Sent) "/" Sent',
                                     b'* LIST (\\NonExistent \\Noselect \\HasChildren) "/" a']),
    (b'LIST "" nothing', []),
    (
        b'LIST (SUBSCRIBED) "" *',
        [
            b'* LIST (\\HasNoChildren \\Subscribed) "/" INBOX',
            b'* LIST (\\HasChildren \\Subscribed) "/" a/b',
            b'* LIST (\\NonExistent \\Noselect \\HasNoChildren \\Subscribed) "/" gone/x',
        ],
    ),
    (
        b'LIST (SUBSCRIBED RECURSIVEMATCH) "" %',
        [
            b'* LIST (\\HasNoChildren \\Subscribed) "/" INBOX',
            b'* LIST (\\NonExistent \\Noselect \\HasChildren) "/" a ("CHILDINFO" ("SUBSCRIBED"))',
            b'* LIST (\\NonExistent \\Noselect \\HasNoChildren) "/" gone ("CHILDINFO" ("SUBSCRIBED"))',
        ],
    ),
    (
        b'LIST (SUBSCRIBED RECURSIVEMATCH) "" *',  # no word of the levels: what is below them is listed
        [
            b'* LIST (\\HasNoChildren \\Subscribed) "/" INBOX',
            b'* LIST (\\HasChildren \\Subscribed) "/" a/b',
            b'* LIST (\\NonExistent \\Noselect \\HasNoChildren \\Subscribed) "/" gone/x',
        ],
    ),
    (b'LIST (SPECIAL-USE) "" *', [b'* LIST (\\HasNoChildren \\Sent) "/" Sent']),
    (b'LIST (SPECIAL-USE SUBSCRIBED) "" *', []),
    (b'LIST (REMOTE) "" a/b RETURN (SUBSCRIBED)', [b'* LIST (\\HasChildren \\Subscribed) "/" a/b']),
    (
        b'LSUB "" *',
        [
            b'* LSUB (\\HasNoChildren) "/" INBOX',
            b'* LSUB (\\HasChildren) "/" a/b',
            b'* LSUB (\\HasNoChildren) "/" gone/x',
        ],
    ),
    (
        b'LSUB "" %',
        [
            b'* LSUB (\\HasNoChildren) "/" INBOX',
            b'* LSUB (\\Noselect \\HasChildren) "/" a',
            b'* LSUB (\\Noselect \\HasNoChildren) "/" gone',
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TRANSCRIPTS, ids=lambda value: repr(value)[:40])
def test_transcripts(text: bytes, expected: list[bytes]) -> None:
    assert listed(text) == expected


def test_a_mailbox_above_a_lost_one_is_still_there() -> None:
    boxes = [Box("x", exists=False, subscribed=True), Box("x/y")]
    assert listed(b'LIST "" *', boxes) == [
        b'* LIST (\\Noselect \\HasChildren) "/" x',
        b'* LIST (\\HasNoChildren) "/" x/y',
    ]


NAMES = st.lists(st.sampled_from(["INBOX", "INBOX/a", "a", "a/b", "a/b/c", "b", "b/c/d", "c"]), unique=True, max_size=8)


@given(NAMES, st.sampled_from([b"*", b"%", b"a/*", b"%/%"]), st.booleans())
def test_what_is_listed_is_there(existing: list[str], pattern: bytes, lsub: bool) -> None:
    boxes = [Box(name, subscribed=len(name) > 1) for name in existing]
    parsed = parse((b'LSUB "" ' if lsub else b'LIST "" ') + pattern)
    assert isinstance(parsed, Parsed)
    assert isinstance(parsed.command, c.ListMailboxes)
    found = list(listing.entries(parsed.command, boxes))
    shown = [entry.name for entry in found]
    assert len(shown) == len(set(shown))
    for entry in found:
        exists = entry.name in existing
        below = any(name.startswith(entry.name + "/") for name in existing)
        assert exists or below
        assert ("\\HasChildren" in entry.attributes) == below
        if not lsub:
            assert ("\\Noselect" in entry.attributes) != exists
    if pattern == b"*":
        wanted = {box.name for box in boxes if box.subscribed or not lsub}
        assert wanted <= set(shown)


def test_special_uses_have_one_spelling() -> None:
    assert listing.special_use("\\SENT") == "\\Sent"
    assert listing.special_use("\\Inbox") is None


def test_wildcards_cannot_make_it_slow() -> None:
    boxes = [Box("a" * 400 + f"/{'a' * 400}{n}") for n in range(200)]
    text = b'LIST "" (' + b" ".join([b"%a*a" * 200 + b"%d" % n for n in range(60)]) + b")"
    started = time.process_time()
    listed(text, boxes)
    assert time.process_time() - started < 20.0


def test_the_root_has_no_status() -> None:
    command = c.ListMailboxes("", ("",))
    assert list(listing.entries(command, BOXES)) == [Entry("", ("\\Noselect",), exists=False)]
