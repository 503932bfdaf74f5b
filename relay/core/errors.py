"""Errors by whose fault they are. What is not known is temporary: mail waits rather than bounces.

`PeerFault`  the other side broke the protocol or sent something impossible: answer 5xx/BAD, keep serving others.
`Refused`    policy says no, and will say no again: answer 5xx/NO.
`NotNow`     we cannot at the moment (disk, pressure, primary, deadline): answer 4xx/NO [UNAVAILABLE].
`Damaged`    stored bytes do not verify: the item goes to QUARANTINED, the scan goes on.
`ConfigFault` the operator can fix it: names the key, the problem and the remedy.
Anything else is a bug: logged with its trace, answered as `NotNow`.

Each carries `public`, the bland text a peer may see; the exception's own text is for the log and names no secret.
"""

from __future__ import annotations


class RelayError(Exception):
    """Base of everything we raise on purpose."""

    public = "Local problem, try again later"

    def __init__(self, detail: str, *, public: str | None = None) -> None:
        super().__init__(detail)
        if public is not None:
            self.public = public


class PeerFault(RelayError):
    """The other side broke the protocol."""

    public = "Protocol error"


class Refused(RelayError):
    """Policy says no, for good."""

    public = "Refused"


class NotNow(RelayError):
    """We cannot at the moment; the same request may succeed later."""


class Damaged(RelayError):
    """Stored bytes do not verify; never raised across a scan, see `store.api`."""

    public = "Message is not available"


class LeaseLost(RelayError):
    """Somebody else owns the work now; the call that raised this changed nothing."""


class ConfigFault(RelayError):
    """The operator can fix it; the text names the key, the problem and the remedy."""

    public = "Server is misconfigured"
