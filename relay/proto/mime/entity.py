"""What the header of one body part says about it: the Content-* fields (RFC 2045, 2183, 3282, 2557, 1864).

A header section in, one `Entity` out. Only the fields that are asked for are looked at, by one pass of one pattern, so
a header of a million lines costs a scan and not a million objects.

1. Without Mime-Version and Content-Type, the Content-* fields of a message mean nothing (RFC 2045 4); inside a
   multipart they always mean something.
2. The first Content-* field of a name counts; address fields add up, and of other envelope fields the last counts.
"""

from __future__ import annotations

import re
from enum import IntEnum

import msgspec

from relay.proto.mime.envelope import Envelope, parse_envelope, unfold
from relay.proto.mime.params import Params, parse_params
from relay.proto.mime.tokens import Cursor, Next, clean

_VALUE = rb")[ \t]*:([^\n]*+(?:\n[ \t][^\n]*+)*)"
_CONTENT = rb"^(mime-version|content-(?:type|transfer-encoding|id|description|md5|disposition|language|location)"
_ENVELOPE = rb"|date|subject|from|sender|reply-to|to|cc|bcc|in-reply-to|message-id"
_PART_FIELDS = re.compile(_CONTENT + _VALUE, re.IGNORECASE | re.MULTILINE)
_MESSAGE_FIELDS = re.compile(_CONTENT + _ENVELOPE + _VALUE, re.IGNORECASE | re.MULTILINE)

_DEFAULT_CHARSET = (b"charset", b"us-ascii")  # RFC 2045 5.2


class Kind(IntEnum):
    """How a body is taken apart."""

    LEAF = 0
    MULTIPART = 1
    MESSAGE = 2


class Disposition(msgspec.Struct, frozen=True, array_like=True):
    """Content-Disposition (RFC 2183)."""

    type: bytes
    params: Params = ()


class Entity(msgspec.Struct, frozen=True, array_like=True):
    """The description of one body part; defaults are filled in (RFC 2045 5.2)."""

    kind: Kind = Kind.LEAF
    type: bytes = b"text"
    subtype: bytes = b"plain"
    params: Params = (_DEFAULT_CHARSET,)
    id: bytes | None = None
    description: bytes | None = None
    encoding: bytes = b"7bit"
    md5: bytes | None = None
    disposition: Disposition | None = None
    language: tuple[bytes, ...] = ()
    location: bytes | None = None
    envelope: Envelope | None = None
    boundary: bytes | None = None

    @property
    def is_digest(self) -> bool:
        """Whether the parts inside are messages unless they say otherwise (RFC 2046 5.1.5)."""
        return self.kind is Kind.MULTIPART and self.subtype.lower() == b"digest"


def read_entity(header: bytes, *, mime: bool, message: bool, in_digest: bool, max_params: int) -> Entity:
    """Read a header section.

    `mime`: the part is inside a multipart; `message`: it is a message, so it has an envelope; `in_digest`: it is
    directly inside multipart/digest.
    """
    content: dict[bytes, bytes] = {}
    envelope: dict[bytes, list[bytes]] = {}
    dispositions: list[bytes] = []
    for match in (_MESSAGE_FIELDS if message else _PART_FIELDS).finditer(header):
        name, value = match[1].lower(), _without_cr(match[2])
        if name == b"content-disposition":
            dispositions.append(value)
        elif name == b"content-transfer-encoding":
            if name not in content and (encoding := _encoding(value)):
                content[name] = encoding
        elif name == b"content-language":
            content[name] = content.get(name) or value
        elif name.startswith((b"content-", b"mime-")):
            content.setdefault(name, value)
        else:
            envelope.setdefault(name, []).append(value)
    mime = mime or b"mime-version" in content or b"content-type" in content
    seen = parse_envelope(envelope) if message else None
    if not mime:
        content.clear()
        dispositions.clear()

    kind, type_, subtype, params, boundary = _content_type(content.get(b"content-type"), in_digest, max_params)

    def text(name: bytes) -> bytes | None:
        value = content.get(name)
        return None if value is None else unfold(value)

    return Entity(
        kind,
        type_,
        subtype,
        params,
        id=text(b"content-id"),
        description=text(b"content-description"),
        encoding=content.get(b"content-transfer-encoding", b"7bit"),
        md5=text(b"content-md5"),
        disposition=_disposition(dispositions, max_params),
        language=_languages(content.get(b"content-language", b"")),
        location=text(b"content-location"),
        envelope=seen,
        boundary=boundary,
    )


def _without_cr(value: bytes) -> bytes:
    """The value as one text with LF for line ends, without the blanks behind the colon."""
    value = value.removesuffix(b"\r").replace(b"\r\n", b"\n")
    first, newline, rest = value.partition(b"\n")
    return (first.lstrip(b" \t") or first[1:]) + newline + rest


def _content_type(
    value: bytes | None, in_digest: bool, max_params: int
) -> tuple[Kind, bytes, bytes, Params, bytes | None]:
    """RFC 2045 5.1; what is broken keeps the type as far as it could be read and loses its parameters."""
    if value is None:
        if in_digest:
            return Kind.MESSAGE, b"message", b"rfc822", (), None
        return Kind.LEAF, b"text", b"plain", (_DEFAULT_CHARSET,), None
    cursor = Cursor(value)
    full = _type_and_subtype(cursor)
    params = parse_params(cursor, limit=max_params) if b"/" in full else ()
    type_, _, subtype = full.partition(b"/")
    folded = type_.lower()
    if full.lower() == b"message/rfc822":
        return Kind.MESSAGE, b"message", b"rfc822", params, None
    if folded == b"multipart" and subtype:
        boundary = next((val for name, val in params if name.lower() == b"boundary"), None)
        return Kind.MULTIPART, type_, subtype, params, boundary
    if folded == b"multipart":
        # Without parts it cannot be shown as what it says it is.
        return Kind.LEAF, b"application", b"octet-stream", (), None
    if folded == b"text" and all(name.lower() != b"charset" for name, _ in params):
        params = (*params, _DEFAULT_CHARSET)
    return Kind.LEAF, type_, subtype, params, None


def _type_and_subtype(cursor: Cursor) -> bytes:
    """`type/subtype`, or a main type that stands alone; empty when it is broken."""
    words: list[bytes] = []
    if cursor.skip_cfws() is not Next.MORE:
        return b""
    behind = cursor.token(words)
    if behind is not Next.MORE:
        return words[0]
    if not words[0] or cursor.peek() != 0x2F:
        return b""
    cursor.pos += 1
    if cursor.skip_cfws() is not Next.MORE:
        return b""
    behind = cursor.token(words)
    if behind is Next.BROKEN or not words[1] or (behind is Next.MORE and cursor.peek() != 0x3B):
        return b""
    return b"/".join(words)


def _encoding(value: bytes) -> bytes | None:
    """RFC 2045 6.1: one token and nothing else; None when it is not that."""
    cursor = Cursor(value)
    words: list[bytes] = []
    if cursor.skip_cfws() is Next.BROKEN or cursor.token(words) is not Next.END:
        return None
    return words[0] or None


def _disposition(values: list[bytes], max_params: int) -> Disposition | None:
    """The first disposition that has parameters, else the last."""
    found = None
    for value in values:
        cursor = Cursor(value)
        words: list[bytes] = []
        cursor.skip_cfws()
        if cursor.token(words) is Next.BROKEN:
            continue
        found = Disposition(clean(words[0]), parse_params(cursor, limit=max_params))
        if found.params:
            break
    return found


def _languages(value: bytes) -> tuple[bytes, ...]:
    """RFC 3282: language tags between commas."""
    cursor = Cursor(value)
    found: list[bytes] = []
    cursor.skip_cfws()
    while True:
        words: list[bytes] = []
        behind = cursor.atom(words)
        if behind is Next.BROKEN:
            break
        found.append(words[0])
        if cursor.peek() != 0x2C:
            break
        cursor.pos += 1
        cursor.skip_cfws()
    return tuple(found)
