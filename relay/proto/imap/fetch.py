"""What a FETCH asks for (RFC 9051 6.4.5) as values, and how each item is named in the answer."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from relay.proto.imap import encode
from relay.proto.mime.section import Section, Text


class Attribute(Enum):
    """Items without parameters; the value is the name on the wire."""

    FLAGS = b"FLAGS"
    UID = b"UID"
    INTERNALDATE = b"INTERNALDATE"
    SIZE = b"RFC822.SIZE"
    ENVELOPE = b"ENVELOPE"
    BODY = b"BODY"
    BODYSTRUCTURE = b"BODYSTRUCTURE"
    EMAILID = b"EMAILID"
    THREADID = b"THREADID"
    SAVEDATE = b"SAVEDATE"
    PREVIEW = b"PREVIEW"


NEEDS: MappingProxyType[Attribute, str] = MappingProxyType(
    {
        Attribute.EMAILID: "OBJECTID",  # RFC 8474 5
        Attribute.THREADID: "OBJECTID",
        Attribute.SAVEDATE: "SAVEDATE",  # RFC 8514 4.2
        Attribute.PREVIEW: "PREVIEW",  # RFC 8970 3.1
    }
)
"""Items that belong to an extension."""


class Form(Enum):
    """In which form a part is wanted; the value is the item's name on the wire."""

    RAW = b"BODY"
    DECODED = b"BINARY"
    """Its transfer encoding undone (RFC 3516 4.2)."""
    DECODED_SIZE = b"BINARY.SIZE"
    """Only how many octets that would be."""


class BodyPart(msgspec.Struct, frozen=True):
    """`BODY[section]<offset.count>`, the RFC822 forms that mean the same, and `BINARY[part]`."""

    peek: bool
    part: tuple[int, ...] = ()
    """Part numbers; empty = the message itself."""
    text: Text = Text.ALL
    fields: tuple[bytes, ...] = ()
    """Names for FIELDS and FIELDS_NOT, as sent."""
    partial: tuple[int, int] | None = None
    """First octet and most octets."""
    legacy: bytes | None = None
    """The old name (`RFC822.HEADER`) under which the answer must come."""
    form: Form = Form.RAW

    @property
    def section(self) -> Section:
        """What of the message is asked for."""
        return Section(self.part, self.text, self.fields)

    @property
    def label(self) -> bytes:
        """The item's name in the answer."""
        if self.legacy is not None:
            return self.legacy
        words = [b"%d" % number for number in self.part]
        if self.text is not Text.ALL:
            words.append(self.text.value)
        section = b".".join(words)
        if self.fields:
            section += b" " + encode.parens(encode.astring(name) for name in self.fields)
        origin = b"" if self.partial is None else b"<%d>" % self.partial[0]
        return self.form.value + b"[" + section + b"]" + origin


Item: TypeAlias = Attribute | BodyPart

MACROS: dict[bytes, tuple[Attribute, ...]] = {
    b"FAST": (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.SIZE),
    b"ALL": (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.SIZE, Attribute.ENVELOPE),
    b"FULL": (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.SIZE, Attribute.ENVELOPE, Attribute.BODY),
}
"""RFC 9051 6.4.5: these stand alone, never in a list."""

LEGACY: dict[bytes, BodyPart] = {
    b"RFC822": BodyPart(peek=False, legacy=b"RFC822"),
    b"RFC822.PEEK": BodyPart(peek=True, legacy=b"RFC822"),  # Outlook sends it; RFC 1730 6.4.5 had it
    b"RFC822.HEADER": BodyPart(peek=True, text=Text.HEADER, legacy=b"RFC822.HEADER"),
    b"RFC822.TEXT": BodyPart(peek=False, text=Text.TEXT, legacy=b"RFC822.TEXT"),
    b"RFC822.TEXT.PEEK": BodyPart(peek=True, text=Text.TEXT, legacy=b"RFC822.TEXT"),
}

PLAIN: dict[bytes, Attribute] = {attribute.value: attribute for attribute in Attribute}
