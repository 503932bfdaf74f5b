"""Structure: offsets, block boundaries, limits, bombs."""

from __future__ import annotations

import random
import re
import tracemalloc
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.mime import structure
from relay.proto.mime.boundary import Boundary, BoundaryLine
from relay.proto.mime.header import HEADER_END
from relay.proto.mime.structure import Kind, Limits, Part, StructureParser, parse
from tests.proto_mime.corpus import compose, corpus

CORPUS = corpus()
PIECES = (
    b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: multipart/digest; boundary=bb\r\n",
    b"Content-Type: message/rfc822\r\n", b"\r\n", b"\n", b"--b", b"--bb", b"--b--", b"--", b"\r", b"x", b"\0", b"\xff",
    b" ", b"Subject: a\r\n", b"(", b'"', b"From: ((((a\r\n", b"; name*0*=x", b"Content-Disposition: a; ",
)  # fmt: skip
soup = st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join)


def walk(root: Part) -> Iterator[Part]:
    """Every part, without recursion."""
    left = [root]
    while left:
        part = left.pop()
        yield part
        left.extend(part.children)


def check(root: Part, data: bytes) -> None:
    """Invariant 1 of the module, and the line counts."""
    assert root.header_start == 0
    assert root.body_end == len(data)
    for part in walk(root):
        assert 0 <= part.header_start <= part.body_start <= part.body_end <= len(data)
        assert part.lines == data.count(b"\n", part.body_start, part.body_end)
        at = part.body_start
        for child in part.children:
            assert at <= child.header_start
            at = child.body_end
        assert at <= part.body_end
        assert (part.kind is Kind.MESSAGE) == (len(part.children) == 1 and part.children[0].envelope is not None)
        assert part.children == () or part.kind is not Kind.LEAF


def in_blocks(data: bytes, sizes: Iterator[int], limits: Limits = Limits()) -> Part:  # noqa: B008  # frozen
    """Parse a message cut into blocks."""
    parser = StructureParser(limits)
    at = 0
    while at < len(data):
        size = next(sizes)
        parser.feed(data[at : at + size])
        at += size
    return parser.finish()


@pytest.mark.parametrize("name", CORPUS)
def test_corpus_offsets_blocks_and_record(name: str) -> None:
    """Offsets hold, cutting changes nothing, and the record survives storage."""
    data = CORPUS[name]
    whole = parse(data)
    check(whole, data)
    assert in_blocks(data, iter(lambda: 1, 0)) == whole
    random_ = random.Random(name)
    assert in_blocks(data, iter(lambda: random_.randrange(1, 90), 0)) == whole
    packed = msgspec.msgpack.encode(whole)
    assert msgspec.msgpack.decode(packed, type=Part) == whole


@given(soup, st.randoms(use_true_random=False))
def test_soup(data: bytes, random_: random.Random) -> None:
    """Never raises, offsets hold, and cutting changes nothing, whatever the bytes."""
    whole = parse(data)
    check(whole, data)
    assert in_blocks(data, iter(lambda: random_.randrange(1, 20), 0)) == whole


@given(st.binary(max_size=300), st.integers(1, 50))
def test_bytes(data: bytes, size: int) -> None:
    """The same for bytes without any sense."""
    whole = parse(data)
    check(whole, data)
    assert in_blocks(data, iter(lambda: size, 0)) == whole


@given(st.integers(), st.data())
def test_mutated_mail(seed: int, data: st.DataObject) -> None:
    """The same for mail with a hole or a repetition in it."""
    message = compose(random.Random(seed))
    at = data.draw(st.integers(0, len(message)))
    until = data.draw(st.integers(at, len(message)))
    for broken in (message[:at] + message[until:], message[:until] + message[at:]):
        whole = parse(broken)
        check(whole, broken)
        assert in_blocks(broken, iter(lambda: 7, 0)) == whole


def test_thousand_messages_in_messages() -> None:
    """Beyond the depth limit a message is an opaque leaf that still has its bytes."""
    data = b"Content-Type: message/rfc822\r\n\r\n" * 1000 + b"Subject: bottom\r\n\r\nx\r\n"
    root = parse(data)
    check(root, data)
    parts = list(walk(root))
    assert len(parts) == Limits().depth + 1
    assert (parts[-1].kind, parts[-1].type, parts[-1].subtype) == (Kind.LEAF, b"application", b"octet-stream")
    assert parts[-1].body_end == len(data)


def test_thousand_multiparts_in_multiparts() -> None:
    """The same for multiparts."""
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%04d\r\n\r\n--b%04d\r\n" % (n, n) for n in range(1000))
    root = parse(head + b"\r\nx\r\n")
    parts = list(walk(root))
    assert len(parts) == Limits().depth + 1
    assert parts[-1].type == b"application"


def test_more_parts_than_allowed() -> None:
    """Behind the last part that is allowed, the rest belongs to it; nothing raises, and the root still ends it all."""
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 50
    root = parse(data, Limits(parts=10))
    check(root, data)
    assert len(root.children) == 9
    assert in_blocks(data, iter(lambda: 3, 0), Limits(parts=10)) == root


def test_header_limit() -> None:
    """Fields behind the limit are not read, but the body starts where it starts."""
    data = b"Subject: a\r\n" + b"X: y\r\n" * 1000 + b"Content-Type: text/html\r\n\r\nbody"
    root = parse(data, Limits(header=100))
    assert (root.subtype, data[root.body_start :]) == (b"plain", b"body")
    assert root.envelope is not None
    assert root.envelope.subject == b"a"


def test_parameter_flood() -> None:
    """As many parameters as allowed, the rest left out."""
    flood = b"".join(b"; p%d=x" % n for n in range(5000))
    root = parse(b"Content-Type: text/plain; charset=utf-8" + flood + b"\r\n\r\n", Limits(params=50))
    assert len(root.params) == 50


def test_steps_are_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the message costs at most about twice the steps: boundary lines judged, and bytes searched for them."""
    counts = {"judged": 0, "searched": 0}
    judge, find = structure.StructureParser._judge, Boundary.next

    def counting_judge(self: StructureParser, start: int) -> BoundaryLine | bool | None:
        counts["judged"] += 1
        return judge(self, start)

    def counting_find(self: Boundary, buf: bytes, base: int, start: int) -> int:
        before = max(self.found, self.searched)
        at = find(self, buf, base, start)
        counts["searched"] += max(max(self.found, self.searched) - before, 0)
        return at

    monkeypatch.setattr(structure.StructureParser, "_judge", counting_judge)
    monkeypatch.setattr(Boundary, "next", counting_find)

    def cost(n: int) -> tuple[int, int]:
        counts.update(judged=0, searched=0)
        depth = 20
        head = b"".join(b"Content-Type: multipart/x; boundary=b%d-\r\n\r\n--b%d-\r\n" % (d, d) for d in range(depth))
        data = head + b"\r\n" + b"--b\r\n--b19\r\ntext\r\n--b19-\r\n\r\n" * n
        parser = StructureParser(Limits(parts=100_000))
        for at in range(0, len(data), 4096):
            parser.feed(data[at : at + 4096])
        parser.finish()
        return counts["judged"], counts["searched"] // depth

    small, large = cost(500), cost(1000)
    assert large[0] <= 2.2 * small[0]
    assert large[1] <= 2.2 * small[1]


class _CountingSearch:
    """The search for the end of a header, with a count of the bytes that it may look at."""

    def __init__(self) -> None:
        self.bytes = 0

    def search(self, data: bytes, start: int, end: int) -> re.Match[bytes] | None:
        """As a compiled pattern does it."""
        self.bytes += max(end - start, 0)
        return HEADER_END.search(data, start, end)


def test_headers_without_end_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of parts, none with an empty line: no search looks beyond the next boundary."""
    counting = _CountingSearch()
    monkeypatch.setattr(structure, "HEADER_END", counting)
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\nX: y\r\n" * 5000
    check(parse(data), data)
    assert counting.bytes < 2 * len(data)


def test_streaming_keeps_little() -> None:
    """20 MB of one attachment pass through a few hundred kilobytes."""
    block = b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0NTY3\r\n" * 800
    parser = StructureParser()
    parser.feed(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n\r\n")
    tracemalloc.start()
    try:
        for _ in range(300):
            parser.feed(block)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    parser.feed(b"\r\n--b--\r\n")
    root = parser.finish()
    assert peak < 600_000
    assert root.children[1].octets == 300 * len(block)
    assert root.children[1].lines == 300 * 800
