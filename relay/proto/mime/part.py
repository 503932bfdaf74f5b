"""The parsed structure as a value: what `structure` makes, what is stored sealed, what `section` and the wire read."""

from __future__ import annotations

import msgspec

from relay.proto.mime.entity import Disposition, Kind
from relay.proto.mime.envelope import Envelope
from relay.proto.mime.params import Params


class Limits(msgspec.Struct, frozen=True):
    """How far a message is taken apart."""

    depth: int = 100
    parts: int = 10_000
    header: int = 256 * 1024
    """Bytes of one part's header that are interpreted; the rest is passed over."""
    params: int = 500
    """Parameters of one field."""


class Part(msgspec.Struct, frozen=True, array_like=True):
    """One body part, or the message itself (the root)."""

    header_start: int
    body_start: int
    """Behind the header and its empty line."""
    body_end: int
    lines: int
    """Line ends in the body."""
    kind: Kind
    """MULTIPART: `children` are its parts (an empty one is shown on the wire with one empty text part).
    MESSAGE: message/rfc822, `children[0]` is the message. LEAF: no children."""
    type: bytes
    subtype: bytes
    params: Params = ()
    """The default charset of text is filled in."""
    id: bytes | None = None
    description: bytes | None = None
    encoding: bytes = b"7bit"
    md5: bytes | None = None
    disposition: Disposition | None = None
    language: tuple[bytes, ...] = ()
    location: bytes | None = None
    envelope: Envelope | None = None
    """Of a message: the root, or the child of a message/rfc822 part."""
    children: tuple[Part, ...] = ()

    @property
    def octets(self) -> int:
        """Size of the body."""
        return self.body_end - self.body_start

    @property
    def is_text(self) -> bool:
        """Whether the wire shows a line count."""
        return self.kind is Kind.LEAF and self.type.lower() == b"text"
