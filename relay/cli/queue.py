"""`relay queue`: look at what waits, and decide about what is held."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.common import (
    Problem,
    clock,
    config_option,
    console,
    data,
    json_option,
    load_config,
    print_json,
    run_async,
    safe,
    size,
    span,
    table,
)
from relay.core.errors import Damaged, LeaseLost, PeerFault
from relay.core.ids import ItemId, parse
from relay.core.item import OWED, ItemState
from relay.core.reply import reply
from relay.store.api import IllegalTransition

if TYPE_CHECKING:
    from relay.config import Config
    from relay.node import Data
    from relay.spool.queue import ItemView, Queue
    from relay.store.records import ItemRow

_PAGE = 1000
_DECIDED = (ItemState.HELD, ItemState.QUARANTINED)

_ids = click.argument("ids", nargs=-1, metavar="ID...")
_all = click.option("--all", "every", is_flag=True, help="All messages that this can be done to.")


@click.group()
def queue() -> None:
    """Messages that the relay has accepted. An ID may be cut short as long as it names one message.

    \b
    Example:
      relay queue list
    """


@queue.command("list")
@click.option(
    "--state",
    "states",
    type=click.Choice([state.value for state in ItemState]),
    multiple=True,
    help="Repeatable; default: all that is still owed.",
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The oldest ones.")
@config_option
@json_option
def list_(*, states: tuple[str, ...], limit: int, path: Path | None, as_json: bool) -> None:
    """List messages, oldest first.

    \b
    Example:
      relay queue list --state held
    """
    config = load_config(path)
    wanted = [ItemState(state) for state in states] or sorted(OWED)

    async def work() -> tuple[list[ItemView], float, int]:
        async with data(config) as opened:
            rows = await opened.store.items(states=wanted, limit=limit)
            counts = await opened.store.counts()
            total = sum(counts[state].items for state in wanted)
            return [_queue(opened).view(row) for row in rows], opened.clock.now(), total

    views, now, total = run_async(work())
    if as_json:
        print_json(views)
        return
    shown = table("id", "state", "route", "age", "size", "from", "to", "tries", "why")
    for view in views:
        first = view.recipients[0].address if view.recipients else "-"
        more = f" +{len(view.recipients) - 1}" if len(view.recipients) > 1 else ""
        sender = "?" if view.reverse_path is None else view.reverse_path or "<>"
        shown.add_row(
            view.id,
            view.state,
            view.route,
            span(now - view.received_at),
            size(view.size),
            safe(sender),
            safe(first) + more,
            str(view.attempts),
            safe(view.note or ""),
        )
    out = console()
    if views:
        out.print(shown)
    out.print(f"{len(views)} of {total} messages")


@queue.command()
@click.argument("item", metavar="ID")
@config_option
@json_option
def show(*, item: str, path: Path | None, as_json: bool) -> None:
    """Show one message: envelope, the primary's answers, and its whole life.

    \b
    Example:
      relay queue show 01kb3c
    """
    config = load_config(path)

    async def work() -> dict[str, Any]:
        async with data(config) as opened:
            row = await _row(opened, item)
            life = [
                {"at": change.at, "from": change.old, "to": change.new} for change in await opened.store.ledger(row.id)
            ]
            return {"item": _queue(opened).view(row), "life": life}

    found = run_async(work())
    if as_json:
        print_json(found)
        return
    view: ItemView = found["item"]
    out = console()
    shown = table("", "")
    shown.add_row("id", view.id)
    shown.add_row("state", view.state)
    shown.add_row("route", view.route)
    shown.add_row("received", f"{clock(view.received_at)} from {safe(view.client_address or '?')}")
    shown.add_row("size", size(view.size))
    shown.add_row("from", "?" if view.reverse_path is None else safe(view.reverse_path or "<>"))
    for recipient in view.recipients:
        shown.add_row("to", f"{safe(recipient.address)}  {recipient.state}  {safe(recipient.reply or '')}")
    shown.add_row("tries", str(view.attempts))
    if view.state is ItemState.PENDING and view.next_attempt_at:
        shown.add_row("next try", clock(view.next_attempt_at))
    if view.note:
        shown.add_row("why", safe(view.note))
    out.print(shown)
    life = table("", "from", "to", title="\nlife")
    for step in found["life"]:
        life.add_row(clock(step["at"]), step["from"] or "", step["to"] or "")
    out.print(life)


@queue.command()
@_ids
@_all
@click.option("--why", default="", metavar="TEXT", help="For whoever sees them later in `relay queue list`.")
@config_option
@json_option
def hold(*, ids: tuple[str, ...], every: bool, why: str, path: Path | None, as_json: bool) -> None:
    """Put waiting messages on hold: they are delivered when you release them.

    \b
    Example:
      relay queue hold 01kb3c --why "asks the postmaster first"
    """
    note = reply(450, "4.7.0 Held by an operator" + (f": {why}" if why else ""))

    async def one(opened: Data, item: ItemId) -> None:
        await _queue(opened).move(item, ItemState.HELD, note=note)

    _each(path, ids, every=every, states=(ItemState.PENDING, ItemState.UNKNOWN), act=one, done="held", as_json=as_json)


@queue.command()
@_ids
@_all
@config_option
@json_option
def release(*, ids: tuple[str, ...], every: bool, path: Path | None, as_json: bool) -> None:
    """Put held or quarantined messages back into the queue, after you have repaired the cause.

    \b
    Example:
      relay queue release --all
    """

    async def one(opened: Data, item: ItemId) -> None:
        await _queue(opened).move(item, ItemState.PENDING)

    _each(path, ids, every=every, states=_DECIDED, act=one, done="released", as_json=as_json)


@queue.command()
@_ids
@_all
@config_option
@json_option
def retry(*, ids: tuple[str, ...], every: bool, path: Path | None, as_json: bool) -> None:
    """Try waiting messages now, rather than when their time has come.

    \b
    Example:
      relay queue retry 01kb3c
    """

    async def one(opened: Data, item: ItemId) -> None:
        # Two steps of the table, and both are in the ledger: the operator took the message and gave it back.
        await _queue(opened).move(item, ItemState.HELD)
        await _queue(opened).move(item, ItemState.PENDING)

    _each(path, ids, every=every, states=(ItemState.PENDING,), act=one, done="to be tried now", as_json=as_json)


@queue.command("return")
@_ids
@_all
@click.option("--yes", is_flag=True, help="With --all: do not ask. Where there is no terminal nobody is asked.")
@config_option
@json_option
def return_(*, ids: tuple[str, ...], every: bool, yes: bool, path: Path | None, as_json: bool) -> None:
    """Give held or quarantined messages back: never delivered, and their senders told where that is right.

    A sender is told by a delivery status notification if it logged in here or asked for one; forged senders get none.
    It cannot be taken back.

    \b
    Example:
      relay queue return 01kb3c
    """
    from relay.cli.notices import notices

    config = load_config(path)
    if every and not ids and not yes and on_terminal():
        count = run_async(_count(config, _DECIDED))
        question = f"{count} messages will never be delivered, and their senders may be told. Return all of them?"
        if count and not click.confirm(question, err=True):
            raise Problem("nothing was returned")

    async def one(opened: Data, item: ItemId) -> None:
        await notices(config, opened).give_back(item)

    _each(path, ids, every=every, states=_DECIDED, act=one, done="returned", as_json=as_json)


@queue.command()
@click.argument("item", metavar="ID")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file, which must not exist; default: standard output.",
)
@config_option
@json_option
def export(*, item: str, output: Path | None, path: Path | None, as_json: bool) -> None:
    """Write the message itself, byte for byte as received.

    \b
    Example:
      relay queue export 01kb3c > x.eml
    """
    config = load_config(path)
    if as_json and output is None:
        raise click.UsageError("--json tells what was written: give it a file with -o")
    written = run_async(_export(config, item, output))
    if as_json:
        print_json({"file": str(output), "bytes": written})


async def _export(config: Config, item: str, output: Path | None) -> int:
    from relay.spool.read import Reader

    async with data(config) as opened:
        row = await _row(opened, item)
        try:
            message = Reader(opened.store, opened.vault).open(row)
            file = sys.stdout.buffer if output is None else output.open("xb")
            try:
                async for block in message.stream():
                    file.write(block)
                file.flush()
            finally:
                if output is not None:
                    file.close()
        except Damaged as damage:
            raise Problem(f"{row.id}: does not verify ({damage}); what came before that is written") from None
        except OSError as error:
            raise Problem(f"{output or 'standard output'}: cannot be written ({error.strerror})") from None
        return message.size


def on_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


async def _count(config: Config, states: Sequence[ItemState]) -> int:
    async with data(config) as opened:
        counts = await opened.store.counts()
        return sum(counts[state].items for state in states if state in counts)


def _queue(opened: Data) -> Queue:
    from relay.spool.queue import Queue

    return Queue(opened.store, opened.vault, opened.clock, owner="operator")


async def _row(opened: Data, text: str) -> ItemRow:
    """The message that an ID, or the beginning of one, names; Problem."""
    try:
        row = await opened.store.item(parse(text))
    except ValueError:
        row = None
    if row is not None:
        return row
    start = text.strip().lower()
    found: list[ItemRow] = []
    after: ItemId | None = None
    while start and len(found) < 2:
        rows = await opened.store.items(states=tuple(ItemState), after=after, limit=_PAGE)
        found += [one for one in rows if one.id.startswith(start)]
        if len(rows) < _PAGE:
            break
        after = rows[-1].id
    if not found:
        raise Problem(f"{safe(text)}: there is no such message. See: relay queue list")
    if len(found) > 1:
        raise Problem(f"{safe(text)}: more than one message begins so; write more of the ID")
    return found[0]


def _each(
    path: Path | None,
    ids: Sequence[str],
    *,
    every: bool,
    states: Sequence[ItemState],
    act: Callable[[Data, ItemId], Awaitable[None]],
    done: str,
    as_json: bool,
) -> None:
    """Do one thing to messages; what cannot be done to one does not stop the others."""
    if bool(ids) == every:
        raise click.UsageError("Name messages by ID, or give --all")
    config = load_config(path)
    changed, failed = run_async(_do(config, ids, states, act))
    if as_json:
        print_json({"done": changed, "failed": failed})
    else:
        click.echo(f"{len(changed)} {'message' if len(changed) == 1 else 'messages'} {done}.")
    if failed:
        raise Problem("\n".join(f"{item}: {problem}" for item, problem in failed.items()))


async def _do(
    config: Config,
    ids: Sequence[str],
    states: Sequence[ItemState],
    act: Callable[[Data, ItemId], Awaitable[None]],
) -> tuple[list[ItemId], dict[str, str]]:
    changed: list[ItemId] = []
    failed: dict[str, str] = {}

    async def one(opened: Data, row: ItemRow) -> None:
        if row.state not in states:
            failed[row.id] = f"is {row.state}, not {' or '.join(states)}"
            return
        try:
            await act(opened, row.id)
            changed.append(row.id)
        except LeaseLost:
            failed[row.id] = "is being delivered just now; try again in a minute"
        except (IllegalTransition, KeyError, PeerFault):
            failed[row.id] = "changed its state meanwhile; look at it again"

    async with data(config) as opened:
        for text in ids:
            await one(opened, await _row(opened, text))
        after: ItemId | None = None
        while not ids:
            rows = await opened.store.items(states=states, after=after, limit=_PAGE)
            for row in rows:
                await one(opened, row)
            if len(rows) < _PAGE:
                break
            after = rows[-1].id
    return changed, failed
