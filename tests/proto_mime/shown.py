"""How a parsed message looks on the wire (RFC 9051 7.5.2), as the plain values that `oracle.read` gives."""

from __future__ import annotations

from typing import Any

from relay.proto.mime.envelope import Address, Envelope
from relay.proto.mime.structure import Kind, Part


def envelope(value: Envelope) -> list[Any]:
    """ENVELOPE."""
    lists = (value.from_, value.sender, value.reply_to, value.to, value.cc, value.bcc)
    return [
        value.date,
        value.subject,
        *(_addresses(people) for people in lists),
        value.in_reply_to,
        value.message_id,
    ]


def _addresses(people: tuple[Address, ...]) -> list[Any] | None:
    return [[one.name, one.route, one.mailbox, one.host] for one in people] or None


def bodystructure(part: Part) -> list[Any]:
    """BODYSTRUCTURE."""
    disposition = part.disposition
    common = [
        None if disposition is None else [disposition.type, _params(disposition.params)],
        list(part.language) or None,
        part.location,
    ]
    if part.kind is Kind.MULTIPART:
        empty = [b"text", b"plain", [b"charset", b"us-ascii"], None, None, b"7bit", 0, 0, None, None, None, None]
        inside = [bodystructure(child) for child in part.children] or [empty]
        return [*inside, part.subtype, _params(part.params), *common]
    shown = [part.type, part.subtype, _params(part.params), part.id, part.description, part.encoding, part.octets]
    if part.is_text:
        shown.append(part.lines)
    elif part.kind is Kind.MESSAGE:
        (inner,) = part.children
        assert inner.envelope is not None
        shown += [envelope(inner.envelope), bodystructure(inner), part.lines]
    return [*shown, part.md5, *common]


def _params(params: tuple[tuple[bytes, bytes], ...]) -> list[bytes] | None:
    return [text for pair in params for text in pair] or None
