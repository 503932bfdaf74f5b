"""The PROXY protocol header, versions 1 and 2 (haproxy's proxy-protocol.txt), shared by all listeners.

Bytes enter as they come; `NeedMore`, `Header` or `Invalid` leaves. What follows the header is in `rest`.

1. Bounded: 107 octets for version 1 (its own limit), 16 + 4,096 for version 2.
2. The answer does not depend on how the stream was cut; after `Header` or `Invalid` it is final.
3. Whether the peer may send a header at all is the caller's decision: only from trusted networks.
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from typing import TypeAlias

import msgspec

SIGNATURE_V2 = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST_V1 = 107
LONGEST_V2 = 16 + 4096

_V1 = re.compile(rb"PROXY (?:UNKNOWN(?: [^\r\n\0]*)?|(TCP[46]) (\S+) (\S+) (\d{1,5}) (\d{1,5}))\r\n")


class Family(StrEnum):
    """What kind of address the header holds."""

    INET = "inet"
    INET6 = "inet6"
    UNIX = "unix"
    UNKNOWN = "unknown"


class Header(msgspec.Struct, frozen=True):
    """Who the client is. `local` = the proxy speaks for itself (a health check): use the connection's own address."""

    address: str
    """IP literal without brackets; empty for UNIX, UNKNOWN and local."""
    port: int
    family: Family
    local: bool


class NeedMore(msgspec.Struct, frozen=True):
    """The header is not complete."""


class Invalid(msgspec.Struct, frozen=True):
    """Not a PROXY header: close the connection without a word."""

    problem: str


Parsed: TypeAlias = Header | NeedMore | Invalid

_MORE = NeedMore()


class ProxyParser:
    """Reads one header."""

    __slots__ = ("_answer", "_buffer", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: Parsed = _MORE
        self.rest = b""

    def feed(self, data: bytes) -> Parsed:
        """Take more bytes; after the final answer they are added to `rest`."""
        if not isinstance(self._answer, NeedMore):
            self.rest += data
            return self._answer
        self._buffer += data
        if SIGNATURE_V2.startswith(self._buffer[: len(SIGNATURE_V2)]):
            self._answer = self._version2()
        elif b"PROXY ".startswith(self._buffer[:6]):
            self._answer = self._version1()
        else:
            self._answer = Invalid("no signature")
        if not isinstance(self._answer, NeedMore):
            self._buffer = b""
        return self._answer

    def _version1(self) -> Parsed:
        end = self._buffer.find(b"\n", 0, LONGEST_V1)
        if end < 0:
            return _MORE if len(self._buffer) < LONGEST_V1 else Invalid("version 1 line too long")
        match = _V1.fullmatch(self._buffer, 0, end + 1)
        self.rest = self._buffer[end + 1 :]
        if match is None:
            return Invalid("version 1 line is malformed")
        if match[1] is None:
            return Header("", 0, Family.UNKNOWN, local=False)
        try:
            kind = ipaddress.IPv4Address if match[1] == b"TCP4" else ipaddress.IPv6Address
            source, _ = kind(match[2].decode("ascii")), kind(match[3].decode("ascii"))
        except ValueError:
            return Invalid("version 1 address is malformed")
        port = int(match[4])
        if port > 65535 or int(match[5]) > 65535:
            return Invalid("version 1 port is out of range")
        return Header(str(source), port, Family.INET if match[1] == b"TCP4" else Family.INET6, local=False)

    def _version2(self) -> Parsed:
        buffer = self._buffer
        if len(buffer) < 16:
            return _MORE
        version, command = buffer[12] >> 4, buffer[12] & 15
        if version != 2 or command > 1:
            return Invalid("version 2 command is unknown")
        size = 16 + int.from_bytes(buffer[14:16], "big")
        if size > LONGEST_V2:
            return Invalid("version 2 header too long")
        if len(buffer) < size:
            return _MORE
        self.rest = buffer[size:]
        if command == 0:
            return Header("", 0, Family.UNKNOWN, local=True)
        family, body = buffer[13] >> 4, buffer[16:size]
        if family == 1:
            if len(body) < 12:
                return Invalid("version 2 addresses are cut short")
            return Header(str(ipaddress.IPv4Address(body[:4])), int.from_bytes(body[8:10], "big"), Family.INET, False)
        if family == 2:
            if len(body) < 36:
                return Invalid("version 2 addresses are cut short")
            return Header(
                str(ipaddress.IPv6Address(body[:16])), int.from_bytes(body[32:34], "big"), Family.INET6, False
            )
        if family == 3 and len(body) < 216:
            return Invalid("version 2 addresses are cut short")
        return Header("", 0, Family.UNIX if family == 3 else Family.UNKNOWN, local=False)
