"""What submitted mail lacks (RFC 6409 8): header fields to go ahead of it. Pure.

1. Only what is missing is added; nothing that the user wrote is changed or removed.
2. The caller says what the values are: the same message completed twice comes out the same.
"""

from __future__ import annotations

from email.utils import formatdate

from relay.core.envelope import canonical
from relay.proto.mime.envelope import parse_addresses
from relay.proto.mime.header import HeaderSection


def missing_fields(header: HeaderSection, *, now: float, message_id: str, sender: str | None = None) -> bytes:
    """Fields with CRLF; empty where nothing is missing.

    `now` is Unix time, `message_id` comes without brackets; `sender` is the mailbox that logged in, where a Sender
    field is wanted for mail whose From names somebody else.
    """
    found = []
    if header.first(b"date") is None:
        found.append(f"Date: {formatdate(now).replace('-0000', '+0000')}\r\n")  # RFC 6409 8.2
    if header.message_id() is None:
        found.append(f"Message-ID: <{message_id}>\r\n")  # RFC 6409 8.3
    if sender is not None and header.first(b"sender") is None and authors(header) != (canonical(sender),):
        found.append(f"Sender: <{sender}>\r\n")  # RFC 6409 8.1
    return "".join(found).encode()


def authors(header: HeaderSection) -> tuple[str, ...]:
    """The mailboxes of all From fields, as they are compared; empty where there is none that can be read."""
    return tuple(
        canonical(b"@".join(filter(None, (person.mailbox, person.host))).decode("utf-8", "replace"))
        for value in header.all(b"from")
        for person in parse_addresses(value, 100)
        if person.mailbox
    )
