"""`relay audit`: does the ledger account for every accepted message?

One pass over the ledger gives each message's life; each life must begin at accept, go only where the table of states
allows, and end in the state that the message is in. What a running node changes meanwhile is looked at again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from relay.cli.common import (
    PROBLEM,
    config_option,
    console,
    data,
    json_option,
    load_config,
    print_json,
    run_async,
    table,
)
from relay.core.ids import ItemId
from relay.core.item import BIRTH, OWED, ItemState, RecipientState, legal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.config import Config
    from relay.node import Data
    from relay.store.records import Change, ItemRow

_PAGE = 1000
_SHOWN = 20
_NAMED = 1000
_REMOVED = "removed"
PLACES = {
    ItemState.PENDING: "queued",
    ItemState.STORED: "stored",
    ItemState.INTENT: "queued",
    ItemState.UNKNOWN: "queued",
    ItemState.DELIVERED: "delivered",
    ItemState.VERIFIED: "delivered",
    ItemState.PURGED: "delivered",
    ItemState.HELD: "held",
    ItemState.QUARANTINED: "quarantined",
    ItemState.RETURNED: "returned",
    ItemState.REFUSED: "refused",
}
"""Where the books enter a message in each state. PURGED is the place of the state before it, where that is known."""
BALANCE = ("delivered", "queued", "held", "quarantined", "returned", "stored", _REMOVED)
"""Every accepted message is in one of these."""
_WORDS = {"stored": "stored by its user", _REMOVED: "removed by its user"}


class Life:
    """What the ledger says about one message so far."""

    __slots__ = ("again", "before", "begins", "problem", "state")

    def __init__(self) -> None:
        self.before: ItemState | None = None
        self.begins: ItemState | None = None
        """Where the ledger begins with it, if that is not at its birth: a purged message's oldest entries go first."""
        self.state: ItemState | None = None
        self.problem: str | None = None
        self.again = 0
        """How often it was sent again without proof that the attempt before had failed."""

    def live(self, change: Change) -> None:
        """The next entry."""
        old = ItemState(change.old) if change.old else None
        new = ItemState(change.new) if change.new else None
        if self.state is None and old is not None:
            self.begins = self.state = old
        if new is None:
            self.problem = "an entry says no state"
        elif old is None and (self.state is not None or new not in BIRTH):
            self.problem = f"it was accepted twice, or into {new}"
        elif old is not self.state:
            self.problem = f"an entry is missing between {self.state or 'accept'} and {old}"
        elif old is not None and not legal(old, new):
            self.problem = f"it went from {old} to {new}, which is not allowed"
        elif old is ItemState.UNKNOWN and new is ItemState.PENDING:
            self.again += 1
        self.before, self.state = self.state, new


class Report(msgspec.Struct):
    """The books: `accepted` is counted from the ledger, the places from the messages themselves."""

    accepted: int = 0
    """All that were answered 250, or put into a mailbox by a user who was told OK."""
    delivered: int = 0
    """To the primary; the copy may be purged since."""
    stored: int = 0
    """Put into a mailbox by its user (a draft, a sent copy), and kept for it."""
    removed: int = 0
    """The same, until its user removed it from the last mailbox; purged since."""
    queued: int = 0
    held: int = 0
    quarantined: int = 0
    returned: int = 0
    refused: int = 0
    """Refused by the primary while the sender waited: never answered 250, so not among the accepted."""
    possibly_twice: int = 0
    """Sent again although the reply to an attempt before had been lost: looked for in vain, or not to be seen."""
    sent_again: list[ItemId] = []
    """The same by name, the first ones."""
    anomalies: dict[str, str] = {}
    verified_bodies: int | None = None

    @property
    def balanced(self) -> bool:
        """Whether as many messages are somewhere as the ledger saw accepted."""
        return bool(self.accepted == sum(getattr(self, name) for name in BALANCE))


@click.command()
@click.option("--bodies", is_flag=True, help="Also open every stored message whole; reads the whole spool.")
@config_option
@json_option
def audit(*, bodies: bool, path: Path | None, as_json: bool) -> int:
    """Prove that every accepted message is somewhere: delivered, queued, held, returned or stored by its user.

    Exit code 1 when one is not, when its life is not what the ledger allows, or when one is damaged.

    \b
    Example:
      relay audit --bodies
    """
    config = load_config(path)
    report = run_async(_audit(config, bodies=bodies))
    well = report.balanced and not report.anomalies
    if as_json:
        fields: dict[str, Any] = {name: getattr(report, name) for name in report.__struct_fields__}
        print_json({**fields, "balanced": report.balanced, "ok": well})
    else:
        _print(report, well=well)
    return 0 if well else PROBLEM


def _print(report: Report, *, well: bool) -> None:
    out = console()
    shown = table("", "messages")
    shown.add_row("accepted", str(report.accepted))
    for number, name in enumerate(BALANCE):
        shown.add_row(f"{'+' if number else '='} {_WORDS.get(name, name)}", str(getattr(report, name)))
    out.print(shown)
    if not report.balanced:
        out.print("NOT BALANCED: the places do not add up to what was accepted.")
    out.print(f"{report.refused} more were refused by the primary while their senders waited.")
    if report.possibly_twice:
        out.print(
            f"{report.possibly_twice} were sent again without proof that the first attempt had failed; they may have "
            "arrived twice. `relay queue show ID` says to whom; of two copies, either may be deleted:"
        )
        for name in report.sent_again:
            out.print(f"  {name}")
        if report.possibly_twice > len(report.sent_again):
            out.print(f"  ... and {report.possibly_twice - len(report.sent_again)} more")
    if report.verified_bodies is not None:
        out.print(f"{report.verified_bodies} stored messages were opened whole.")
    for item, problem in list(report.anomalies.items())[:_SHOWN]:
        out.print(f"{item}: {problem}")
    if len(report.anomalies) > _SHOWN:
        out.print(f"... and {len(report.anomalies) - _SHOWN} more; --json shows all")
    out.print("The books are right." if well else f"{len(report.anomalies)} anomalies.")


async def _audit(config: Config, *, bodies: bool) -> Report:
    report = Report(verified_bodies=0 if bodies else None)
    async with data(config) as opened:
        lives = await _lives(opened, report)
        after: ItemId | None = None
        while True:
            rows = await opened.store.items(states=tuple(ItemState), after=after, limit=_PAGE)
            for row in rows:
                await _judge(opened, row, lives.pop(row.id, None), report)
            if bodies:
                await _open_all(opened, rows, report)
            if len(rows) < _PAGE:
                break
            after = rows[-1].id
        for item, life in lives.items():
            if life.state is not ItemState.PURGED:  # such a one was trimmed from the ledger just now
                report.accepted += 1
                report.anomalies[item] = "it was accepted and there is no message any more"
    return report


async def _lives(opened: Data, report: Report) -> dict[ItemId, Life]:
    from relay.store.records import ChangeKind

    lives: dict[ItemId, Life] = {}
    after = 0
    while True:
        changes = await opened.store.changes(after=after, limit=_PAGE, kinds=(ChangeKind.ITEM,))
        for change in changes:
            if change.item is not None:
                lives.setdefault(change.item, Life()).live(change)
            elif change.old is None:  # the name went with the message; its birth is still in the ledger
                report.accepted += 1
                report.anomalies[f"entry {change.seq}"] = "it was accepted and there is no message any more"
        if len(changes) < _PAGE:
            return lives
        after = changes[-1].seq


async def _judge(opened: Data, row: ItemRow, life: Life | None, report: Report) -> None:
    """Compare a message with its life, and enter both into the books."""
    if life is None or life.problem is not None or life.begins is not None or life.state is not row.state:
        again = await opened.store.item(row.id)  # it may have moved on since the ledger was read
        row = again if again is not None else row
        life = Life()
        for change in await opened.store.ledger(row.id):
            life.live(change)
    trimmed = life.state is None and row.state is ItemState.PURGED  # the ledger has a retention of its own
    last = life.before if row.state is ItemState.PURGED and life.before is not None else row.state
    place = _REMOVED if last is ItemState.STORED and row.state is ItemState.PURGED else PLACES[last]
    setattr(report, place, getattr(report, place) + 1)
    if last is ItemState.REFUSED:
        return
    report.accepted += life.state is not None or trimmed
    if life.again and last not in OWED:
        report.possibly_twice += 1
        if len(report.sent_again) < _NAMED:
            report.sent_again.append(row.id)
    problem = None if trimmed else _problem(row, life)
    if problem is not None:
        report.anomalies[row.id] = problem


def _problem(row: ItemRow, life: Life) -> str | None:
    if life.problem is not None:
        return life.problem
    if life.begins is not None and row.state is not ItemState.PURGED:
        return f"an entry is missing between accept and {life.begins}"
    if life.state is not row.state:
        return f"it is {row.state}, and the ledger says {life.state or 'nothing'}"
    if row.state is ItemState.QUARANTINED:
        return "its stored bytes did not verify; see `relay queue show`"
    waiting = [r for r in row.recipients if r.state in (RecipientState.WAITING, RecipientState.UNKNOWN)]
    if row.state in (ItemState.DELIVERED, ItemState.VERIFIED) and waiting:
        return f"it is {row.state}, but {len(waiting)} of its recipients are not"
    return None


async def _open_all(opened: Data, rows: Sequence[ItemRow], report: Report) -> None:
    from relay.core.errors import Damaged
    from relay.spool.read import Reader

    reader = Reader(opened.store, opened.vault)
    for row in rows:
        if row.state is ItemState.PURGED:
            continue
        try:
            async for _ in reader.open(row).stream():
                pass
        except Damaged as damage:
            report.anomalies.setdefault(row.id, f"it does not verify: {damage}")
        else:
            report.verified_bodies = (report.verified_bodies or 0) + 1
