"""A second copy is blamed on whoever made it."""

from __future__ import annotations

import pytest

from relay.core.envelope import Envelope, Origin, Recipient
from relay.core.ids import from_bytes
from relay.proto.mime.build import received
from tests.peers.trace import explain, item_id, queue_id, trace

CONTENT = b"From: a@example.net\r\nSubject: x\r\n\r\nReceived: not a trace line\r\n"


def copy(item: int, queued: str) -> bytes:
    """As Dovecot shows it: its own lines, Postfix's, the relay's."""
    envelope = Envelope("a@example.net", (Recipient("alice@example.org"),))
    origin = Origin(
        client_address="192.0.2.1", client_port=4711, helo="client.example.net", protocol="ESMTP", received_at=0.0
    )
    ours = received(envelope, origin, from_bytes(item.to_bytes(16, "big")), hostname="mx1.example.org")
    return (
        b"Return-Path: <a@example.net>\r\nDelivered-To: alice@example.org\r\n"
        b"Received: from primary.example.org\r\n\tby host.example with LMTP\r\n\tid MFRGG2LKNNWQ\r\n"
        b"\t(envelope-from <a@example.net>)\r\n\tfor <alice@example.org>; Sun, 22 Nov 2026 12:00:00 +0000\r\n"
        b"Received: from mx1.example.org (localhost [127.0.0.1])\r\n\tby primary.example.org (Postfix) with ESMTP id "
        + queued.encode()
        + b"\r\n\tfor <alice@example.org>; Sun, 22 Nov 2026 12:00:00 +0000 (UTC)\r\n"
        + ours
        + CONTENT
    )


def test_ids_are_found_in_the_trace_lines_alone() -> None:
    lines = trace(copy(7, "4XyZ12345"))
    assert lines + CONTENT == copy(7, "4XyZ12345")
    assert queue_id(lines) == "4XyZ12345"
    assert item_id(lines) == from_bytes((7).to_bytes(16, "big"))
    assert item_id(trace(CONTENT)) is None


@pytest.mark.parametrize(
    ("copies", "verdict"),
    [
        ([copy(1, "Q1"), copy(1, "Q1")], "2 copies, delivered twice by Postfix"),
        ([copy(1, "Q1"), copy(1, "Q2")], "2 copies, handed over twice by the relay"),
        ([copy(1, "Q1"), copy(2, "Q2")], "2 copies, accepted twice by the relay"),
        ([copy(1, "Q1"), CONTENT], "2 copies, whose doing it is cannot be told"),
    ],
)
def test_blame(copies: list[bytes], verdict: str) -> None:
    told = explain(copies)
    assert told.splitlines()[0] == verdict
    assert "queue id Q1" in told
    assert "with ESMTP id Q1" in told
