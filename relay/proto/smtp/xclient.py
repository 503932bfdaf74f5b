"""XCLIENT and XFORWARD: telling the primary who the client is (Postfix's XCLIENT_README and XFORWARD_README).

An `Origin` and the attributes that the server offered enter; command lines with CRLF leave. Values are xtext, so that
nothing a client chose (its HELO, its reverse name) can end the line.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from relay.core.envelope import Origin
from relay.core.ip import parsed
from relay.proto.smtp.xtext import encode

_UNAVAILABLE = "[UNAVAILABLE]"
_TEMPORARILY = "[TEMPUNAVAIL]"
_LONGEST_LINE = 510
_LONGEST_VALUE = 255


def xclient_command(origin: Origin, offered: Collection[str]) -> bytes:
    """One XCLIENT line with what the server understands of NAME ADDR PORT PROTO HELO LOGIN; empty when nothing."""
    attributes = _client(origin) | {"LOGIN": _value(origin.login)}
    if origin.client_name_deferred:
        attributes["NAME"] = _TEMPORARILY  # XFORWARD has no such value: there it would be taken for a name
    words = [f"{name}={value}" for name, value in attributes.items() if name in offered]
    return f"XCLIENT {' '.join(words)}\r\n".encode("ascii") if words else b""


def xforward_commands(origin: Origin, offered: Collection[str], *, ident: str | None = None) -> tuple[bytes, ...]:
    """XFORWARD lines of at most 512 octets each; `ident` is our name of the message."""
    attributes = _client(origin) | {"IDENT": _value(ident), "SOURCE": "REMOTE"}
    lines: list[str] = []
    for name, value in attributes.items():
        if name not in offered:
            continue
        word = f" {name}={value}"
        if lines and len(lines[-1]) + len(word) <= _LONGEST_LINE:
            lines[-1] += word
        else:
            lines.append("XFORWARD" + word)
    return tuple(f"{line}\r\n".encode("ascii") for line in lines)


def _client(origin: Origin) -> dict[str, str]:
    return {
        "NAME": _value(origin.client_name),
        "ADDR": _address(origin.client_address),
        "PORT": str(origin.client_port) if origin.client_port else _UNAVAILABLE,
        "PROTO": "SMTP" if origin.protocol == "SMTP" else "ESMTP",
        "HELO": _value(origin.helo),
    }


def _value(text: str | None) -> str:
    if not text:
        return _UNAVAILABLE
    encoded = encode(text)
    return encoded if len(encoded) <= _LONGEST_VALUE else _UNAVAILABLE


def _address(text: str) -> str:
    address = parsed(text)
    if address is None:
        return _UNAVAILABLE
    return f"IPV6:{address}" if isinstance(address, ipaddress.IPv6Address) else str(address)
