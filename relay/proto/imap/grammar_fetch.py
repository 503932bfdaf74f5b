"""FETCH items from tokens (RFC 9051 9 fetch-att)."""

from __future__ import annotations

import re
from types import MappingProxyType

from relay.proto.imap.args import Args, BadArgument
from relay.proto.imap.fetch import LEGACY, MACROS, NEEDS, PLAIN, Attribute, BodyPart, Form, Item
from relay.proto.imap.sequence import LARGEST
from relay.proto.imap.tokens import List, Section
from relay.proto.mime.section import Text

MOST_ITEMS = 200
"""Distinct items of one FETCH (count)."""
DEEPEST_PART = 100
"""Numbers in one part path (count)."""

_SECTION = re.compile(rb"(?P<part>[1-9][0-9]{0,8}(?:\.[1-9][0-9]{0,8})*)?(?:(?P<dot>\.)?(?P<text>[A-Z][A-Z.]*))?\Z")
_PARTIAL = re.compile(rb"([0-9]{1,18})\.([1-9][0-9]{0,18})\Z")
_FORMS: MappingProxyType[bytes, tuple[Form, bool]] = MappingProxyType(
    {
        b"BODY": (Form.RAW, False),
        b"BODY.PEEK": (Form.RAW, True),
        b"BINARY": (Form.DECODED, False),
        b"BINARY.PEEK": (Form.DECODED, True),
        b"BINARY.SIZE": (Form.DECODED_SIZE, True),
    }
)


def items(args: Args) -> tuple[Item, ...]:
    """One item, one macro, or a list of items; duplicates are asked once."""
    word = args.peek_word()
    if word in MACROS:
        args.token()
        return MACROS[word]
    if not isinstance(args.peek(), List):
        return (_item(args),)
    inner = args.nested()
    found: dict[Item, None] = {}
    while inner.more:
        found[_item(inner)] = None
        if len(found) > MOST_ITEMS:
            raise BadArgument("Too many FETCH items")
    if not found:
        raise BadArgument("Empty list of FETCH items")
    return tuple(found)


def _item(args: Args) -> Item:
    token = args.peek()
    if isinstance(token, Section):
        args.token()
        return _section(args, token)
    word = args.word().encode("ascii")
    plain = PLAIN.get(word)
    if plain is not None:
        args.need(NEEDS.get(plain))
        if plain is Attribute.PREVIEW and isinstance(args.peek(), List):
            _preview_modifiers(args.nested())
        return plain
    legacy = LEGACY.get(word)
    if legacy is not None:
        return legacy
    raise BadArgument("Unknown FETCH item")


def _preview_modifiers(args: Args) -> None:
    # RFC 8970 4: LAZY lets us answer NIL where a preview would take long. Ours never does, so it changes nothing.
    while args.more:
        if args.word() != "LAZY":
            raise BadArgument("Unknown PREVIEW modifier")


def _section(args: Args, section: Section) -> BodyPart:
    form, peek = _FORMS[section.name]
    args.need(None if form is Form.RAW else "BINARY", "IMAP4rev2")
    inside = args.inside(section)
    part: tuple[int, ...] = ()
    text = Text.ALL
    fields: tuple[bytes, ...] = ()
    if inside.more:
        found = _SECTION.match(inside.bare().upper())
        if found is None or (found["part"] is not None and found["text"] is not None and not found["dot"]):
            raise BadArgument("Invalid section")
        if found["dot"] and found["part"] is None:
            raise BadArgument("Invalid section")
        if found["part"] is not None:
            numbers = found["part"].split(b".")
            if len(numbers) > DEEPEST_PART:
                raise BadArgument("Section too deep")
            part = tuple(int(number) for number in numbers)
        text = _text(found["text"])
        if text is Text.MIME and not part:
            raise BadArgument("Invalid section")  # RFC 9051 6.4.5.1: MIME must have a part number
        if text in (Text.FIELDS, Text.FIELDS_NOT):
            fields = _fields(inside.nested())
    inside.end()
    if form is not Form.RAW and text is not Text.ALL:
        raise BadArgument("Invalid section")  # RFC 3516 4.2 section-binary: part numbers only
    partial = _partial(section.partial)
    if form is Form.DECODED_SIZE and partial is not None:
        raise BadArgument("Invalid partial range")
    return BodyPart(peek, part, text, fields, partial, form=form)


def _text(word: bytes | None) -> Text:
    try:
        return Text(word or b"")
    except ValueError:
        raise BadArgument("Invalid section") from None


def _fields(args: Args) -> tuple[bytes, ...]:
    found: list[bytes] = []
    while args.more:
        found.append(args.astring())
    if not found:
        raise BadArgument("Empty list of header fields")
    return tuple(found)


def _partial(text: bytes | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _PARTIAL.match(text)
    if found is None:
        raise BadArgument("Invalid partial range")
    offset, count = int(found[1]), int(found[2])
    if offset >= 1 << 63 or count >= 1 << 63:
        raise BadArgument("Invalid partial range")
    # Apple Mail asks beyond the end in odd chunks; anything over 32 bits is beyond the end of every message.
    return min(offset, LARGEST), min(count, LARGEST)
