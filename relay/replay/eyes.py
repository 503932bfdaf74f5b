"""Looking for a message in the primary's mailboxes: what replay needs of `primary.imap`, and when it may ask.

1. A look never raises for trouble and never takes longer than `SECONDS`: what is not seen by then is TROUBLE.
2. Absent means "not seen there": filters move mail, rules forward it, and the primary's own queue delays it.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from relay.core.mode import Mode, ModeBoard, Service
from relay.primary.imap import Mark, Sight
from relay.proto.mime.header import scan
from relay.spool.read import StoredMessage

HEALTHY = frozenset({Mode.NORMAL, Mode.RECOVERY})
"""Modes of a service in which what is not there counts as absent."""
SECONDS = 20.0
_HEAD = 65_536


class Eyes(Protocol):
    """`primary.imap.ImapPrimary`."""

    @property
    def sees_mailboxes(self) -> bool:
        """Whether `look` can tell anything."""
        ...

    async def look(self, address: str, mark: Mark) -> Sight:
        """Never raises for trouble: TROUBLE."""
        ...


def usable(eyes: Eyes | None) -> Eyes | None:
    """The eyes, if they see anything at all."""
    return eyes if eyes is not None and eyes.sees_mailboxes else None


def open_now(eyes: Eyes | None, board: ModeBoard) -> bool:
    """Whether looking makes sense at this moment."""
    return eyes is not None and board.mode(Service.IMAP) in HEALTHY


async def look(eyes: Eyes, message: StoredMessage, index: int, mark: Mark) -> Sight:
    """Invariant 1, for one recipient of a message."""
    try:
        async with asyncio.timeout(SECONDS):
            return await eyes.look(message.envelope.recipients[index].address, mark)
    except TimeoutError:
        return Sight.TROUBLE


async def mark_of(message: StoredMessage) -> Mark:
    """How the message is recognised there. Damaged."""
    found = scan(await message.read(0, _HEAD)).message_id()
    plain = found.decode("ascii") if found is not None and found.isascii() else None
    return Mark(message.row.id, message.row.received_at, plain)
