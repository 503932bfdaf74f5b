"""IDLE (RFC 9051 6.3.13): what happens in the mailbox is told as it happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from relay.proto.imap import commands as c
from relay.proto.imap import encode
from relay.proto.imap.receiver import Line, Rejected
from relay.serve.answers import Answer
from relay.serve.talk import Gone
from relay.serve.telling import tell

if TYPE_CHECKING:
    from relay.serve.session import Session


async def idle(session: Session, command: c.Idle) -> Answer:
    """Until DONE, or the idle deadline. Gone."""
    talk, deadlines = session.talk, session.services.settings.deadlines
    talk.send(encode.continuation(b"idling"))
    talk.receiver.expect_line()
    try:
        async with asyncio.timeout(deadlines.idle):
            while (event := talk.poll()) is None:
                await session.end_if_lost()
                if session.selected is not None and session.selected.dirty:
                    await tell(talk, session.selected, expunges=True)
                await talk.settle()
                await talk.rest()
    except TimeoutError:
        session.services.metrics.faults["timeout"].inc()
        await talk.bye("Idle for too long, connect again")
        raise Gone from None
    if isinstance(event, Line) and event.data.strip().upper() == b"DONE":
        return Answer("OK", "Idle ended")
    if isinstance(event, Rejected):
        await talk.rejected(event)
    return Answer("BAD", "Expected DONE")
