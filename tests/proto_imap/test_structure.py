"""ENVELOPE and BODYSTRUCTURE of parsed messages on the wire, and how a section is named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.proto.imap import structure
from relay.proto.imap.fetch import BodyPart
from relay.proto.imap.limits import RESPONSES
from relay.proto.imap.tokens import Literal, Tokeniser
from relay.proto.mime.section import Text
from relay.proto.mime.structure import parse

NESTED = b"""\
From: "A. \\"Q\\" B" <a@example.org>\r
To: c@example.org, Team: d@example.org;\r
Subject: =?utf-8?q?H=C3=A4?=\r
Mime-Version: 1.0\r
Content-Type: multipart/mixed; boundary=x\r
\r
--x\r
\r
one\r
--x\r
Content-Type: message/rfc822\r
\r
Subject: inner\r
Mime-Version: 1.0\r
Content-Type: multipart/alternative; boundary=y\r
\r
--y\r
Content-Type: text/html\r
\r
<b>\r
--y--\r
--x\r
Content-Type: application/pdf; name="a b.pdf"\r
Content-Transfer-Encoding: base64\r
Content-Disposition: attachment; filename="a b.pdf"\r
\r
QUJD\r
--x--\r
""".replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def test_bodystructure_of_a_nested_message() -> None:
    assert structure.body(parse(NESTED), extended=True) == (
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0 NIL NIL NIL NIL)'
        b'("message" "rfc822" NIL NIL NIL "7bit" 130 '
        b'(NIL "inner" NIL NIL NIL NIL NIL NIL NIL NIL) '
        b'(("text" "html" ("charset" "us-ascii") NIL NIL "7bit" 3 0 NIL NIL NIL NIL) '
        b'"alternative" ("boundary" "y") NIL NIL NIL) '
        b"9 NIL NIL NIL NIL)"
        b'("application" "pdf" ("name" "a b.pdf") NIL NIL "base64" 4 NIL '
        b'("attachment" ("filename" "a b.pdf")) NIL NIL) '
        b'"mixed" ("boundary" "x") NIL NIL NIL)'
    )


def test_envelope() -> None:
    root = parse(NESTED)
    assert root.envelope is not None
    assert structure.envelope(root.envelope) == (
        b'(NIL "=?utf-8?q?H=C3=A4?=" (("A. \\"Q\\" B" NIL "a" "example.org")) (("A. \\"Q\\" B" NIL "a" "example.org")) '
        b'(("A. \\"Q\\" B" NIL "a" "example.org")) '
        b'((NIL NIL "c" "example.org")(NIL NIL "Team" NIL)(NIL NIL "d" "example.org")(NIL NIL NIL NIL)) '
        b"NIL NIL NIL NIL)"
    )


def test_labels() -> None:
    assert BodyPart(peek=True, part=(1, 2), text=Text.MIME, partial=(5, 9)).label == b"BODY[1.2.MIME]<5>"
    fields = BodyPart(peek=True, text=Text.FIELDS, fields=(b"To", b"a b"))
    assert fields.label == b'BODY[HEADER.FIELDS (To "a b")]'
    assert BodyPart(peek=False, legacy=b"RFC822").label == b"RFC822"


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"From", b"Subject", b"To", b"Content-Type", b"Content-Disposition", b"Date", b"Content-Language"]
        ),
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [b'multipart/mixed; boundary="b"', b"message/rfc822", b'text/plain; x="\\"\\\\"', b"a@b, c"]
            ),
        ),
    ),
    max_size=5,
)


@given(HEADERS, st.binary(max_size=80), st.booleans())
def test_whatever_the_message_the_answer_is_well_formed(
    headers: list[tuple[bytes, bytes]], body: bytes, split: bool
) -> None:
    raw = b"Mime-Version: 1.0\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in headers) + b"\r\n"
    raw += b"--b\r\n" + body + b"\r\n--b--\r\n" if split else body
    root = parse(raw)
    assert root.envelope is not None
    for wire in (
        structure.envelope(root.envelope),
        structure.body(root, extended=True),
        structure.body(root, extended=False),
    ):
        tokeniser = Tokeniser(RESPONSES)
        rest = wire
        while True:
            line, end, rest = rest.partition(b"\r\n")
            head = tokeniser.line(line)
            if head is None:
                break
            assert end
            tokeniser.literal(Literal(rest[: head.size]))
            rest = rest[head.size :]
        assert len(tokeniser.finish()) == 1
        assert not rest
