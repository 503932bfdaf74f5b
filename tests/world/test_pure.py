"""What has no I/O: body hashes, policies, TLSA records, completion, the order of servers."""

from __future__ import annotations

import contextlib
import hashlib
from itertools import pairwise

import pytest
from dkim.canonicalization import Relaxed
from hypothesis import given
from hypothesis import strategies as st

from relay.primary.lookup import Exchanger
from relay.proto.mime.header import scan
from relay.world.canonical import BodyHash
from relay.world.completion import authors, missing_fields
from relay.world.dane import Tlsa, usable
from relay.world.resolver import a_label
from relay.world.routing import before_us, ordered
from relay.world.sts_policy import Mode, parse_policy, record_id

_PIECES = st.sampled_from([b"\r\n", b" ", b"\t", b"a", b"b c", b"  \r\n", b"\r\n\r\n", b".", b"x" * 50])


@given(st.lists(_PIECES).map(b"".join), st.lists(st.integers(0, 200)))
def test_the_body_hash_is_dkimpys_however_the_body_is_cut(body: bytes, cuts: list[int]) -> None:
    ends = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    streamed = BodyHash()
    for start, end in pairwise(ends):
        streamed.feed(body[start:end])
    # A last line without its line end is sent with one.
    sent = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
    whole = Relaxed.canonicalize_body(sent)  # type: ignore[no-untyped-call]  # untyped library
    assert streamed.digest() == hashlib.sha256(whole).digest()


def test_bare_line_ends_are_hashed_as_they_are_sent() -> None:
    bare, proper = BodyHash(), BodyHash()
    for block in (b"a\r", b"\rb\n", b"c \n\nd\0e\r"):
        bare.feed(block)
    proper.feed(b"a\r\n\r\nb\r\nc\r\n\r\nde\r\n")
    assert bare.digest() == proper.digest()


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["other", "v=STSv1;id=1"], "1"),
        ([], None),
        (["v=STSv1; id=1;", "v=STSv1; id=2;"], None),
        (["v=STSv1; id=no-dashes;"], None),
        (["v=STSv1"], None),
        (["v=STSv2; id=1;"], None),
    ],
)
def test_policy_records(texts: list[str], found: str | None) -> None:
    assert record_id(texts) == found


def test_a_policy_names_hosts() -> None:
    policy = parse_policy(
        "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\nmax_age: 604800\r\nnew: x\r\n"
    )
    assert policy is not None
    assert (policy.mode, policy.max_age) == (Mode.ENFORCE, 604800)
    assert [policy.names(host) for host in ("MAIL.example.com", "a.example.net.")] == [True, True]
    named = [policy.names(host) for host in ("example.net", "a.b.example.net", "mail.example.com.evil", "xexample.net")]
    assert named == [False] * 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version: STSv1\nmode: enforce\nmax_age: 1\n",
        "version: STSv2\nmode: none\nmax_age: 1\n",
        "version: STSv1\nmode: maybe\nmx: a\nmax_age: 1\n",
        "version: STSv1\nmode: enforce\nmx: a\nmax_age: -1\n",
        "version: STSv1\nmode: enforce\nmx: a\nmax_age: 99999999999\n",
        "version: STSv1\nnonsense\nmode: enforce\nmx: a\nmax_age: 1\n",
        "<html>\n",
    ],
)
def test_what_is_no_policy(text: str) -> None:
    assert parse_policy(text) is None


@given(st.text())
def test_no_text_breaks_the_policy_reader(text: str) -> None:
    parse_policy(text)
    record_id([text])


@given(st.text(max_size=300))
def test_no_text_breaks_the_names(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert a_label(text).isascii()


def test_unusable_tlsa_records_are_left_out() -> None:
    good = Tlsa(3, 1, 1, bytes(32))
    bad = [Tlsa(1, 1, 1, bytes(32)), Tlsa(3, 2, 1, bytes(32)), Tlsa(3, 1, 3, b"x"), Tlsa(3, 1, 2, bytes(32))]
    assert usable([*bad, good, Tlsa(3, 0, 0, b"")]) == (good,)


def test_servers_come_by_preference_and_nothing_behind_ourselves() -> None:
    listed = [Exchanger(20, "c"), Exchanger(10, "b"), Exchanger(10, "a"), Exchanger(5, "z")]
    fractions = iter([0.1, 0.9, 0.5, 0.3])
    names = [one.host for one in ordered(listed, lambda: next(fractions))]
    assert names[0] == "z"
    assert set(names[1:3]) == {"a", "b"}
    assert [one.host for one in before_us(ordered(listed, lambda: 0.0), lambda one: one.host == "b")] == ["z"]
    assert len(before_us(listed, lambda _: False)) == 4


def test_servers_of_one_preference_are_mixed() -> None:
    listed = [Exchanger(10, "a"), Exchanger(10, "b")]
    seen = set()
    for first in (0.1, 0.9):
        fractions = iter([first, 0.5])
        seen.add(tuple(one.host for one in ordered(listed, lambda: next(fractions))))  # noqa: B023  # used at once
    assert len(seen) == 2


def test_only_what_is_missing_is_added() -> None:
    whole = b"Date: x\r\nMessage-ID: <a@b>\r\nFrom: Bob <bob@example.org>\r\n\r\n"
    assert missing_fields(scan(whole), now=0, message_id="m@relay", sender="Bob@Example.org") == b""
    bare = b"From: bob@example.org\r\nSubject: x\r\n\r\n"
    assert missing_fields(scan(bare), now=1_800_000_000, message_id="m@relay", sender="carol@example.org") == (
        b"Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <m@relay>\r\nSender: <carol@example.org>\r\n"
    )
    own = b"Sender: x@example.org\r\n" + bare
    assert b"Sender" not in missing_fields(scan(own), now=0, message_id="m@relay", sender="carol@example.org")


def test_authors() -> None:
    header = scan(b"From: A <a@Example.org>, b@example.net\r\nFrom: c@example.com\r\n\r\n")
    assert authors(header) == ("a@example.org", "b@example.net", "c@example.com")
