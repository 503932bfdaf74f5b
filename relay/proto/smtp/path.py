"""Mailboxes as MAIL and RCPT write them (RFC 5321 4.1.2, RFC 6531 3.3).

The text after `FROM:` or `TO:` enters; the address as received (quotes included, source route dropped) and what
follows the path leave. Linear in the length of the text.

Wider than the grammar in two places, because mail that the primary takes must not fail at its relay: dots may stand
anywhere in an unquoted local part (`a..b@docomo.ne.jp` exists), and labels may hold `_` and end with the root's dot.
"""

from __future__ import annotations

import ipaddress
import re

LONGEST_PATH = 512
"""Octets. RFC 5321 4.5.3.1.3 asks for 256 at least; UTF-8 takes more."""
LONGEST_DOMAIN = 255
"""Octets (RFC 5321 4.5.3.1.2)."""

_WIDE = "\u00a0-\U0010ffff"
_LOCAL = rf"""[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~.{_WIDE}-]+|"(?:[\x20\x21\x23-\x5b\x5d-\x7e{_WIDE}]|\\[\x20-\x7e])*\""""
_NAME = rf"[A-Za-z0-9_{_WIDE}-]+(?:\.[A-Za-z0-9_{_WIDE}-]+)*"
_DOMAIN = rf"{_NAME}\.?|\[[\x21-\x5a\x5e-\x7e]+\]"
# RFC 5321 4.1.2: A-d-l MUST BE accepted, SHOULD NOT be generated, and SHOULD be ignored.
_ROUTE = rf"(?:@{_NAME}(?:,@{_NAME})*:)?"
_PATH = re.compile(rf"<{_ROUTE}({_LOCAL})@({_DOMAIN})>")
_POSTMASTER = re.compile(r"<(postmaster)>", re.IGNORECASE)
_QUOTED_PAIR = re.compile(r"\\(.)")
_GENERAL_LITERAL = re.compile(r"[A-Za-z0-9-]*[A-Za-z0-9]:[\x21-\x5a\x5e-\x7e]+")


def parse_path(text: str, *, null: bool, postmaster: bool) -> tuple[str, str]:
    """Address and the rest of the text; ValueError when there is no path. `null` allows `<>`, which gives "".

    `postmaster` allows the bare `<Postmaster>` of RFC 5321 4.1.1.3.
    """
    text = text.lstrip(" ")
    if null and text.startswith("<>"):
        return "", text[2:]
    if postmaster and (bare := _POSTMASTER.match(text)):
        return bare[1], text[bare.end() :]
    match = _PATH.match(text)
    if match is None:
        raise ValueError("not a path")
    local, domain = match[1], match[2]
    if len(match[0].encode()) > LONGEST_PATH or len(domain.encode()) > LONGEST_DOMAIN:
        raise ValueError("path too long")
    if domain.startswith("["):
        _check_literal(domain[1:-1])
    elif any(label.startswith("-") or label.endswith("-") for label in domain.split(".")):
        raise ValueError("not a domain")
    return f"{local}@{domain}", text[match.end() :]


def is_literal(domain: str) -> bool:
    """Whether a domain is an address literal such as `[192.0.2.1]`."""
    return domain.startswith("[")


def unquoted(local: str) -> str:
    """What a local part means without its quotes (RFC 5321 4.1.2: `"Joe"` is `Joe`)."""
    if len(local) < 2 or not (local.startswith('"') and local.endswith('"')):
        return local
    return _QUOTED_PAIR.sub(r"\1", local[1:-1])


def _check_literal(literal: str) -> None:
    # RFC 5321 4.1.3
    if literal[:5].lower() == "ipv6:":
        ipaddress.IPv6Address(literal[5:])
    elif literal[:1].isdigit() and ":" not in literal:
        ipaddress.IPv4Address(literal)
    elif _GENERAL_LITERAL.fullmatch(literal) is None:
        raise ValueError("not an address literal")
