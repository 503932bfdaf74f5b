"""What happened in a selected mailbox, as untagged responses."""

from __future__ import annotations

from relay.proto.imap.seqview import Expunged
from relay.serve.selected import PAGE, Selected
from relay.serve.talk import Talk


async def tell(talk: Talk, mailbox: Selected, *, expunges: bool) -> None:
    """Write EXPUNGE, EXISTS, RECENT and changed FLAGS (RFC 9051 7.4, 7.5). NotNow, Gone."""
    news = mailbox.view.tell(expunges=expunges)
    for told in news:
        if isinstance(told, Expunged):
            talk.untagged(b"%d EXPUNGE" % told.number)
        else:
            talk.untagged(b"%d EXISTS" % told.messages)
            if mailbox.knows_recent:
                talk.untagged(b"%d RECENT" % mailbox.recent())
    flagged = mailbox.take_flagged()
    for start in range(0, len(flagged), PAGE):
        for row in await mailbox.rows(flagged[start : start + PAGE]):
            number = mailbox.view.number(row.uid)
            if number:
                shown = mailbox.flags(row).encode(recent=mailbox.is_recent(row.uid))
                talk.untagged(b"%d FETCH (UID %d FLAGS (%b))" % (number, row.uid, shown))
        await talk.breathe()
    if news:
        await mailbox.share()
