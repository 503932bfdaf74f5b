"""What we write ourselves: the Received line, and the report that returns a message to its sender. Pure: no clock.

Fields of the envelope and replies of peers enter, bytes with CRLF leave.

1. No text of a peer can end a line, start a field or close a comment: it is cut to a length, and every character that
   could do so becomes `?` (names) or a blank (text for people).
2. No line is longer than 998 octets, CRLF not counted (RFC 5322 2.1.1); long values are folded at blanks.
3. `for` names the recipient only where there is one: Bcc stays blind (RFC 5321 7.2).
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable
from email.utils import formatdate
from enum import StrEnum

import msgspec

from relay.core.envelope import Envelope, Origin
from relay.core.ids import ItemId
from relay.proto.smtp import xtext

_NAME = re.compile(r"[^A-Za-z0-9.:_\-\[\]]")
_PROTOCOL = re.compile(r"[^A-Za-z0-9]")
_COMMENT = re.compile(r"[^A-Za-z0-9._+/=:\- ]")
_ADDRESS = re.compile(r'[^\s<>()\\";,\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+')
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_FOLD = 76
_LONGEST_WORD = 900
"""Octets of a word that are left in one piece (invariant 2); an address has 320 at most (RFC 5321 4.5.3.1)."""


def received(envelope: Envelope, origin: Origin, item: ItemId, *, hostname: str) -> bytes:
    """The trace line of an accepted message, with CRLF (RFC 5321 4.4)."""
    seen = f"{_name(origin.client_name)} {_literal(origin.client_address)}" if origin.client_name else ""
    lines = [
        f"Received: from {_name(origin.helo)} ({seen or _literal(origin.client_address)})",
        f"\tby {_name(hostname)} with {_PROTOCOL.sub('', origin.protocol)[:32] or 'SMTP'} id {_name(item)}",
    ]
    if origin.tls:
        lines.append(f"\t({_COMMENT.sub('?', origin.tls)[:100]})")
    if len(envelope.recipients) == 1:
        address = envelope.recipients[0].address
        fits = _ADDRESS.fullmatch(address) and len(address.encode()) <= _LONGEST_WORD
        if fits and (envelope.smtputf8 or address.isascii()):
            lines.append(f"\tfor <{address}>")
    lines[-1] += ";"
    lines.append(f"\t{_date(origin.received_at)}")
    return "".join(f"{line}\r\n" for line in lines).encode()


def _date(at: float) -> str:
    """RFC 5322 3.3, in UTC; `-0000` would say that the zone is not known."""
    return _second(int(at))


@functools.lru_cache(maxsize=16)
def _second(at: int) -> str:
    return formatdate(at).replace("-0000", "+0000")


def _name(text: str | None) -> str:
    """A host name or id in the grammar of Received; `unknown` where there is none."""
    return _NAME.sub("?", text or "")[:255] or "unknown"


@functools.lru_cache(maxsize=256)
def _literal(address: str) -> str:
    """Address literal (RFC 5321 4.1.3)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "[unknown]"
    return f"[IPv6:{parsed}]" if isinstance(parsed, ipaddress.IPv6Address) else f"[{parsed}]"


class Action(StrEnum):
    """What became of a recipient (RFC 3464 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


class ReportedRecipient(msgspec.Struct, frozen=True):
    """The per-recipient part of a report."""

    address: str
    action: Action
    status: str
    """RFC 3463 code such as `5.1.1`."""
    orcpt: str | None = None
    """As received: `rfc822;` and xtext."""
    remote_mta: str | None = None
    diagnostic: str | None = None
    """The peer's reply, code first."""
    last_attempt: float | None = None
    will_retry_until: float | None = None


class Report(msgspec.Struct, frozen=True):
    """A delivery status notification (RFC 3464) about one message."""

    reporting_mta: str
    to: str
    """The reverse-path of the message that is reported on."""
    message_id: str
    """Without brackets."""
    date: float
    arrival: float
    recipients: tuple[ReportedRecipient, ...]
    token: str
    """Letters and digits that do not occur in the original: a new item id."""
    envid: str | None = None
    """As received: xtext."""
    utf8: bool = False
    """The message was sent with SMTPUTF8 (RFC 6533)."""
    eight_bit: bool = False
    """The original has 8-bit content."""
    whole: bool = False
    """Return the whole message (RET=FULL), not only its header."""


class Framing(msgspec.Struct, frozen=True):
    """The report without the original: send `head`, then the original (its header or all of it), then `tail`."""

    head: bytes
    tail: bytes


_SUBJECTS = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.DELIVERED: "Your message was delivered",
    Action.RELAYED: "Your message was passed on",
    Action.EXPANDED: "Your message was passed on to a list",
}
_TEXTS = {
    Action.FAILED: "could not be delivered. It will not be tried again.",
    Action.DELAYED: "could not be delivered yet. It will be tried again; there is no need to send it once more.",
    Action.DELIVERED: "was delivered.",
    Action.RELAYED: "was passed on to a system that does not report what became of it.",
    Action.EXPANDED: "was passed on to several recipients.",
}
_ORDER = tuple(_SUBJECTS)


def report(value: Report) -> Framing:
    """A multipart/report around the original (RFC 3464, 6522). Its own reverse-path must be `<>` (RFC 3464 2)."""
    if not value.recipients:
        raise ValueError("a report is about somebody")
    boundary = f"=_{re.sub('[^A-Za-z0-9]', '', value.token)[:60]}"
    worst = min((one.action for one in value.recipients), key=_ORDER.index)
    host = _name(value.reporting_mta)
    top = [
        _field("From", f"Mail Delivery System <MAILER-DAEMON@{host}>"),
        _field("To", f"<{_address(value.to, value.utf8)}>"),
        _field("Subject", _SUBJECTS[worst]),
        _field("Date", _date(value.date)),
        _field("Message-ID", f"<{re.sub(r'[^A-Za-z0-9.@_-]', '', value.message_id)[:200]}>"),
        _field("Auto-Submitted", "auto-replied"),  # RFC 3834 5
        _field("MIME-Version", "1.0"),
        # RFC 6533 4: the report type is the same for both kinds of status part.
        _field("Content-Type", f'multipart/report; report-type=delivery-status; boundary="{boundary}"'),
        "\r\n",
    ]
    body = [
        f"--{boundary}\r\n",
        _field("Content-Type", f"text/plain; charset={'utf-8' if value.utf8 else 'us-ascii'}"),
        _field("Content-Transfer-Encoding", "8bit") if value.utf8 else "",
        "\r\n",
        *_words(value),
        f"\r\n--{boundary}\r\n",
        _field("Content-Type", "message/global-delivery-status" if value.utf8 else "message/delivery-status"),
        _field("Content-Transfer-Encoding", "8bit") if value.utf8 else "",
        "\r\n",
        *_per_message(value),
    ]
    for one in value.recipients:
        body += ["\r\n", *_per_recipient(one, value.utf8)]
    body += [
        f"\r\n--{boundary}\r\n",
        _field("Content-Type", _ORIGINAL[value.utf8, value.whole]),
        _field("Content-Transfer-Encoding", "8bit") if value.utf8 or value.eight_bit else "",
        "\r\n",
    ]
    return Framing("".join((*top, *body)).encode(), f"\r\n--{boundary}--\r\n".encode())


_ORIGINAL = {
    (False, False): "text/rfc822-headers",
    (False, True): "message/rfc822",
    (True, False): "message/global-headers",
    (True, True): "message/global",
}


def _words(value: Report) -> Iterable[str]:
    """The part that people read; it quotes nothing but addresses and the peer's replies."""
    yield f"This is the mail system at {_name(value.reporting_mta)}.\r\n\r\n"
    yield f"Your message of {_date(value.arrival)}\r\n\r\n"
    for one in value.recipients:
        yield f"  to {_address(one.address, value.utf8)}\r\n  {_TEXTS[one.action]}\r\n"
        if one.diagnostic:
            yield "".join(f"  {line}\r\n" for line in _wrap(_text(one.diagnostic, value.utf8), _FOLD - 2))
        yield "\r\n"


def _per_message(value: Report) -> Iterable[str]:
    """RFC 3464 2.2."""
    if value.envid is not None and (envid := _xtext(value.envid)):
        yield _field("Original-Envelope-Id", envid)
    yield _field("Reporting-MTA", f"dns; {_name(value.reporting_mta)}")
    yield _field("Arrival-Date", _date(value.arrival))


def _per_recipient(one: ReportedRecipient, utf8: bool) -> Iterable[str]:
    """RFC 3464 2.3."""
    if one.orcpt is not None:
        kind, _, address = one.orcpt.partition(";")
        if (text := _xtext(address)) and kind.isascii() and kind.replace("-", "").isalnum():
            yield _field("Original-Recipient", f"{kind}; {text}")
    address = _address(one.address, utf8)
    yield _field("Final-Recipient", f"{'rfc822' if address.isascii() else 'utf-8'}; {address}")  # RFC 6533 3
    yield _field("Action", one.action.value)
    status = one.status if re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", one.status) else "5.0.0"
    yield _field("Status", status)
    if one.remote_mta:
        yield _field("Remote-MTA", f"dns; {_name(one.remote_mta)}")
    if one.diagnostic:
        yield _field("Diagnostic-Code", f"smtp; {_text(one.diagnostic, utf8)}")
    if one.last_attempt is not None:
        yield _field("Last-Attempt-Date", _date(one.last_attempt))
    if one.will_retry_until is not None:
        yield _field("Will-Retry-Until", _date(one.will_retry_until))


def _text(text: str, utf8: bool) -> str:
    """Text of a peer on one line, of bounded length."""
    plain = _CONTROLS.sub(" ", text[:2000]).encode("utf-8", "replace").decode()
    return " ".join((plain if utf8 else plain.encode("ascii", "replace").decode()).split())


def _address(address: str, utf8: bool) -> str:
    """An address that cannot leave its brackets; what could becomes `?`."""
    plain = re.sub(r"[\s<>]", "?", _text(address, utf8))
    return plain.encode()[:_LONGEST_WORD].decode("utf-8", "ignore") or "?"


def _xtext(text: str) -> str:
    """Decoded xtext as printable ASCII; empty where it is not xtext (RFC 3464 2.2.1 wants it decoded)."""
    try:
        return _text(xtext.decode(text).decode("ascii", "replace"), utf8=False)
    except ValueError:
        return ""


def _field(name: str, value: str) -> str:
    """One field, folded, with CRLF."""
    return "\r\n\t".join(_wrap(f"{name}: {value}", _FOLD)) + "\r\n"


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters where blanks allow it; words that are far too long are cut apart."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        longest = _LONGEST_WORD if word.isascii() else _LONGEST_WORD // 4
        for at in range(0, max(len(word), 1), longest):
            piece = word[at : at + longest]
            glue = "" if at else " "
            if line and len(line) + len(glue) + len(piece) <= width:
                line += glue + piece
                continue
            if line:
                lines.append(line)
            line = piece
    lines.append(line)
    return lines
