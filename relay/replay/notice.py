"""Giving a message back to its sender: the report is queued first, then the item is RETURNED.

An item that the operator gives up enters; a delivery status notification (RFC 3464) as a new item, and RETURNED, leave.

1. The report is durable before the item counts as returned. Both steps may be repeated after a crash: the report's
   bytes depend on the item alone, so that the spool takes a second one for the first (within its dedup window).
2. No backscatter: only a sender who logged in here, or who asked for reports (NOTIFY), gets one; the null reverse-path
   and NOTIFY=NEVER never do. Others are RETURNED in silence, which is the operator's explicit choice.
3. The report's own reverse-path is null (RFC 3464 2), so that no report is ever about a report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from relay.core.clock import Clock
from relay.core.envelope import BodyType, Envelope, Origin, Recipient
from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.core.item import ItemState, RecipientState
from relay.obs.logs import logger
from relay.obs.metrics import ReplayMetrics
from relay.proto.mime.build import Action, Report, ReportedRecipient, report
from relay.proto.mime.header import header_end
from relay.spool.intake import Intake
from relay.spool.queue import ItemView, Queue
from relay.spool.read import Reader, StoredMessage
from relay.store.records import ItemRow, Route

_log = logger("replay.notice")

_HEAD = 65_536
"""How much of the original's header is quoted."""
_OPEN = frozenset({RecipientState.WAITING, RecipientState.UNKNOWN, RecipientState.REFUSED})


class NoticeSettings(msgspec.Struct, frozen=True):
    """Who we say we are."""

    hostname: str


class RouteOf(Protocol):
    """Which way a report to this address goes."""

    def __call__(self, address: str) -> Route:
        """PRIMARY for our own domains, WORLD for the rest."""
        ...


class Returned(msgspec.Struct, frozen=True):
    """What became of an item."""

    item: ItemId
    notice: ItemId | None
    """The report; None where nobody may be told."""


def may_be_told(envelope: Envelope, origin: Origin, recipient: Recipient) -> bool:
    """Invariant 2, for one recipient."""
    if not envelope.reverse_path or "NEVER" in recipient.notify:
        return False
    if recipient.notify:
        return "FAILURE" in recipient.notify  # RFC 3461 4.1
    return origin.login is not None


class Notices:
    """Returns items."""

    def __init__(
        self,
        *,
        queue: Queue,
        reader: Reader,
        intake: Intake,
        clock: Clock,
        settings: NoticeSettings,
        route_of: RouteOf | Callable[[str], Route],
        metrics: ReplayMetrics,
    ) -> None:
        self._queue = queue
        self._reader = reader
        self._intake = intake
        self._clock = clock
        self._settings = settings
        self._route_of = route_of
        self._metrics = metrics

    async def give_back(self, item: ItemId) -> Returned:
        """HELD or QUARANTINED -> RETURNED, its sender told where that is right.

        KeyError, IllegalTransition, LeaseLost, StoreUnavailable: nothing was returned (a report may have been queued;
        a second call will not queue it again).
        """
        row = await self._queue.store.item(item)
        if row is None:
            raise KeyError(item)
        notice = None
        if row.state in (ItemState.HELD, ItemState.QUARANTINED):
            try:
                notice = await self._tell(row, self._reader.open(row))
            except Damaged:
                _log.warning("returned_in_silence", item=item, reason="the stored message does not open")
        await self._queue.move(item, ItemState.RETURNED)
        return Returned(item, notice)

    async def _tell(self, row: ItemRow, message: StoredMessage) -> ItemId | None:
        view = self._queue.view(row)
        failed = [
            recipient.index
            for recipient in row.recipients
            if recipient.state in _OPEN
            and may_be_told(message.envelope, message.origin, message.envelope.recipients[recipient.index])
        ]
        if not failed:
            return None
        original = await _header(message)
        framing = report(self._report(row, message.envelope, view, failed, original))
        envelope = Envelope(
            "",
            (Recipient(message.envelope.reverse_path),),
            body=BodyType.SEVEN_BIT if original.isascii() else BodyType.EIGHT_BIT,
            smtputf8=message.envelope.smtputf8,
        )
        origin = Origin("127.0.0.1", 0, self._settings.hostname, protocol="ESMTP", received_at=row.changed_at)
        async with self._intake.begin() as draft:
            await draft.write(framing.head + original + framing.tail)
            accepted = await draft.commit(
                envelope, origin, intent=False, route=self._route_of(message.envelope.reverse_path)
            )
        if not accepted.duplicate:
            self._metrics.notices.inc()
        return accepted.item

    def _report(
        self, row: ItemRow, envelope: Envelope, view: ItemView, failed: Sequence[int], original: bytes
    ) -> Report:
        return Report(
            reporting_mta=self._settings.hostname,
            to=envelope.reverse_path,
            message_id=f"{row.id}.returned@{self._settings.hostname}",
            # Not the clock: the same report must come out when this is repeated (invariant 1).
            date=row.changed_at,
            arrival=row.received_at,
            recipients=tuple(
                ReportedRecipient(
                    address=envelope.recipients[index].address,
                    action=Action.FAILED,
                    status=_status(view.recipients[index].reply),
                    orcpt=envelope.recipients[index].orcpt,
                    diagnostic=view.recipients[index].reply,
                )
                for index in failed
            ),
            token=row.id,
            envid=envelope.envid,
            utf8=envelope.smtputf8,
            eight_bit=not original.isascii(),
        )


async def _header(message: StoredMessage) -> bytes:
    """The original's header section; nothing of it where the body is damaged."""
    try:
        head = await message.read(0, _HEAD)
    except Damaged:
        return b""
    end = header_end(head)
    return head[:end] if end >= 0 else head


def _status(reply: str | None) -> str:
    """RFC 3463 code of a reply such as `550 5.1.1 unknown`; 5.4.7 (expired) where there was none."""
    words = (reply or "").split(maxsplit=2)
    if len(words) > 1 and words[1].count(".") == 2 and words[1].replace(".", "").isdigit():
        return words[1]
    return "5.0.0" if words else "5.4.7"
