"""What we write: read back by the standard library, and hostile pieces that stay inside their field."""

from __future__ import annotations

import email.policy
from email import message_from_bytes
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.envelope import Envelope, Origin, Recipient
from relay.core.ids import ItemId
from relay.proto.mime.build import Action, Report, ReportedRecipient, received, report
from relay.proto.mime.header import scan
from relay.proto.mime.structure import Kind, parse

ITEM = ItemId("01jc4z0000000000000000000a")
AT = 1_793_610_672.0
PIECES = (
    *'\r\n\0\t ();<>"\\:@.-_=?a\x7f\x85\u2028\u00fc\ud800',
    "\r\nBcc: x",
    "=_01jc4z0000000000000000000a",
    "x" * 400,
)
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


def envelope(*addresses: str, utf8: bool = False) -> Envelope:
    """An envelope for these recipients."""
    return Envelope("s@example.net", tuple(Recipient(address) for address in addresses), smtputf8=utf8)


def line(value: Envelope, origin: Origin) -> bytes:
    """The Received line."""
    return received(value, origin, ITEM, hostname="mx1.example.org")


def test_received_with_everything() -> None:
    """RFC 5321 4.4."""
    origin = Origin(
        "2001:db8::7", 4711, "mail.example.net", client_name="out.example.net", protocol="ESMTPS",
        tls="TLSv1.3 TLS_AES_256_GCM_SHA384", received_at=AT,
    )  # fmt: skip
    assert line(envelope("bob@example.org"), origin) == (
        b"Received: from mail.example.net (out.example.net [IPv6:2001:db8::7])\r\n"
        b"\tby mx1.example.org with ESMTPS id 01jc4z0000000000000000000a\r\n"
        b"\t(TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
        b"\tfor <bob@example.org>;\r\n"
        b"\tMon, 02 Nov 2026 10:31:12 +0000\r\n"
    ).replace(b"10:31:12", _clock(AT))


def _clock(at: float) -> bytes:
    return email.utils.formatdate(at).split()[4].encode()


def test_received_keeps_bcc_blind() -> None:
    """No `for` with several recipients; and none that the line could not carry."""
    origin = Origin("192.0.2.1", 1, "")
    assert b"for <" not in line(envelope("a@b", "c@d"), origin)
    assert b"for <" not in line(envelope("\u00fc@b"), origin)
    assert "for <\u00fc@b>".encode() in line(envelope("\u00fc@b", utf8=True), origin)
    assert line(envelope("a@b"), origin).startswith(b"Received: from unknown ([192.0.2.1])\r\n")


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.booleans())
def test_received_is_one_field(helo: str, name: str, tls: str, rcpt: str, utf8: bool) -> None:
    """Whatever the peer says of itself."""
    address = name
    origin = Origin(address, 1, helo, client_name=name or None, tls=tls or None, protocol=helo, received_at=AT)
    made = line(envelope(rcpt, utf8=utf8), origin)
    section = scan(made)
    assert [field.name for field in section.fields] == [b"received"]
    assert section.fields[0].end == len(made)
    assert made.count(b"\n") == made.count(b"\r") == made.count(b"\r\n")
    assert all(len(one) <= 998 for one in made.split(b"\r\n"))
    assert made.count(b"(") == made.count(b")") <= 2
    assert b"\0" not in made


def sample(**changes: object) -> Report:
    """A report with something in every place."""
    values: dict[str, object] = {
        "reporting_mta": "mx1.example.org",
        "to": "ann@example.net",
        "message_id": "01jc@mx1.example.org",
        "date": AT,
        "arrival": AT - 60,
        "token": ITEM,
        "envid": "QQ+2B1",
        "recipients": (
            ReportedRecipient(
                "bob@example.org", Action.FAILED, "5.1.1", "rfc822;bob+2Bx@example.org", "10.0.0.5",
                "550 5.1.1 <bob@example.org>: no such user", AT, AT + 1,
            ),
            ReportedRecipient("carl@example.org", Action.DELAYED, "4.4.1"),
        ),
    }  # fmt: skip
    return Report(**(values | changes))  # type: ignore[arg-type]  # a table of fields


def built(value: Report, original: bytes) -> bytes:
    """The whole report."""
    framing = report(value)
    return framing.head + original + framing.tail


def test_report_reads_back() -> None:
    """RFC 3464, 6522: three parts, the fields of each recipient, the original untouched."""
    original = b"Subject: hello\r\nX: y\r\n\r\n"
    data = built(sample(), original)
    message = message_from_bytes(data, policy=email.policy.SMTP)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["To"] == "ann@example.net"
    assert message["Auto-Submitted"] == "auto-replied"
    parts = message.get_payload()
    assert isinstance(parts, list)
    words, status, returned = parts
    assert isinstance(words, Message)
    assert isinstance(status, Message)
    assert isinstance(returned, Message)
    assert "bob@example.org" in words.get_payload()
    blocks = [dict(block.items()) for block in status.walk() if block is not status]
    assert blocks[0]["Original-Envelope-Id"] == "QQ+1"
    assert blocks[0]["Reporting-MTA"] == "dns; mx1.example.org"
    assert blocks[1]["Original-Recipient"] == "rfc822; bob+x@example.org"
    assert blocks[1]["Final-Recipient"] == "rfc822; bob@example.org"
    assert blocks[1]["Status"] == "5.1.1"
    assert blocks[1]["Diagnostic-Code"] == "smtp; 550 5.1.1 <bob@example.org>: no such user"
    assert (blocks[2]["Action"], blocks[2]["Status"]) == ("delayed", "4.4.1")
    assert returned.get_content_type() == "text/rfc822-headers"
    part = parse(data).children[2]
    assert data[part.body_start : part.body_end] == original


@pytest.mark.parametrize(
    ("utf8", "whole", "kind"),
    [
        (False, True, "message/rfc822"), (True, False, "message/global-headers"), (True, True, "message/global"),
    ],
)  # fmt: skip
def test_report_kinds(utf8: bool, whole: bool, kind: str) -> None:
    """RET=FULL and RFC 6533."""
    data = built(sample(utf8=utf8, whole=whole, to="\u00fc@example.net"), b"Subject: x\r\n\r\nbody\r\n")
    part = parse(data).children[2]
    assert f"{part.type.decode()}/{part.subtype.decode()}" == kind
    assert ("\u00fc@example.net".encode() in data) is utf8


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.booleans())
def test_report_cannot_be_injected(address: str, diagnostic: str, mta: str, status: str, utf8: bool) -> None:
    """Three parts, known fields, short lines, whatever addresses and replies say."""
    hostile = ReportedRecipient(address, Action.FAILED, status, f"rfc822;{address}", mta, diagnostic, AT, AT)
    plain = report(sample())
    data = built(
        sample(to=address, reporting_mta=mta, message_id=address, envid=diagnostic, recipients=(hostile,), utf8=utf8),
        b"Subject: x\r\n\r\n",
    )
    root = parse(data)
    assert root.kind is Kind.MULTIPART
    assert len(root.children) == 3
    known = [field.name for field in scan(plain.head).fields]
    assert [field.name for field in scan(data).fields] == known
    status_part = root.children[1]
    names = {
        text.partition(b":")[0].lower()
        for text in data[status_part.body_start : status_part.body_end].split(b"\r\n")
        if text and not text.startswith((b"\t", b" "))
    }
    assert names <= {
        b"original-envelope-id", b"reporting-mta", b"arrival-date", b"original-recipient", b"final-recipient",
        b"action", b"status", b"remote-mta", b"diagnostic-code", b"last-attempt-date", b"will-retry-until",
    }  # fmt: skip
    assert all(len(one) <= 998 for one in data.split(b"\r\n"))
    assert data.count(b"\n") == data.count(b"\r") == data.count(b"\r\n")
    assert b"\0" not in data
    assert utf8 or data.isascii()


def test_report_about_nobody() -> None:
    """Is a mistake of the caller."""
    with pytest.raises(ValueError, match="somebody"):
        report(sample(recipients=()))
