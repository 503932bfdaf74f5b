"""What the way out reports; apart from it, so that to know this takes no library of it."""

from __future__ import annotations

import msgspec

from relay.core.reply import Reply


class Outcome(msgspec.Struct, frozen=True):
    """What became of the recipients, by index."""

    replies: tuple[tuple[int, Reply], ...] = ()
    unsure: tuple[int, ...] = ()
    """Their server may have the message: the reply to the final dot was lost."""
