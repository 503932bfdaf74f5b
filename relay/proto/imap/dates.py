"""Dates of IMAP (RFC 9051 9 date, date-time) and of mail headers, to and from Unix seconds. Pure arithmetic."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NUMBER = {name.lower(): index for index, name in enumerate(_MONTHS, 1)}
_DATE = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})\Z")
_DATE_TIME = re.compile(r"([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\Z")
_HEADER_DATE = re.compile(r"(?:[A-Za-z]{3,9}\s*,\s*)?(\d{1,2})\s+([A-Za-z]{3})[a-z]*\s+(\d{2,4})(?:\s|\Z)")
_HEADER_MOMENT = re.compile(
    _HEADER_DATE.pattern.removesuffix(r"(?:\s|\Z)")
    + r"(?:\s+(\d{1,2})\s*:\s*(\d{2})(?:\s*:\s*(\d{2}))?)?(?:\s*([+-]\d{4}|[A-Za-z]{1,5})(?![A-Za-z0-9]))?"
)
_ZONES = {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}
"""RFC 5322 4.3 obs-zone, hours; all others are UTC, or nobody knows."""


def date_time(unix: float) -> bytes:
    """`17-Jul-1996 02:44:25 +0000` (without the quotes); always in UTC, so that every node says the same."""
    moment = datetime.fromtimestamp(int(unix), UTC)
    return (
        f"{moment.day:02d}-{_MONTHS[moment.month - 1]}-{moment.year:04d} "
        f"{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d} +0000"
    ).encode("ascii")


def parse_date_time(text: bytes) -> float | None:
    """Unix seconds of a date-time; None when it is none."""
    found = _DATE_TIME.match(text.decode("ascii", "replace"))
    if found is None:
        return None
    month = _NUMBER.get(found[2].lower())
    if month is None:
        return None
    offset = timedelta(hours=int(found[8]), minutes=int(found[9]))
    try:
        zone = timezone(-offset if found[7] == "-" else offset)
        moment = datetime(
            int(found[3]), month, int(found[1]), int(found[4]), int(found[5]), min(int(found[6]), 59), tzinfo=zone
        )
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None


def parse_date(text: bytes) -> date | None:
    """A SEARCH date (`1-Feb-2026`); None when it is none."""
    found = _DATE.match(text.decode("ascii", "replace"))
    return _day(found) if found else None


def header_date(text: str) -> date | None:
    """The calendar day that a Date header names, "disregarding time and timezone" (RFC 9051 6.4.4 SENTON)."""
    found = _HEADER_DATE.match(text.strip())
    return _day(found) if found else None


def header_moment(text: str) -> float | None:
    """Unix seconds of a Date header; None when it names no day.

    RFC 5256 2.2: a time that cannot be read is midnight, a zone that cannot be read is UTC.
    """
    found = _HEADER_MOMENT.match(text.strip())
    day = None if found is None else _day(found)
    if found is None or day is None:
        return None
    hour, minute, second = (int(part or 0) for part in found.group(4, 5, 6))
    if hour > 23 or minute > 59 or second > 60:
        hour = minute = second = 0
    moment = datetime(day.year, day.month, day.day, hour, minute, min(second, 59), tzinfo=UTC)
    return moment.timestamp() - _offset(found[7] or "")


def _offset(zone: str) -> float:
    """Seconds east of Greenwich."""
    if zone[:1] in ("+", "-"):
        hours, minutes = int(zone[1:3]), int(zone[3:5])
        if hours > 23 or minutes > 59:
            return 0.0
        return (hours * 3600.0 + minutes * 60.0) * (-1 if zone[0] == "-" else 1)
    return _ZONES.get(zone.upper(), 0) * 3600.0


def _day(found: re.Match[str]) -> date | None:
    month = _NUMBER.get(found[2].lower())
    if month is None:
        return None
    year = int(found[3])
    if year < 50:  # RFC 5322 4.3 obs-year
        year += 2000
    elif year < 1000:
        year += 1900
    try:
        return date(year, month, int(found[1]))
    except ValueError:
        return None


def utc_day(unix: float) -> date:
    """The day of an INTERNALDATE, in the zone in which we show it."""
    return datetime.fromtimestamp(int(unix), UTC).date()
