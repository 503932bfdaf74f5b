"""What is counted of logins, by the IMAP and the submission front alike."""

from __future__ import annotations

from typing import Literal, get_args

from prometheus_client import Counter, Histogram

from relay.obs.bounds import FAST
from relay.obs.instruments import Family, Maker

LoginSource = Literal["primary", "remembered", "configured", "token", "none"]
LoginResult = Literal["ok", "refused", "unavailable", "throttled"]
KeyFetch = Literal["ok", "failed"]


class LoginMetrics:
    """Password checks, whoever asked."""

    def __init__(self, make: Maker) -> None:
        self.attempts: Family[tuple[LoginSource, LoginResult], Counter] = make.counters(
            "relay_login_attempts_total",
            "Logins by who decided and how. A rise of 'refused' is a password attack or a password change; "
            "'unavailable' users could not log in because nothing was remembered: raise login.max_age.",
            source=get_args(LoginSource),
            result=get_args(LoginResult),
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
