"""What the standby announces (RFC 9051 7.2.2): only what it does."""

from __future__ import annotations

from relay.proto.imap.capabilities import BASIC

OFFERS: frozenset[str] = BASIC
"""What the standby understands (`proto.imap.capabilities`)."""

_ALWAYS = "IMAP4rev1 ID ENABLE"
_BEFORE_LOGIN = "LITERAL- SASL-IR"
"""RFC 7888 5: a stranger's non-synchronising literals are small ones."""
_AFTER_LOGIN = "LITERAL+ IDLE NAMESPACE CHILDREN UNSELECT UIDPLUS"


def before_login(*, starttls: bool, mechanisms: tuple[str, ...]) -> bytes:
    """For the greeting and for CAPABILITY before login, as `CAPABILITY ...`; no mechanisms = nobody logs in here."""
    words = [_ALWAYS, _BEFORE_LOGIN]
    if starttls:
        words.append("STARTTLS")
    words += [f"AUTH={name}" for name in mechanisms] or ["LOGINDISABLED"]
    return f"CAPABILITY {' '.join(words)}".encode("ascii")


def after_login() -> bytes:
    """After login, as `CAPABILITY ...`."""
    return f"CAPABILITY {_ALWAYS} {_AFTER_LOGIN}".encode("ascii")
