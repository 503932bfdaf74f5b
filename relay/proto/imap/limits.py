"""How much a peer may ask us to hold, as values: the strict set before login, the wide one after it."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one command (or, on the client side, of one response). Octets unless said otherwise."""

    line: int = 65_536
    """One line without its literals. RFC 7162 4 asks for 8,192 at least; Dovecot takes 65,536."""
    literal: int = 65_536
    """One literal that is kept in memory as an argument."""
    command: int = 262_144
    """All lines and kept literals of one command together."""
    stream: int = 0
    """One literal that is passed on in pieces (APPEND); 0 = none is taken."""
    tokens: int = 20_000
    """Tokens of one command, lists included (count)."""
    depth: int = 32
    """Nested parentheses (count)."""

    def with_stream(self, octets: int) -> Limits:
        """The same with another bound for streamed literals."""
        return msgspec.structs.replace(self, stream=octets)


BEFORE_LOGIN = Limits(line=16_384, literal=8_192, command=32_768, tokens=100, depth=4)
"""A stranger's bounds: room for an OAuth token in AUTHENTICATE and for the 30 pairs of ID (RFC 2971 3.3)."""

AFTER_LOGIN = Limits()
"""A user's bounds; `stream` comes from the configuration."""

RESPONSES = Limits(line=1_048_576, literal=65_536, command=4_194_304, stream=1 << 62, tokens=200_000, depth=200)
"""What a client takes from a server: long FETCH and SEARCH lines are legal there."""
