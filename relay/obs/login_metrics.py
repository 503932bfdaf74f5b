"""What is counted of logins, by the IMAP and the submission front alike."""

from __future__ import annotations

from typing import Literal, get_args

from prometheus_client import Counter, Histogram

from relay.obs.bounds import FAST
from relay.obs.instruments import Family, Maker

LoginSource = Literal["primary", "remembered", "configured", "token", "none"]
LoginResult = Literal["ok", "refused", "unavailable", "throttled"]
LoginReason = Literal["none", "mismatch", "nothing_known", "revoked", "throttled"]
KeyFetch = Literal["ok", "failed"]


class LoginMetrics:
    """Password checks, whoever asked."""

    def __init__(self, make: Maker) -> None:
        self.attempts: Family[tuple[LoginSource, LoginResult, LoginReason], Counter] = make.counters(
            "relay_login_attempts_total",
            "Logins by who decided, what the client was told, and why. A rise of 'mismatch' and 'throttled' is a "
            "password attack or a password change; users of 'nothing_known' could not log in because nothing was "
            "remembered of them: raise login.max_age.",
            source=get_args(LoginSource),
            result=get_args(LoginResult),
            reason=get_args(LoginReason),
        )
        self.key_fetches: Family[KeyFetch, Counter] = make.counters(
            "relay_login_key_fetches_total",
            "Fetches of the token issuer's keys. Only 'failed' for hours: tokens are judged by kept keys until "
            "login.oauth.keys_max_age, and a key that the issuer rotates in meanwhile is not known.",
            result=get_args(KeyFetch),
        )
        self.verify_seconds: Histogram = make.histogram(
            "relay_login_verify_seconds",
            "Time of one password check, queueing included. High: a reconnect storm; raise login.verify_concurrency.",
            FAST,
        )
