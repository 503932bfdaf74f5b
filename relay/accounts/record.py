"""The line about a login that came to nothing: for the operator, and for what bans addresses (fail2ban).

It names the client's address and the reason, never the user, the password or the account.
"""

from __future__ import annotations

from typing import Literal

from relay.accounts.login import Reason, Verdict
from relay.obs.records import records

_log = records("login")


def login_failed(
    verdict: Verdict, reason: Reason, *, conn: str, client: str, protocol: Literal["imap", "submission"]
) -> None:
    """`verdict` is what the client is told, `reason` what it was."""
    _log.info("login_failed", conn=conn, client=client, protocol=protocol, result=verdict, reason=reason)
