"""Address lists: a table of shapes, and soup of specials that costs linear work and never raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.mime import tokens
from relay.proto.mime.envelope import Address, _parsed, _plain, parse_addresses, parse_envelope, unfold

SPECIALS = st.lists(st.sampled_from([*'()<>@,;:\\".[] \t\r\n\0', "a", "b.c", "=?utf-8?Q?x?=", "\xfc"]), max_size=60)
GROUP_END = Address()


def one(mailbox: bytes, host: bytes, name: bytes | None = None, route: bytes | None = None) -> tuple[Address, ...]:
    """A list of one address."""
    return (Address(name, route, mailbox, host),)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"", ()),
        (b"a@b", one(b"a", b"b")),
        (b"Ann Other <a@b>", one(b"a", b"b", b"Ann Other")),
        (b"a@b (Ann (the) Other)", one(b"a", b"b", b"Ann (the) Other")),
        (b'"a, b"@c', one(b"a, b", b"c")),
        (b"<@r,@s:a@b>", one(b"a", b"b", route=b"@r,@s")),
        (b"a@[192.0.2.1]", one(b"a", b"[192.0.2.1]")),
        (b"=?utf-8?Q?=C3=BC?= <a@b>", one(b"a", b"b", b"=?utf-8?Q?=C3=BC?=")),
        (b"J\xfcrgen <a@b>", one(b"a", b"b", b"J\xfcrgen")),
        (b"x:;", (Address(mailbox=b"x"), GROUP_END)),
        (b"x: a@b, c@d;", (Address(mailbox=b"x"), *one(b"a", b"b"), *one(b"c", b"d"), GROUP_END)),
        (b"Ann", one(b"Ann", b"MISSING_DOMAIN")),
        (b"Ann <a@b", one(b"a", b"SYNTAX_ERROR", b"Ann")),
    ],
)
def test_shapes(value: bytes, found: tuple[Address, ...]) -> None:
    """What mail carries."""
    assert parse_addresses(value) == found


_PIECES = (
    "Ann",
    "b.c",
    ".",
    "Other ",
    '"',
    '"B, C"',
    " ",
    "  ",
    "<",
    ">",
    "@",
    "<a@b.c>",
    "a@b",
    ",",
    ", ",
    "\n ",
    "\xfc",
    ":",
)


@given(st.lists(st.sampled_from(_PIECES), max_size=10), st.integers(1, 4))
def test_what_is_plain_is_read_as_everything_else(parts: list[str], limit: int) -> None:
    value = "".join(parts).encode("latin-1")
    assert _plain(value, limit) in (None, _parsed(value, limit))


def test_most_lists_are_plain() -> None:
    value = b'Ann B. Other <a@b>, "Other,  Ann"\n <c.d@e.f> ,g@h, <i@j>,"" <k@l>'
    assert _plain(value, 9) == (
        *one(b"a", b"b", b"Ann B. Other"),
        *one(b"c.d", b"e.f", b"Other, Ann"),
        *one(b"g", b"h"),
        *one(b"i", b"j"),
        *one(b"k", b"l"),
    )
    assert _plain(value, 2) == _parsed(value, 2)


@given(SPECIALS)
def test_never_raises(parts: list[str]) -> None:
    """Whatever the specials; entries are complete and hold nothing that IMAP cannot carry."""
    value = "".join(parts).encode("latin-1")
    inside = False
    for address in parse_addresses(value):
        if address.host is None:
            inside = address.mailbox is not None
        else:
            assert address.mailbox is not None
        for text in (address.name, address.route, address.mailbox, address.host):
            assert text is None or not set(b"\0\r\n") & set(text)
    assert not inside


@pytest.mark.parametrize(
    "value", [b"(", b'"', b"<", b"[", b"a@[", b"((((", b"a <", b"x:", b"a,", b"\\", b"a.", b"@", b"(\\"]
)
def test_work_is_linear(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as much of a special costs about twice the calls, and a megabyte of it does not nest."""
    calls = 0
    skip = tokens.Cursor.skip_cfws

    def counting(self: tokens.Cursor) -> tokens.Next:
        nonlocal calls
        calls += 1
        return skip(self)

    monkeypatch.setattr(tokens.Cursor, "skip_cfws", counting)

    def cost(n: int) -> int:
        nonlocal calls
        calls = 0
        parse_addresses(value * n, limit=10**9)
        return calls

    small, large = cost(1_000), cost(2_000)
    assert large <= 2.2 * small + 50
    parse_addresses(value * (1 << 20))


def test_list_is_bounded() -> None:
    """A flood of addresses is cut, in groups too."""
    assert len(parse_addresses(b"a@b," * 1000, limit=10)) == 10
    assert len(parse_addresses(b"g:" + b"a@b," * 1000, limit=10)) == 10


def test_envelope_defaults_and_repetitions() -> None:
    """Sender and Reply-To take From's value; address fields add up, of others the last counts."""
    envelope = parse_envelope({b"from": [b"a@b", b"c@d"], b"sender": [b""], b"subject": [b"x", b" y\r\n  z "]})
    assert envelope.from_ == (*one(b"a", b"b"), *one(b"c", b"d"))
    assert envelope.sender == envelope.reply_to == envelope.from_
    assert envelope.subject == b"y z"
    assert envelope.date is None
    assert envelope.to == ()


@pytest.mark.parametrize(
    ("value", "line"), [(b"a\r\n b", b"a b"), (b"a\n\tb", b"a\tb"), (b"a\rb", b"a b"), (b"a\0", b"a\xef\xbf\xbd")]
)
def test_unfold(value: bytes, line: bytes) -> None:
    """One line, without NUL."""
    assert unfold(value) == line
