"""Parameters of MAIL and RCPT (RFC 5321 4.1.2 and the extensions that define them).

The text after the path enters; values by keyword leave, their case kept. Which keywords exist is one table; which are
allowed depends on what EHLO offered. ENVID and ORCPT stay in their wire form (xtext): they are passed on, not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from types import MappingProxyType

from relay.core.envelope import BodyType
from relay.core.errors import PeerFault
from relay.core.reply import Reply, reply
from relay.proto.smtp.xtext import is_xtext

Value = int | str | bool | tuple[str, ...]
Reader = Callable[[str], Value]

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_VALUE = re.compile(r"[!-~\u00a0-\U0010ffff]+")
_ORCPT_TYPE = re.compile(r"[A-Za-z0-9-]+")
_MOST_PARAMETERS = 20


class CommandFault(PeerFault):
    """A command that cannot be carried out as sent; carries the reply that says why."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(answer.text, public=answer.text)
        self.reply = answer


def fault(code: int, text: str) -> CommandFault:
    """A `CommandFault` with a one-line reply."""
    return CommandFault(reply(code, text))


def _size(value: str) -> int:
    # RFC 1870 4: up to 20 digits
    if not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise ValueError("SIZE")
    return int(value)


def _body(value: str) -> str:
    body = BodyType(value.upper())
    if body is BodyType.BINARY:
        raise ValueError("BINARYMIME is not offered")  # RFC 3030 3: only where EHLO said so
    return body.value


def _ret(value: str) -> str:
    # RFC 3461 4.3
    if value.upper() not in {"FULL", "HDRS"}:
        raise ValueError("RET")
    return value.upper()


def _envid(value: str) -> str:
    # RFC 3461 4.4
    if len(value) > 100 or not is_xtext(value):
        raise ValueError("ENVID")
    return value


def _auth(value: str) -> str:
    # RFC 4954 5: `<>` or xtext; read for its syntax, trusted from nobody
    if value != "<>" and not is_xtext(value):
        raise ValueError("AUTH")
    return value


def _notify(value: str) -> tuple[str, ...]:
    # RFC 3461 4.1
    wishes = tuple(value.upper().split(","))
    allowed = {"SUCCESS", "FAILURE", "DELAY"}
    if wishes != ("NEVER",) and not (set(wishes) <= allowed and len(set(wishes)) == len(wishes)):
        raise ValueError("NOTIFY")
    return wishes


def _orcpt(value: str) -> str:
    # RFC 3461 4.2; RFC 6533 3 adds the utf-8 address type, whose value may hold UTF-8 as it is
    kind, separator, address = value.partition(";")
    plain = is_xtext(address) or kind.lower() == "utf-8"
    if len(value) > 500 or not (separator and address and plain and _ORCPT_TYPE.fullmatch(kind)):
        raise ValueError("ORCPT")
    return value


def _flag(_: str) -> bool:
    return True


MAIL: MappingProxyType[str, tuple[str, Reader]] = MappingProxyType(
    {
        "SIZE": ("SIZE", _size),
        "BODY": ("8BITMIME", _body),
        "SMTPUTF8": ("SMTPUTF8", _flag),
        "RET": ("DSN", _ret),
        "ENVID": ("DSN", _envid),
        "AUTH": ("AUTH", _auth),
    }
)
"""Keyword: the EHLO keyword that offers it, and the reader of its value."""

RCPT: MappingProxyType[str, tuple[str, Reader]] = MappingProxyType(
    {"NOTIFY": ("DSN", _notify), "ORCPT": ("DSN", _orcpt)}
)

_FLAGS = frozenset({"SMTPUTF8"})
"""Keywords that take no value; all others need one."""


def parse_parameters(
    text: str, known: MappingProxyType[str, tuple[str, Reader]], offered: Collection[str]
) -> dict[str, Value]:
    """Values by upper-case keyword; `CommandFault` with 501 5.5.4 (bad) or 555 5.5.4 (unknown)."""
    if text and not text.startswith(" "):
        raise fault(501, "5.5.4 Syntax error after the path")
    values: dict[str, Value] = {}
    words = text.split()
    if len(words) > _MOST_PARAMETERS:
        raise fault(501, "5.5.4 Too many parameters")
    for word in words:
        name, separator, value = word.partition("=")
        keyword = name.upper()
        if _KEYWORD.fullmatch(name) is None or (separator and _VALUE.fullmatch(value) is None):
            raise fault(501, "5.5.4 Syntax error in parameter")
        offer, read = known.get(keyword, ("", _flag))
        if offer not in offered:
            raise fault(555, "5.5.4 Parameter not recognized or not offered")  # RFC 5321 4.1.1.11
        if keyword in values:
            raise fault(501, f"5.5.4 {keyword} was given twice")
        if bool(separator) == (keyword in _FLAGS):
            raise fault(501, f"5.5.4 {keyword} {'takes no' if separator else 'needs a'} value")
        try:
            values[keyword] = read(value)
        except ValueError:
            raise fault(501, f"5.5.4 Bad value of {keyword}") from None
    return values
