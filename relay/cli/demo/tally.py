"""The counts at the end, and what they prove. Pure: what was sent and what was found in, the verdict out.

1. Only a message whose sender saw 250 is owed; one that was never accepted may still be there, and is no fault.
2. A message is whole when what was sent is the tail of what is there: a relay may only prepend lines.
3. The verdict is good only if something was accepted, something was spooled, all of it is there once, and all is whole.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

_MESSAGE_ID = re.compile(rb"^Message-ID:[ \t]*(<[^>\r\n]+>)", re.IGNORECASE | re.MULTILINE)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of messages."""

    sent: int
    accepted: int
    """Answered 250."""
    spooled: int
    """Most that waited in the queue at one time."""
    present: int
    """Different ones of those accepted that are in the primary."""
    missing: int
    twice: int
    """Found more than once."""
    altered: int
    """There, but not byte for byte."""
    strange: int
    """In the primary without having been sent."""

    @property
    def good(self) -> bool:
        """The promise was kept, and there was something to keep."""
        faults = self.missing + self.twice + self.altered + self.strange
        return self.accepted > 0 and self.spooled > 0 and not faults


def message_id(message: bytes) -> str | None:
    """The Message-ID of a message as sent or as found; None where there is none."""
    head = message.partition(b"\r\n\r\n")[0]
    found = _MESSAGE_ID.search(head)
    return found[1].decode("ascii", "replace") if found else None


def count(sent: Mapping[str, bytes], accepted: Iterable[str], found: Iterable[bytes], *, spooled: int) -> Tally:
    """Compare what senders sent (by Message-ID) and saw accepted with every message found in the primary."""
    owed = frozenset(accepted)
    copies: dict[str, list[bytes]] = defaultdict(list)
    for message in found:
        copies[message_id(message) or ""].append(message)
    known = {name: messages for name, messages in copies.items() if name in sent}
    return Tally(
        sent=len(sent),
        accepted=len(owed),
        spooled=spooled,
        present=sum(name in owed for name in known),
        missing=len(owed - known.keys()),
        twice=sum(len(messages) > 1 for messages in known.values()),
        altered=sum(not all(m.endswith(sent[name]) for m in messages) for name, messages in known.items()),
        strange=sum(len(messages) for name, messages in copies.items() if name not in sent),
    )
