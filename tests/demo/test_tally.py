"""The verdict: good only for what the promise says, and every way to break it is counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli.demo.tally import Tally, count, message_id
from relay.cli.demo.traffic import compose

SENT = {name: content for name, _, content in (compose(number, "test") for number in range(6))}
TRACE = b"Received: from sender by relay; Sun, 22 Nov 2026 12:00:00 +0000\r\n"
FOUND = [TRACE + content for content in SENT.values()]


def tally(found: list[bytes], *, accepted: set[str] | None = None, spooled: int = 3) -> Tally:
    return count(SENT, SENT.keys() if accepted is None else accepted, found, spooled=spooled)


def test_everything_there_once_is_good() -> None:
    counted = tally(FOUND)
    assert counted.good
    assert (counted.sent, counted.accepted, counted.present) == (6, 6, 6)


def test_one_missing() -> None:
    counted = tally(FOUND[1:])
    assert (counted.missing, counted.present, counted.good) == (1, 5, False)


def test_one_twice() -> None:
    counted = tally([*FOUND, FOUND[0]])
    assert (counted.twice, counted.present, counted.good) == (1, 6, False)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.replace(b"\r\n.a line", b"\r\na line"),
        lambda m: m.replace(b"\r\n..and", b"\r\n.and"),
        lambda m: m.replace(b"blanks:   \r\n", b"blanks:\r\n"),
        lambda m: m + b"\r\n",
        lambda m: m[:-2],
        lambda m: m.replace("Größe".encode(), b"Gr????e"),
        lambda m: m.replace(b"\r\n", b"\n"),
    ],
)
def test_one_altered(change: object) -> None:
    assert callable(change)
    changed = change(FOUND[5])
    assert changed != FOUND[5]
    counted = tally([*FOUND[:5], changed])
    assert not counted.good
    assert counted.altered + counted.strange >= 1


def test_one_that_nobody_sent() -> None:
    counted = tally([*FOUND, b"Message-ID: <stranger@example>\r\n\r\nhello\r\n"])
    assert (counted.strange, counted.good) == (1, False)


def test_what_was_never_accepted_is_not_owed_and_may_be_there() -> None:
    accepted = set(list(SENT)[1:])
    assert tally(FOUND[1:], accepted=accepted).good
    counted = tally(FOUND, accepted=accepted)
    assert counted.good
    assert (counted.accepted, counted.present) == (5, 5)


def test_nothing_accepted_or_nothing_spooled_proves_nothing() -> None:
    assert not tally([], accepted=set()).good
    assert not tally(FOUND, spooled=0).good


@given(st.lists(st.integers(0, 5), max_size=20))
def test_counts_add_up(copies: list[int]) -> None:
    counted = tally([FOUND[number] for number in copies])
    assert counted.present + counted.missing == counted.accepted == len(SENT)
    assert counted.twice == sum(copies.count(number) > 1 for number in set(copies))
    assert counted.good == (sorted(copies) == list(range(6)))


def test_the_message_id_is_one_of_the_header() -> None:
    assert message_id(b"Subject: x\r\nmessage-id:  <a@b>\r\n\r\n") == "<a@b>"
    assert message_id(b"Subject: x\r\n\r\nMessage-ID: <a@b>\r\n") is None


def test_messages_try_what_careless_relays_change() -> None:
    content = SENT[list(SENT)[3]]
    assert b"\r\n.a line" in content
    assert any(byte > 127 for byte in content)
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert max(map(len, content.split(b"\r\n"))) <= 998
