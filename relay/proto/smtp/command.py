"""Command lines of an SMTP client as values (RFC 5321 4.1.1).

A line without its CRLF enters; verb and argument, or the parts of MAIL, RCPT and BDAT leave. What cannot be read
raises `CommandFault`, which carries the reply. Nothing here knows the state of the session.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import cast

import msgspec

from relay.core.envelope import BodyType, Recipient
from relay.proto.smtp.parameters import MAIL, RCPT, fault, parse_parameters
from relay.proto.smtp.path import parse_path

LONGEST_LINE = 4096
"""Octets with CRLF. RFC 5321 4.5.3.1.4 asks for 512; MAIL and RCPT with every extension above need about 2,000."""
LONGEST_AUTH_LINE = 12_288 + 64
"""RFC 4954 4: base64 of 12,288 octets, and the verb before it."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_VERB = re.compile(r"[A-Za-z][A-Za-z0-9]{0,15}")
_GREETING_NAME = re.compile(r"[!-~]{1,255}")
_BDAT = re.compile(r"(\d{1,20})( +LAST)?", re.IGNORECASE)


class Command(msgspec.Struct, frozen=True):
    """A verb in upper case and what follows it, without blanks around."""

    verb: str
    argument: str


class MailCommand(msgspec.Struct, frozen=True):
    """MAIL (RFC 5321 4.1.1.2)."""

    reverse_path: str
    size: int | None = None
    """Declared, in octets (RFC 1870)."""
    body: BodyType = BodyType.SEVEN_BIT
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None


class Chunk(msgspec.Struct, frozen=True):
    """BDAT (RFC 3030 2): octets that follow the line."""

    size: int
    last: bool


def parse_line(line: bytes) -> Command:
    """Split a line into verb and argument; the verb need not be one that exists."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise fault(500, "5.5.2 Syntax error: not UTF-8") from None
    if _CONTROLS.search(text):
        raise fault(500, "5.5.2 Syntax error: control character")
    verb, _, argument = text.partition(" ")
    if _VERB.fullmatch(verb) is None:
        raise fault(500, "5.5.2 Syntax error: no command")
    return Command(verb.upper(), argument.strip(" "))


def parse_greeting(argument: str) -> str:
    """The name that HELO or EHLO gives. Its form is not judged: many honest clients give odd ones."""
    if _GREETING_NAME.fullmatch(argument) is None:
        raise fault(501, "5.5.4 A host name or address literal is needed")
    return argument


def parse_mail(argument: str, offered: Collection[str]) -> MailCommand:
    """`FROM:<path> [parameters]`; `offered` are the EHLO keywords in force, empty after HELO."""
    text = _after("FROM:", argument)
    try:
        address, rest = parse_path(text, null=True, postmaster=False)
    except ValueError:
        raise fault(553, "5.1.7 Syntax error in reverse-path") from None
    values = parse_parameters(rest, MAIL, offered)
    smtputf8 = "SMTPUTF8" in values
    _check_ascii(address, smtputf8)
    return MailCommand(
        reverse_path=address,
        size=cast("int | None", values.get("SIZE")),
        body=BodyType(cast("str", values.get("BODY", BodyType.SEVEN_BIT))),
        smtputf8=smtputf8,
        ret=cast("str | None", values.get("RET")),
        envid=cast("str | None", values.get("ENVID")),
    )


def parse_rcpt(argument: str, offered: Collection[str], *, smtputf8: bool) -> Recipient:
    """`TO:<path> [parameters]`; `smtputf8` is what MAIL said."""
    text = _after("TO:", argument)
    try:
        address, rest = parse_path(text, null=False, postmaster=True)
    except ValueError:
        raise fault(553, "5.1.3 Syntax error in forward-path") from None
    values = parse_parameters(rest, RCPT, offered)
    _check_ascii(address, smtputf8)
    return Recipient(
        address=address,
        notify=cast("tuple[str, ...]", values.get("NOTIFY", ())),
        orcpt=cast("str | None", values.get("ORCPT")),
    )


def parse_bdat(argument: str) -> Chunk:
    """`size [LAST]`."""
    match = _BDAT.fullmatch(argument)
    if match is None or not argument.isascii():
        raise fault(501, "5.5.4 Syntax: BDAT size [LAST]")
    return Chunk(int(match[1]), match[2] is not None)


def _after(keyword: str, argument: str) -> str:
    if argument[: len(keyword)].upper() != keyword:
        raise fault(501, f"5.5.4 Syntax: {keyword}<address>")
    return argument[len(keyword) :]


def _check_ascii(address: str, smtputf8: bool) -> None:
    if not smtputf8 and not address.isascii():
        raise fault(553, "5.6.7 Address needs SMTPUTF8")  # RFC 6531 3.5
