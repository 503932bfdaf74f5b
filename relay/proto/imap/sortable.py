"""What SORT and THREAD look at, from the header of a message (RFC 5256 2, 3). Never raises; linear in the header."""

from __future__ import annotations

from collections.abc import Set

from relay.proto.imap import dates, text
from relay.proto.imap.sorting import By, Sortable, base_subject, collate
from relay.proto.imap.threads import Threadable, message_ids, references
from relay.proto.mime.envelope import parse_addresses
from relay.proto.mime.header import FieldFinder

_FIELDS = FieldFinder((b"cc", b"date", b"from", b"in-reply-to", b"message-id", b"references", b"subject", b"to"))
_LONGEST_SUBJECT = 10_000
"""Octets of a Subject that count."""


def _values(header: bytes) -> dict[bytes, bytes]:
    """The first value of each field that matters here."""
    found: dict[bytes, bytes] = {}
    for field in _FIELDS.find(header, text.MOST_FIELDS):
        found.setdefault(field.name, header[field.value : field.end])
    return found


def sortable(number: int, header: bytes, *, arrival: float, size: int, by: Set[By]) -> Sortable:
    """With those values that `by` asks for; `number` is what the answer names the message by."""
    values = _values(header)
    return Sortable(
        number,
        arrival=arrival,
        sent=_sent(values, arrival) if By.DATE in by else 0.0,
        size=size,
        subject=collate(base_subject(_subject(values)).text) if By.SUBJECT in by else "",
        from_=_local_part(values, b"from") if By.FROM in by else "",
        to=_local_part(values, b"to") if By.TO in by else "",
        cc=_local_part(values, b"cc") if By.CC in by else "",
    )


def threadable(number: int, header: bytes, *, arrival: float) -> Threadable:
    """For either algorithm."""
    values = _values(header)
    subject = base_subject(_subject(values))
    own = message_ids(values.get(b"message-id", b""))
    return Threadable(
        Sortable(number, sent=_sent(values, arrival), subject=collate(subject.text)),
        is_reply=subject.changed,
        message_id=own[0] if own else None,
        references=references(values.get(b"references"), values.get(b"in-reply-to")),
    )


def _sent(values: dict[bytes, bytes], arrival: float) -> float:
    """The Date header, or the arrival where it says nothing (RFC 5256 2.2)."""
    raw = values.get(b"date")
    moment = None if raw is None else dates.header_moment(text.value(raw))
    return arrival if moment is None else moment


def _subject(values: dict[bytes, bytes]) -> str:
    return text.value(values.get(b"subject", b"")[:_LONGEST_SUBJECT])


def _local_part(values: dict[bytes, bytes], field: bytes) -> str:
    """Of the first address (RFC 5256 3); empty where there is none."""
    first = parse_addresses(values.get(field, b""), 1)
    return collate((first[0].mailbox or b"").decode("utf-8", "replace")) if first else ""
