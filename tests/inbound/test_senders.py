"""Who may send as whom: a user of every domain as themselves, and nobody as somebody else."""

from __future__ import annotations

import pytest

from relay.accounts.names import Naming, NamingSettings
from relay.inbound.senders import Senders
from relay.proto.mime.header import scan

ALICE, ERIN = "alice@example.org", "erin@example.com"
"""The first is in the default domain, the other is not."""


@pytest.mark.parametrize("user", [ALICE, ERIN])
@pytest.mark.parametrize("field", ["{}", "<{}>", "Somebody <{}>", '"Some, body" <{}>', "{} (at home)", "{}, {}"])
def test_everybody_writes_as_themselves(user: str, field: str) -> None:
    assert _refusal(user, field.format(user, user)) is None


@pytest.mark.parametrize(
    "field",
    [ERIN, f"Alice <{ERIN}>", f"{ALICE} <{ERIN}>", f"{ERIN} <{ALICE}>", f"{ALICE}, {ERIN}", f"{ALICE}@example.com"],
)
def test_nobody_writes_as_somebody_else(field: str) -> None:
    refusal = _refusal(ALICE, field)
    assert refusal is not None
    assert refusal.startswith("5.7.1")


def _refusal(user: str, field: str) -> str | None:
    senders = Senders(Naming(NamingSettings(default_domain="example.org")))
    reply = senders.refuses_header(user, scan(f"From: {field}\r\nSubject: x\r\n\r\n".encode()))
    return None if reply is None else reply.text
