"""Parameters of Content-Type and Content-Disposition (RFC 2045 5.1), with RFC 2231 continuations put together.

`a*0=x; a*1*=y` becomes one parameter `a*`, still percent-encoded and with its charset in front: IMAP shows parameters
as received (RFC 9051 7.5.2), only whole. Where a piece is missing, the pieces are shown as they came.
"""

from __future__ import annotations

import re

from relay.proto.mime.tokens import Cursor, Next, clean

Params = tuple[tuple[bytes, bytes], ...]

_CONTINUED = re.compile(rb"([^*]*)\*(\d{0,9})(\*?)\Z")
_BROKEN_VALUE = re.compile(rb"[^; \t\r\n]*")


def parse_params(cursor: Cursor, *, limit: int) -> Params:
    """Take `; name=value` pairs up to the end of the field, at most `limit`; what is broken is stepped over."""
    plain: list[tuple[bytes, bytes]] = []
    pieces: list[tuple[bytes, int, bool, bytes]] = []
    while cursor.pos < cursor.end and len(plain) + len(pieces) < limit:
        pair = _parse_pair(cursor)
        if pair is None:
            cursor.pos += 1
            continue
        name, value = pair
        match = _CONTINUED.match(name)
        # `a*` is `a*0*` with nothing behind it (RFC 2231 4); `a*1` is a piece as it stands (RFC 2231 3).
        if match is None:
            plain.append(pair)
        elif match[2]:
            pieces.append((match[1], int(match[2]), bool(match[3]), value))
        elif match[3]:
            plain.append(pair)
        else:
            pieces.append((match[1], 0, True, value))
    return tuple(plain) + _join(pieces)


def _parse_pair(cursor: Cursor) -> tuple[bytes, bytes] | None:
    """One pair; None when it is broken (the cursor then stands where that was noticed)."""
    if cursor.peek() != 0x3B:
        return None
    cursor.pos += 1
    if cursor.skip_cfws() is not Next.MORE:
        return None
    name: list[bytes] = []
    if cursor.token(name) is not Next.MORE or cursor.peek() != 0x3D:
        return None
    cursor.pos += 1
    value: list[bytes] = []
    behind = cursor.skip_cfws()
    if behind is Next.MORE:
        here = cursor.peek()
        if here == 0x22:
            behind = cursor.quoted_string(value)
        elif here == 0x3D:
            # `name==?utf-8?b?...?=`: an encoded word that nobody quoted.
            match = _BROKEN_VALUE.match(cursor.data, cursor.pos)
            assert match is not None
            value.append(match[0])
            cursor.pos = match.end()
        else:
            behind = cursor.token(value)
    if behind is Next.BROKEN:
        return None
    return clean(name[0]), clean(b"".join(value))


def _join(pieces: list[tuple[bytes, int, bool, bytes]]) -> Params:
    pieces.sort(key=lambda piece: piece[:2])
    joined: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(pieces):
        name = pieces[at][0]
        folded = name.lower()
        until = at
        while until < len(pieces) and pieces[until][0].lower() == folded:
            until += 1
        run = pieces[at:until]
        at = until
        if any(index != piece[1] for index, piece in enumerate(run)):
            joined.extend((b"%s*%d%s" % (key, index, b"*" if ext else b""), value) for key, index, ext, value in run)
        elif any(piece[2] for piece in run):
            # A literal percent in a plain piece must not read as an escape once it stands beside escaped ones.
            text = b"".join(value if ext else value.replace(b"%", b"%25") for _, _, ext, value in run)
            joined.append((name + b"*", text if run[0][2] else b"''" + text))
        else:
            joined.append((name, b"".join(piece[3] for piece in run)))
    return tuple(joined)
