"""ENVELOPE, BODY and BODYSTRUCTURE of a parsed message on the wire (RFC 9051 7.5.2)."""

from __future__ import annotations

from collections.abc import Sequence

from relay.proto.imap.encode import nstring, string
from relay.proto.mime.entity import Kind
from relay.proto.mime.envelope import Address, Envelope
from relay.proto.mime.structure import Part

_EMPTY_PART = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0'
"""What a multipart without parts is shown to hold: the grammar wants one (RFC 9051 9 body-type-mpart)."""


def envelope(value: Envelope) -> bytes:
    """The parenthesised ENVELOPE."""
    author = _addresses(value.from_)
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        nstring(value.date),
        nstring(value.subject),
        author,
        author if value.sender is value.from_ else _addresses(value.sender),
        author if value.reply_to is value.from_ else _addresses(value.reply_to),
        _addresses(value.to),
        _addresses(value.cc),
        _addresses(value.bcc),
        nstring(value.in_reply_to),
        nstring(value.message_id),
    )


def _addresses(people: Sequence[Address]) -> bytes:
    if not people:
        return b"NIL"
    return (
        b"("
        + b"".join(
            b"(%b %b %b %b)" % (nstring(one.name), nstring(one.route), nstring(one.mailbox), nstring(one.host))
            for one in people
        )
        + b")"
    )


def body(part: Part, *, extended: bool) -> bytes:
    """BODYSTRUCTURE with `extended`, else BODY. Depth is bounded by the parser's limits."""
    if part.kind is Kind.MULTIPART:
        return _multipart(part, extended=extended)
    words = [
        string(part.type),
        string(part.subtype),
        _params(part.params),
        nstring(part.id),
        nstring(part.description),
        string(part.encoding),
        b"%d" % part.octets,
    ]
    if part.kind is Kind.MESSAGE:
        inner = part.children[0]
        assert inner.envelope is not None
        words += [envelope(inner.envelope), body(inner, extended=extended), b"%d" % part.lines]
    elif part.is_text:
        words.append(b"%d" % part.lines)
    if extended:
        words += [nstring(part.md5), *_extension(part)]
    return b"(" + b" ".join(words) + b")"


def _multipart(part: Part, *, extended: bool) -> bytes:
    if part.children:
        inside = b"".join(body(child, extended=extended) for child in part.children)
    else:
        inside = _EMPTY_PART + (b" NIL NIL NIL NIL)" if extended else b")")
    words = [inside, string(part.subtype)]
    if extended:
        words += [_params(part.params), *_extension(part)]
    return b"(" + b" ".join(words) + b")"


def _extension(part: Part) -> list[bytes]:
    disposition = part.disposition
    shown = b"NIL" if disposition is None else b"(%b %b)" % (string(disposition.type), _params(disposition.params))
    language = b"(" + b" ".join(string(tag) for tag in part.language) + b")" if part.language else b"NIL"
    return [shown, language, nstring(part.location)]


def _params(params: Sequence[tuple[bytes, bytes]]) -> bytes:
    if not params:
        return b"NIL"
    return b"(" + b" ".join(string(name) + b" " + string(value) for name, value in params) + b")"
