"""SEARCH, SORT and THREAD with their UID forms (RFC 9051 6.4.4, RFC 4731, RFC 5182, RFC 5256)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from relay.core.errors import Damaged
from relay.proto.imap import commands as c
from relay.proto.imap import responses, sorting, threads
from relay.proto.imap.search import Return
from relay.proto.imap.sortable import sortable, threadable
from relay.serve.answers import DONE, Answer
from relay.serve.finding import find
from relay.serve.pace import Pace
from relay.serve.summary import PAGE, Summary
from relay.store.records import MessageRow

if TYPE_CHECKING:
    from relay.serve.session import Session

_T = TypeVar("_T")
_ON_THE_LOOP = 2_000
"""Messages that are put into order without the help of a thread: it takes a few milliseconds."""


async def search(session: Session, command: c.Search) -> Answer:
    """SEARCH and UID SEARCH."""
    view, returns = session.mailbox.view, command.returns
    save = returns is not None and Return.SAVE in returns
    try:
        found = await find(session, command.key)
    except BaseException:
        if save:
            view.save(())  # RFC 5182 2.1: a search that failed leaves nothing behind
        raise
    if save and returns is not None:
        view.save(responses.to_save(found.uids, returns))
    numbers = found.uids if command.by_uid else found.numbers
    session.talk.send(responses.search(session.tag, numbers, returns, by_uid=command.by_uid, rev2=session.rev2))
    return DONE


async def sort(session: Session, command: c.Sort) -> Answer:
    """SORT and UID SORT (RFC 5256 3)."""
    by = frozenset(criterion.by for criterion in command.criteria)
    numbered = _numbering(session, by_uid=command.by_uid)

    def read(row: MessageRow, header: bytes) -> sorting.Sortable:
        return sortable(numbered(row.uid), header, arrival=row.internal_date, size=row.size, by=by)

    uids = (await find(session, command.key)).uids
    messages = await _read(session, uids, read, headers=not by.isdisjoint(sorting.NEEDS_HEADER))
    ordered = await _computed(len(messages), lambda: sorting.order(messages, command.criteria))
    session.talk.send(responses.numbered(b"SORT", ordered))
    return DONE


async def thread(session: Session, command: c.Thread) -> Answer:
    """THREAD and UID THREAD (RFC 5256 3)."""
    numbered = _numbering(session, by_uid=command.by_uid)

    def read(row: MessageRow, header: bytes) -> threads.Threadable:
        return threadable(numbered(row.uid), header, arrival=row.internal_date)

    uids = (await find(session, command.key)).uids
    messages = await _read(session, uids, read, headers=True)
    build = threads.ALGORITHMS[command.algorithm]
    session.talk.send(await _computed(len(messages), lambda: responses.thread(build(messages))))
    return DONE


def _numbering(session: Session, *, by_uid: bool) -> Callable[[int], int]:
    """What the answer calls a message."""
    return int if by_uid else session.mailbox.view.number


async def _computed(messages: int, work: Callable[[], _T]) -> _T:
    """Beside the loop where it takes long: its steps are bounded by the mailbox, but that may be large."""
    return work() if messages <= _ON_THE_LOOP else await asyncio.to_thread(work)


async def _read(
    session: Session, uids: Sequence[int], read: Callable[[MessageRow, bytes], _T], *, headers: bool
) -> list[_T]:
    """What is looked at of each message, by ascending UID; a damaged one has an empty header. NotNow, Gone."""
    pace = Pace(session, len(uids))
    found: list[_T] = []
    for start in range(0, len(uids), PAGE):
        rows = await session.mailbox.rows(uids[start : start + PAGE])
        summaries = await session.summaries.get(rows) if headers else {}
        for row in rows:
            found.append(read(row, await _header(session, row, summaries.get(row.item))))
            await pace.step(start)
    return found


async def _header(session: Session, row: MessageRow, summary: Summary | Damaged | None) -> bytes:
    if summary is None:
        return b""
    try:
        if isinstance(summary, Damaged):
            raise summary
        if summary.header is not None:
            return summary.header
        message = await session.services.mailboxes.open_message(row.item)
        return b"" if message is None else await message.read(0, summary.root().body_start)
    except Damaged as damage:
        await session.services.damaged(row.item, damage)
        return b""
