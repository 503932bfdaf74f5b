"""The end of DATA: found once, at the right place, however the stream is cut; smuggling stays content."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given

from relay.proto.smtp.content import BareLineEnds, ContentCheck, ContentFault, ContentRules
from relay.proto.smtp.data import DataScanner
from relay.proto.smtp.stuffing import DotStuffer
from tests.proto_smtp.pieces import MAILISH, POINTS, cuts, octets


def scan(pieces: list[bytes]) -> tuple[bytes, bytes, bool]:
    """Content, rest and whether the end was found."""
    scanner = DataScanner()
    content = b""
    for number, piece in enumerate(pieces):
        content += scanner.feed(piece)
        if scanner.done:
            return content, scanner.rest + b"".join(pieces[number + 1 :]), True
    return content, b"", False


def model(stream: bytes) -> tuple[bytes, bytes] | None:
    """Line by line, as RFC 5321 4.5.2 tells it; None when the data does not end."""
    lines: list[bytes] = []
    while True:
        line, end, stream = stream.partition(b"\r\n")
        if not end:
            return None
        if line == b".":
            return b"".join(lines), stream
        lines.append(line.removeprefix(b".") + end)


@given(MAILISH, POINTS)
@example(b".\r\nQUIT\r\n", [])
@example(b"..\r\n.\r\n", [1])
@example(b"a\r\r\n.\r\n", [2, 3])
def test_every_cut_gives_what_the_rfc_says(stream: bytes, points: list[int]) -> None:
    expected = model(stream)
    for pieces in ([stream] if stream else [], octets(stream), cuts(stream, points)):
        content, rest, done = scan(pieces)
        assert done is (expected is not None)
        if expected is not None:
            assert (content, rest) == expected


SMUGGLES = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\n\n.\r\n",
    b"\r\n\0.\r\n",
    b"\n.\r",
    b"\r.\n",
    b"\r\n.\0\r\n",
    b"\r\r\n..\r\r\n",
    b"\r\n.\r\r\n",
    b"\r\n..\r\n",
    b"\r\n .\r\n",
    b"\x85.\x85",
    b"\n\r.\n\r",
]


@pytest.mark.parametrize("trick", SMUGGLES, ids=repr)
def test_a_lookalike_is_never_the_end(trick: bytes) -> None:
    stream = b"Subject: x\r\n\r\nbody" + trick + b"MAIL FROM:<evil@example.net>\r\n"
    for pieces in ([stream], octets(stream)):
        assert scan(pieces)[2] is False


@pytest.mark.parametrize("trick", SMUGGLES, ids=repr)
@pytest.mark.parametrize("bare", list(BareLineEnds))
def test_a_lookalike_is_refused_or_passed_on_without_its_sting(trick: bytes, bare: BareLineEnds) -> None:
    stream = b"body" + trick + b"MAIL FROM:<evil@example.net>\r\n\r\n.\r\n"
    content, rest, done = scan([stream])
    assert done
    assert rest == b""
    check = ContentCheck(ContentRules(bare=bare))
    check.see(content)
    if check.finish() is None:
        encoder = DotStuffer()
        wire = encoder.encode(content) + encoder.finish()
        assert lenient_ends(wire) == 1
        assert lenient_ends(wire.replace(b"\0", b"")) == 1


def lenient_ends(wire: bytes) -> int:
    """Ends of data that the most careless receiver finds: any of CRLF, CR and LF is a line end to it."""
    return wire.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n").count(b".")


@given(MAILISH, POINTS)
def test_what_is_stuffed_has_one_end_for_every_receiver(content: bytes, points: list[int]) -> None:
    wires = []
    for pieces in ([content], octets(content), cuts(content, points)):
        encoder = DotStuffer()
        wires.append(b"".join(encoder.encode(piece) for piece in pieces) + encoder.finish())
    assert len(set(wires)) == 1
    assert lenient_ends(wires[0]) == 1
    assert b"\0" not in wires[0]


@given(MAILISH)
def test_clean_content_makes_the_round_trip(content: bytes) -> None:
    content = content.replace(b"\0", b"").replace(b"\r\n", b"\n").replace(b"\r", b"").replace(b"\n", b"\r\n")
    encoder = DotStuffer()
    wire = encoder.encode(content) + encoder.finish()
    expected = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
    assert scan([wire + b"QUIT\r\n"]) == (expected, b"QUIT\r\n", True)


def faults(content: bytes, longest: int) -> set[ContentFault]:
    """Everything wrong with a whole body."""
    found = set()
    plain = content.replace(b"\r\n", b"")
    if b"\r" in plain:
        found.add(ContentFault.BARE_CR)
    if b"\n" in plain:
        found.add(ContentFault.BARE_LF)
    if b"\0" in content:
        found.add(ContentFault.NUL)
    if any(len(line) > longest for line in content.replace(b"\n", b"\n\0").split(b"\0")):
        found.add(ContentFault.LONG_LINE)
    return found


@given(MAILISH, POINTS)
def test_the_check_finds_a_fault_exactly_when_there_is_one(content: bytes, points: list[int]) -> None:
    expected = faults(content, 9)
    for pieces in ([content], octets(content), cuts(content, points)):
        check = ContentCheck(ContentRules(longest_line=9))
        for piece in pieces:
            check.see(piece)
        found = check.finish()
        assert check.size == len(content)
        assert (found is not None) == bool(expected)
        assert found is None or found in expected


@given(MAILISH)
def test_kept_bare_line_ends_are_no_fault_but_nul_is(content: bytes) -> None:
    check = ContentCheck(ContentRules(bare=BareLineEnds.KEEP))
    check.see(content)
    assert check.finish() is (ContentFault.NUL if b"\0" in content else None)


def test_a_scanner_that_is_done_takes_no_more() -> None:
    scanner = DataScanner()
    scanner.feed(b".\r\n")
    with pytest.raises(ValueError, match="ended"):
        scanner.feed(b"x")


def test_scanning_costs_little_more_than_searching() -> None:
    """A ratio within one run: the whole of framing and checks against one bare `find` of the same bytes."""
    block = b"The quick brown fox jumps over the lazy dog, and writes it down.\r\n" * 1000

    def seconds(work: int) -> float:
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            if work:
                scanner, check = DataScanner(), ContentCheck(ContentRules())
                for _ in range(50):
                    check.see(scanner.feed(block))
            else:
                for _ in range(50):
                    block.find(b"\r\n.\r\n")
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds(1) < 60 * seconds(0)
