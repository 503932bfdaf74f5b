"""What can go wrong between us and the primary, told apart by one question: may the message have been delivered?"""

from __future__ import annotations

from relay.core.errors import NotNow
from relay.core.reply import Reply


class NoContact(NotNow):
    """Nothing was sent after which a delivery is possible: safe to try again.

    `reason` is bland (no address, no text of the peer's) and fit for logs, metrics and evidence.
    """

    def __init__(self, reason: str, *, evidence: bool = True, in_data: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.evidence = evidence
        """Whether it says something about the primary's health; False when only our own limits were in the way."""
        self.in_data = in_data
        """Whether message content was already under way: the message itself may be what breaks the primary."""


class LoginRefused(NoContact):
    """AUTH was not answered 235. Only a 4xx says something about the server's health (RFC 4954 4.7, 6)."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"AUTH was answered {reply.code}", evidence=reply.transient)
        self.reply = reply


class ReplyLost(NotNow):
    """The end of data went out and no reply came back: delivered or not, nobody here knows."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
