"""The line about a message: which connection and client, what came of it, under which item.

Replies enter, one line for each message leaves, when it is known what its sender hears; also for one whose content
broke off, and for one whose recipients were all turned down. Nothing is said of a transaction that its sender gave up
before any of that.

1. Of the reply only its codes are said: its text may name an address.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from relay.accounts.login import Verdict
from relay.accounts.record import login_failed
from relay.core.ids import ItemId
from relay.core.reply import Reply
from relay.inbound.body import Body
from relay.inbound.mailing import Finished
from relay.inbound.ports import Entry
from relay.obs.metrics import SmtpFault, SmtpListener, Transaction
from relay.obs.records import records
from relay.proto.smtp.content import ContentFault

_log = records("inbound")
_FAULTS: Mapping[ContentFault, SmtpFault] = MappingProxyType(
    {
        ContentFault.BARE_CR: "bare_newline",
        ContentFault.BARE_LF: "bare_newline",
        ContentFault.NUL: "syntax",
        ContentFault.LONG_LINE: "long_line",
    }
)


class Record:
    """One per connection: `begin` with MAIL, then exactly one of `end` and `left`."""

    __slots__ = ("_answer", "_told", "_turned_down", "client", "conn", "listener")

    def __init__(self, conn: str, client: str, listener: SmtpListener) -> None:
        self.conn = conn
        self.client = client
        self.listener = listener
        self.begin()
        self._told = True

    def begin(self) -> None:
        """MAIL was taken."""
        self._told = False
        self._turned_down = 0
        self._answer: Reply | None = None

    def turned_down(self, answer: Reply) -> None:
        """A recipient was not taken."""
        self._turned_down += 1
        self._answer = answer

    def end(
        self,
        result: Transaction,
        answer: Reply | None,
        *,
        item: ItemId | None = None,
        size: int | None = None,
        seconds: float | None = None,
        reason: str | None = None,
    ) -> Transaction:
        """Its sender hears `answer`, or nothing any more; `reason` is a word of ours, where the codes do not say it."""
        self._told = True
        _log.info(
            "message",
            conn=self.conn,
            client=self.client,
            listener=self.listener,
            item=item,
            size=size,
            result=result,
            code=None if answer is None else answer.code,
            enhanced=None if answer is None or answer.positive else answer.enhanced,
            seconds=None if seconds is None else round(seconds, 4),
            reason=reason,
            turned_down=self._turned_down or None,
        )
        return result

    def hung_up(self, item: ItemId, size: int) -> None:
        """Its sender went while it was committed: what became of it stands under its item, if anything did."""
        self.end("aborted", None, item=item, size=size, reason="hung_up")

    def left(self, *, taken: bool, size: int | None) -> None:
        """No more of it comes; `taken`: a recipient was, `size`: octets of the content where some had come."""
        answer = self._answer
        if self._told:
            return
        if size is not None:
            self.end("aborted", None, size=size, reason="broke_off")
        elif answer is not None and not taken:
            self.end("refused" if answer.permanent else "deferred", answer, reason="recipients")

    def login(self, entry: Entry) -> None:
        """A login came to something, or to nothing."""
        if entry.verdict is not Verdict.OK:
            login_failed(entry.verdict, entry.reason, conn=self.conn, client=self.client, protocol="submission")


def fault_of(body: Body) -> SmtpFault | None:
    """What the content breaks, for which its sender is to blame."""
    if body.fault is not None:
        return _FAULTS[body.fault]
    return "size" if body.too_big else None


def outcome(finished: Finished) -> Transaction:
    """One word for it."""
    if finished.accepted is None:
        return "refused" if finished.reply.permanent else "deferred"
    if finished.accepted.duplicate:
        return "duplicate"
    return "delivered" if finished.delivered else "spooled"
