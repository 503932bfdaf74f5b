"""SORT: base subjects, collation, dates, order, and that none of it can be made slow."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap import dates
from relay.proto.imap.sortable import sortable, threadable
from relay.proto.imap.sorting import By, Criterion, Sortable, Subject, base_subject, collate, order

SUBJECTS: list[tuple[str, str, bool]] = [
    ("Hello", "Hello", False),
    ("  Hello \t World  ", "Hello World", False),
    ("Re: Hello", "Hello", True),
    ("RE : Hello", "Hello", True),
    ("re: FW: fwd: Hello", "Hello", True),
    ("Re[2]: Hello", "Hello", True),
    ("Re [a] [b]: Hello", "Re [a] [b]: Hello", False),
    ("[list] Re: Hello", "Hello", True),
    ("Re: [list] Hello", "Hello", True),
    ("[list] Hello", "Hello", False),
    ("[a] [b] c", "c", False),
    ("[a] [b]", "[b]", False),
    ("[a]", "[a]", False),
    ("Re: [a]", "[a]", True),
    ("[[a]] x", "[[a]] x", False),
    ("Hello (fwd)", "Hello", True),
    ("Hello (FWD) (fwd) ", "Hello", True),
    ("(fwd)", "", True),
    ("[Fwd: Hello]", "Hello", True),
    ("[fwd: [list] Re: Hello (fwd)]", "Hello", True),
    ("[fwd: Hello] again", "again", False),
    ("[fwd: [fwd: x]]", "x", True),
    ("[fwd:]", "", True),
    ("[fwd:", "[fwd:", False),
    ("Re:", "", True),
    ("Re", "Re", False),
    ("Regarding: x", "Regarding: x", False),
    ("", "", False),
    ("[a]Re:[b]Re: c", "c", True),
    ("Rе: кириллица", "Rе: кириллица", False),
]


@pytest.mark.parametrize(("text", "base", "changed"), SUBJECTS, ids=lambda value: repr(value)[:30])
def test_base_subjects(text: str, base: str, changed: bool) -> None:
    assert base_subject(text) == Subject(base, changed)


@given(st.lists(st.sampled_from(["re", ":", "[", "]", "a", " ", "fwd", "[fwd:", "(fwd)", "\t", "Ä"]), max_size=25))
def test_a_base_subject_is_its_own(parts: list[str]) -> None:
    base = base_subject("".join(parts)).text
    assert base_subject(base).text == base
    assert base == base.strip(" ")


LONG = 200_000


@pytest.mark.parametrize(
    "text",
    [
        "Re:" * LONG,
        "[a]" * LONG + "x",
        "[" * LONG,
        "]" * LONG,
        "[fwd:" * LONG + "]" * LONG,
        "(fwd)" * LONG,
        " " * LONG + "x",
        "[a" * LONG,
        "re" + " " * LONG + "x",
        "re[a] " * LONG,
        "[a]re " * LONG,
        "[fwd:" + "[a]" * LONG + "x]",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_subjects_that_were_made_to_be_slow(text: str) -> None:
    started = time.process_time()
    base_subject(text)
    assert time.process_time() - started < 5.0


def test_collation_does_without_case_and_composition() -> None:
    assert collate("straße") == collate("STRAßE")
    assert collate("Ärger") == collate("A\u0308RGER") == collate("ärger")
    assert collate("abc") == "ABC"
    assert collate("a") < collate("az") < collate("ä") < collate("b")
    assert collate("ǆ") == collate("ǅ") == collate("Ǆ")


@given(st.text(max_size=20))
def test_collation_leaves_nothing_to_fold(text: str) -> None:
    folded = collate(text)
    assert unicodedata.is_normalized("NFKD", folded)
    if text.isascii():
        assert folded == collate(text.swapcase()) == collate(folded)


MESSAGES = [
    Sortable(1, arrival=3.0, sent=10.0, size=5, subject="B", from_="X", to="T", cc=""),
    Sortable(2, arrival=1.0, sent=30.0, size=5, subject="A", from_="Y", to="T", cc="C"),
    Sortable(3, arrival=2.0, sent=20.0, size=1, subject="B", from_="X", to="S", cc=""),
]
ORDERS: list[tuple[list[Criterion], list[int]]] = [
    ([Criterion(By.ARRIVAL)], [2, 3, 1]),
    ([Criterion(By.DATE, reverse=True)], [2, 3, 1]),
    ([Criterion(By.SIZE)], [3, 1, 2]),
    ([Criterion(By.SIZE, reverse=True)], [1, 2, 3]),
    ([Criterion(By.SUBJECT), Criterion(By.DATE, reverse=True)], [2, 3, 1]),
    ([Criterion(By.FROM), Criterion(By.SIZE)], [3, 1, 2]),
    ([Criterion(By.TO)], [3, 1, 2]),
    ([Criterion(By.CC)], [1, 3, 2]),
]


@pytest.mark.parametrize(("criteria", "expected"), ORDERS)
def test_orders(criteria: list[Criterion], expected: list[int]) -> None:
    assert order(MESSAGES, criteria) == expected


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_order_agrees_with_its_definition(values: list[tuple[int, int]], first: bool, second: bool) -> None:
    messages = [Sortable(n, size=size, sent=float(sent)) for n, (size, sent) in enumerate(values, 1)]
    expected = sorted(
        messages, key=lambda one: (-one.size if first else one.size, -one.sent if second else one.sent, one.id)
    )
    criteria = [Criterion(By.SIZE, first), Criterion(By.DATE, second)]
    assert order(messages, criteria) == [one.id for one in expected]


MOMENTS: list[tuple[str, bytes | None]] = [
    ("Mon, 2 Feb 2026 10:20:30 +0200", b"02-Feb-2026 08:20:30 +0000"),
    ("2 Feb 2026 10:20 -0030", b"02-Feb-2026 10:50:00 +0000"),
    ("2 Feb 26 10:20:30 EST", b"02-Feb-2026 15:20:30 +0000"),
    ("2 Feb 2026 10:20:30 Z", b"02-Feb-2026 10:20:30 +0000"),
    ("2 Feb 2026 10:20:30", b"02-Feb-2026 10:20:30 +0000"),
    ("2 Feb 2026", b"02-Feb-2026 00:00:00 +0000"),
    ("2 Feb 2026 25:00:00 +0100", b"01-Feb-2026 23:00:00 +0000"),
    ("2 Feb 2026 10:20:30 +9999", b"02-Feb-2026 10:20:30 +0000"),
    ("2 Feb 2026 10:20:30 (comment)", b"02-Feb-2026 10:20:30 +0000"),
    ("31 Feb 2026 10:20:30 +0000", None),
    ("tomorrow", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "expected"), MOMENTS)
def test_sent_dates(text: str, expected: bytes | None) -> None:
    found = dates.header_moment(text)
    assert (None if found is None else dates.date_time(found)) == expected


@given(st.text("0123456789:+- FebJan,ESTZ()", max_size=40))
def test_sent_dates_never_fail(text: str) -> None:
    found = dates.header_moment(text)
    if dates.header_date(text) is not None:
        assert found is not None


HEADER = (
    b"Date: Mon, 2 Feb 2026 10:00:00 +0100\r\nFrom: A <Joe@x>, second@x\r\nTo: undisclosed-recipients:;\r\n"
    b"Subject: =?utf-8?Q?Re=3A_=C3=84?=\r\n rger\r\nMessage-ID: <m@x>\r\nIn-Reply-To: <r@x>\r\nsubject: later\r\n\r\n"
)


def test_a_message_from_its_header() -> None:
    found = sortable(7, HEADER, arrival=5.0, size=9, by=set(By))
    assert found == Sortable(
        7,
        arrival=5.0,
        sent=1770022800.0,
        size=9,
        subject=collate("Ä rger"),
        from_="JOE",
        to="UNDISCLOSED-RECIPIENTS",
    )
    assert sortable(7, HEADER, arrival=5.0, size=9, by={By.SIZE}) == Sortable(7, arrival=5.0, size=9)
    thread = threadable(7, HEADER, arrival=5.0)
    assert thread.is_reply
    assert (thread.message_id, thread.references) == (b"m@x", (b"r@x",))
    assert thread.sort == Sortable(7, sent=1770022800.0, subject=collate("Ä rger"))


@given(st.binary(max_size=200))
def test_any_header_will_do(header: bytes) -> None:
    for name in (b"", b"Subject:", b"From:", b"Date:", b"References:"):
        sortable(1, name + header, arrival=1.0, size=1, by=set(By))
        assert threadable(1, name + header, arrival=1.0).sort.id == 1
