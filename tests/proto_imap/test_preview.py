"""Previews and undone transfer encodings."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap import preview, text
from relay.proto.mime.structure import parse


def previewed(raw: bytes) -> str | None:
    root = parse(raw)
    part = preview.pick(root)
    return None if part is None else preview.preview(part, raw[part.body_start : part.body_end])


HTML = b"Content-Type: text/html; charset=utf-8\r\n\r\n"
MIXED = (
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment\r\n\r\nnot this\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n<p>nor this</p>\r\n--b\r\nContent-Type: text/plain\r\n\r\nbut this\r\n"
    b"--b--\r\n"
)
CASES: list[tuple[bytes, str | None]] = [
    (b"Subject: x\r\n\r\nHello\r\n  World\r\n", "Hello World"),
    (b"Subject: x\r\n\r\n", ""),
    (b"\r\n" + b"word " * 100, "word " * 39 + "word"),
    (b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n", "Hello"),
    (b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=84x", "Äx"),
    (HTML + b"<html><head><title>T</title></head><body><p>One<br>two &amp; <b>three</b></body>", "One two & three"),
    (HTML + b"<style>p {}</style><!-- <p>x</p> -->a<script>if (a < b) {}</script>b", "a b"),
    (HTML + b"1 < 2 <!-- open", "1 < 2"),
    (HTML + b"<script>for ever", ""),
    (MIXED, "but this"),
    (b"Content-Type: application/pdf\r\n\r\nx", None),
]


@pytest.mark.parametrize(("raw", "expected"), CASES, ids=lambda value: repr(value)[-40:])
def test_previews(raw: bytes, expected: str | None) -> None:
    assert previewed(raw) == expected


@given(
    st.lists(st.sampled_from([b"<", b">", b"!--", b"-->", b"style", b"/", b"a ", b"&amp;", b"\xff", b"\0", b"\r\n"]))
)
def test_a_preview_is_one_short_line(pieces: list[bytes]) -> None:
    found = previewed(HTML + b"".join(pieces))
    assert found is not None
    assert len(found) <= preview.LONGEST
    assert found.isprintable()


@pytest.mark.parametrize("piece", [b"<style", b"<!--", b"<a ", b"<", b"&", b"</script>"], ids=repr)
def test_markup_that_was_made_to_be_slow(piece: bytes) -> None:
    started = time.process_time()
    for _ in range(20):
        previewed(HTML + piece * 20_000)
    assert time.process_time() - started < 10.0


def test_transfer_encodings() -> None:
    assert text.untransferred(b"BASE64", b"SGVs\r\nbG8=\r\n") == b"Hello"
    assert text.untransferred(b"quoted-printable", b"a=3D=\r\nb") == b"a=b"
    assert text.untransferred(b"8bit", b"\xff\0") == b"\xff\0"
    assert text.untransferred(b"x-uuencode", b"x") is None
