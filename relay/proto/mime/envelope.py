"""ENVELOPE of a message (RFC 9051 7.5.2) and the address lists in it (RFC 5322 3.4), from raw header values.

Bytes in, immutable values out; encoded words and 8-bit text stay as they came, blanks in what people read (subject,
display names) are collapsed. What is broken is shown as Dovecot shows it (`MISSING_MAILBOX`, `MISSING_DOMAIN`,
`SYNTAX_ERROR`), so that a client sees the same envelope from the primary and from us.

1. No recursion, linear time: every byte is looked at by at most four attempts (plain, group, name-addr, addr-spec).
2. At most `MAX_ADDRESSES` entries per name of a field; the rest is left out.
3. Never raises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from relay.proto.mime.tokens import ATEXT_RANGES, Cursor, Next, clean

MAX_ADDRESSES = 10_000
ENVELOPE_FIELDS = (
    b"date", b"subject", b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"in-reply-to", b"message-id",
)  # fmt: skip


class Address(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One address of RFC 9051 7.5.2. A group: an entry with only `mailbox` (its name), the members, an empty entry."""

    name: bytes | None = None
    route: bytes | None = None
    mailbox: bytes | None = None
    host: bytes | None = None


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Ten fields in the order of the wire; None is NIL. Empty lists are NIL too (RFC 9051 7.5.2)."""

    date: bytes | None = None
    subject: bytes | None = None
    from_: tuple[Address, ...] = ()
    sender: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    in_reply_to: bytes | None = None
    message_id: bytes | None = None


_LINE_END = re.compile(rb"[\r\n](?![ \t])")
_BLANKS = re.compile(rb"[ \t\r\n]+")
_WORD = rb"[%b][.%b]*+" % (ATEXT_RANGES, ATEXT_RANGES)
_DOTTED = rb"[%b]++(?:\.[%b]++)*" % (ATEXT_RANGES, ATEXT_RANGES)
_PLAIN = re.compile(
    rb"[ \t\r\n]*+(?:(?:(%(word)b(?: %(word)b)*)|\"([^\"\\\0\r\n]*+)\")?[ \t\r\n]*+<(%(dotted)b)@(%(dotted)b)>"
    rb"|(%(dotted)b)@(%(dotted)b))[ \t\r\n]*+(?:,[ \t\r\n]*+|\Z)" % {b"word": _WORD, b"dotted": _DOTTED}
)
"""One address and the comma behind it."""


def unfold(value: bytes) -> bytes:
    """Line ends go, the blank that follows each stays (RFC 5322 2.2.3); a lone CR or LF becomes a blank."""
    if b"\n" not in value and b"\r" not in value:
        return clean(value)
    value = value.replace(b"\r\n", b"\n")
    return clean(_LINE_END.sub(b" ", value).replace(b"\n", b"").replace(b"\r", b""))


def collapse(value: bytes) -> bytes:
    """For people: runs of blanks and line ends become one blank, none at either end."""
    return clean(_BLANKS.sub(b" ", value).strip(b" "))


def parse_envelope(fields: Mapping[bytes, Sequence[bytes]]) -> Envelope:
    """Envelope from raw values, in order, by lower-case field name; folded values are fine, absent fields are NIL."""

    def last(name: bytes) -> bytes | None:
        values = fields.get(name)
        return values[-1] if values else None

    def text(name: bytes) -> bytes | None:
        value = last(name)
        return None if value is None else unfold(value)

    def people(name: bytes) -> tuple[Address, ...]:
        found = [address for value in fields.get(name, ()) for address in parse_addresses(value)]
        return tuple(found[:MAX_ADDRESSES])

    from_ = people(b"from")
    subject = last(b"subject")
    return Envelope(
        date=text(b"date"),
        subject=None if subject is None else collapse(subject),
        from_=from_,
        # RFC 9051 7.5.2: an absent or empty Sender or Reply-To takes the value of From.
        sender=people(b"sender") or from_,
        reply_to=people(b"reply-to") or from_,
        to=people(b"to"),
        cc=people(b"cc"),
        bcc=people(b"bcc"),
        in_reply_to=text(b"in-reply-to"),
        message_id=text(b"message-id"),
    )


def parse_addresses(value: bytes, limit: int = MAX_ADDRESSES) -> tuple[Address, ...]:
    """The address list of a From, To, ... field value."""
    plain = _plain(value, limit)
    return _parsed(value, limit) if plain is None else plain


def _plain(value: bytes, limit: int) -> tuple[Address, ...] | None:
    """The list where it is `Some Body <local@domain>, "Body, Some" <local@domain>, local@domain`, as nearly all are."""
    found: list[Address] = []
    at, end = 0, len(value)
    while at < end and len(found) < limit:
        match = _PLAIN.match(value, at)
        if match is None:
            return None
        words, quoted, local, domain, bare, host = match.groups()
        found.append(
            Address(None, None, bare, host)
            if local is None
            else Address(collapse(quoted) if quoted else words, None, local, domain)
        )
        at = match.end()
    return tuple(found)


def _parsed(value: bytes, limit: int) -> tuple[Address, ...]:
    """The list, whatever it is."""
    cursor = Cursor(value)
    if cursor.skip_cfws() is not Next.MORE:
        return ()
    found: list[Address] = []
    parser = _Addresses(cursor, found)
    while len(found) < limit:
        if parser.address(limit) is Next.END or cursor.peek() != 0x2C:
            break
        cursor.pos += 1
        behind = cursor.skip_cfws()
        if behind is Next.BROKEN:
            found.append(_fixed(_Draft()))
        if behind is not Next.MORE:
            break
    return tuple(found[:limit])


class _Draft:
    """An address in the making."""

    __slots__ = ("host", "mailbox", "name", "route")

    def __init__(self) -> None:
        self.name: bytes | None = None
        self.route: bytes | None = None
        self.mailbox: bytes | None = None
        self.host: bytes | None = None


def _fixed(draft: _Draft) -> Address:
    """An address with something in every place that a client needs."""
    return Address(
        None if draft.name is None else collapse(draft.name),
        None if draft.route is None else unfold(draft.route),
        b"MISSING_MAILBOX" if draft.mailbox is None else unfold(draft.mailbox),
        unfold(draft.host) if draft.host else b"MISSING_DOMAIN",
    )


class _Addresses:
    """The grammar of RFC 5322 3.4 over one cursor."""

    def __init__(self, cursor: Cursor, found: list[Address]) -> None:
        self.c = cursor
        self.found = found

    def address(self, limit: int) -> Next:
        """address = mailbox / group"""
        start = self.c.pos
        behind = self._group(limit)
        if behind is Next.BROKEN:
            self.c.pos = start
            behind = self._mailbox()
        return behind

    def _group(self, limit: int) -> Next:
        """group = display-name ":" [group-list] ";"; BROKEN when this is no group."""
        c = self.c
        words: list[bytes] = []
        if c.phrase(words) is not Next.MORE or c.peek() != 0x3A:
            return Next.BROKEN
        c.pos += 1
        behind = c.skip_cfws()
        self.found.append(Address(mailbox=collapse(b"".join(words))))
        if behind is Next.MORE and c.peek() != 0x3B:
            while len(self.found) < limit:
                self._mailbox()
                if c.peek() != 0x2C:
                    break
                c.pos += 1
                if c.skip_cfws() is not Next.MORE:
                    behind = Next.BROKEN
                    break
        if behind is not Next.BROKEN:
            if c.peek() == 0x3B:
                c.pos += 1
                behind = c.skip_cfws()
            else:
                behind = Next.BROKEN
        self.found.append(Address())
        return Next.END if behind is Next.END else Next.MORE

    def _mailbox(self) -> Next:
        """mailbox = name-addr / addr-spec"""
        start = self.c.pos
        draft = _Draft()
        behind = self._name_addr(draft)
        if behind is Next.BROKEN:
            self.c.pos = start
            draft = _Draft()
            behind = self._addr_spec(draft)
        self.found.append(_fixed(draft))
        return behind

    def _name_addr(self, draft: _Draft) -> Next:
        c = self.c
        words: list[bytes] = []
        if c.phrase(words) is not Next.MORE or c.peek() != 0x3C:
            return Next.BROKEN
        draft.name = b"".join(words) or None
        if self._angle_addr(draft) is Next.BROKEN:
            draft.host = b"SYNTAX_ERROR"
        return Next.MORE if c.pos < c.end else Next.END

    def _angle_addr(self, draft: _Draft) -> Next:
        """angle-addr = "<" [obs-route] addr-spec ">" """
        c = self.c
        c.pos += 1
        if c.skip_cfws() is not Next.MORE:
            return Next.BROKEN
        if c.peek() == 0x40:
            if self._route(draft) and c.peek() == 0x3A:
                c.pos += 1
            else:
                draft.route = b"INVALID_ROUTE"
                if c.pos >= c.end:
                    return Next.BROKEN
            if c.skip_cfws() is not Next.MORE:
                return Next.BROKEN
        if c.peek() != 0x3E:
            if self._local_part(draft, []) is not Next.MORE:
                return Next.BROKEN
            if c.peek() == 0x40 and self._domain(draft) is not Next.MORE:
                return Next.BROKEN
        if c.peek() != 0x3E:
            return Next.BROKEN
        c.pos += 1
        return c.skip_cfws()

    def _route(self, draft: _Draft) -> bool:
        """obs-domain-list = *("," / CFWS) "@" domain *("," [CFWS] ["@" domain]) (RFC 5322 4.4)"""
        c = self.c
        hops: list[bytes] = []
        while c.peek() == 0x40:
            hops.append(b",@" if hops else b"@")
            if c.domain(hops) is not Next.MORE:
                return False
            while c.skip_cfws() is Next.MORE and c.peek() == 0x2C:
                c.pos += 1
        draft.route = b"".join(hops)
        return c.pos < c.end

    def _local_part(self, draft: _Draft, words: list[bytes]) -> Next:
        """A quoted string, or atoms with dots wherever people put them; what was read before it broke is in `words`."""
        behind = self.c.quoted_string(words) if self.c.peek() == 0x22 else self._dotted(words)
        if behind is not Next.BROKEN:
            draft.mailbox = b"".join(words)
        return behind

    def _dotted(self, words: list[bytes]) -> Next:
        c = self.c
        behind = Next.BROKEN
        while True:
            while c.peek() == 0x2E:
                words.append(b".")
                c.pos += 1
                if c.pos >= c.end:
                    return Next.END
                behind = Next.MORE
            if c.peek() == 0x40:
                return behind
            behind = c.atom(words)
            if behind is not Next.MORE or c.peek() != 0x2E:
                return behind

    def _domain(self, draft: _Draft) -> Next:
        words: list[bytes] = []
        behind = self.c.domain(words)
        if behind is not Next.BROKEN:
            draft.host = b"".join(words)
        return behind

    def _addr_spec(self, draft: _Draft) -> Next:
        """addr-spec = local-part "@" domain, or a bare word, which is a mailbox alone and a name with company."""
        c = self.c
        c.comment = b""
        quoted = c.peek() == 0x22
        local: list[bytes] = []
        behind = self._local_part(draft, local)
        at_domain = behind is not Next.END and c.peek() == 0x40
        if at_domain:
            after = self._domain(draft)
            if after is not Next.MORE:
                behind = after
        if c.comment:
            draft.name = c.comment
        elif not at_domain:
            words: list[bytes] = []
            c.phrase(words)
            rest = b"".join(words)
            if rest:
                draft.name = b"".join(local) + b" " + rest
                draft.mailbox = None
            elif quoted and draft.mailbox is not None:
                draft.name, draft.mailbox = draft.mailbox, None
            return Next.BROKEN
        return behind
