"""The board as a picture for a terminal (rich). Enters: a board and a width. Leaves: renderables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from relay.cli.demo.board import Board, Event, Kind, Sample
from relay.cli.demo.tally import Tally

MODE_STYLE = {"normal": "green", "suspect": "yellow", "standby": "red", "recovery": "dodger_blue1", "": "grey37"}
KIND_STYLE = {Kind.STEP: "bold", Kind.GOOD: "green", Kind.BAD: "red", Kind.NOTE: "bright_black"}
KIND_MARK = {Kind.STEP: "●", Kind.GOOD: "✔", Kind.BAD: "✖", Kind.NOTE: "·"}
_BARS = " ▁▂▃▄▅▆▇"
"""Not the full block: rows of bars keep apart."""
_LABEL = 11
_FIGURE = 9
_MOST_EVENTS, _FEWEST_EVENTS = 14, 4
_OTHER_LINES = 19
"""Lines of the picture without events, and one for the cursor."""
_RATE_WINDOW = 1.5
"""Seconds over which a rate is taken."""
_SHORTEST = 16.0
"""Seconds that the graphs are wide at least."""


class Screen:
    """Draws the board anew each time it is asked."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, 100)
        events = max(_FEWEST_EVENTS, min(_MOST_EVENTS, console.size.height - _OTHER_LINES))
        yield _frame(self._board, width, events)


def _frame(board: Board, width: int, events: int) -> Panel:
    inner = width - 6
    parts: list[RenderableType] = [
        _acts(board),
        Text(),
        _flow(board, inner),
        Text(),
        _graphs(board, inner),
        Rule(style="grey30"),
        _timeline(board.events(), events),
    ]
    title = Text.assemble((" standby relay ", "bold bright_white"), ("demo ", "bright_black"))
    clock = Text(f" {board.elapsed:5.1f} s ", style="bright_black")
    return Panel(
        Group(*parts), title=title, title_align="left", subtitle=clock, subtitle_align="right", box=box.ROUNDED,
        border_style="grey42", padding=(1, 2), width=width,
    )  # fmt: skip


def _acts(board: Board) -> Text:
    """Which part of the story this is."""
    line = Text()
    for number, name in enumerate(board.acts):
        if number:
            line.append("  ")
        if number < board.act:
            line.append(f"✔ {name}", "green")
        elif number == board.act:
            line.append(f" {number + 1} {name} ", "reverse bold")
        else:
            line.append(f"{number + 1} {name}", "grey42")
    return line


def _flow(board: Board, width: int) -> Table:
    """senders -> relay -> primary, with what goes over each arrow."""
    now, samples = board.now, board.samples()
    into = rate(samples, lambda sample: sample.accepted)
    out = rate(samples, lambda sample: sample.present)
    table = Table.grid(expand=True)
    for ratio in (4, 4, 6, 4, 4):
        table.add_column(ratio=ratio, justify="center", vertical="middle")
    passing = now.primary_up and out > 0
    primary = _box("primary", "up" if now.primary_up else "killed", "green" if now.primary_up else "red")
    relay = _box("relay", f"{now.waiting:,} waiting" if now.mode else "starting", MODE_STYLE[now.mode])
    table.add_row(
        _box("senders", "and a user", "grey70"),
        _arrow(into, "green" if into else "grey42", broken=False),
        relay,
        _arrow(out, "green" if passing else "grey42", broken=not now.primary_up),
        primary,
    )
    table.width = width
    return table


def _box(name: str, detail: str, colour: str) -> Panel:
    content = Text(justify="center")
    content.append(f"{name}\n", "bold")
    content.append(detail, colour)
    return Panel(content, box=box.ROUNDED, border_style=colour, padding=(0, 0))


def _arrow(per_second: float, colour: str, *, broken: bool) -> Text:
    line = Text(justify="center")
    line.append(f"{per_second:,.0f}/s\n" if per_second else "\n", colour)
    line.append("── ✖ ──" if broken else "───────▶", "red" if broken else colour)
    return line


def _graphs(board: Board, width: int) -> Table:
    """Mode, queue and rates over the whole time."""
    samples = board.samples()
    cells = max(10, width - _LABEL - _FIGURE - 2)
    columns = spread(samples, cells)
    table = Table.grid(padding=(0, 1))
    table.add_column(width=_LABEL, style="bright_black")
    table.add_column(width=cells, no_wrap=True)
    table.add_column(width=_FIGURE, justify="right", no_wrap=True)
    now = board.now
    table.add_row(
        "mode",
        ribbon([sample.mode if sample else None for sample in columns]),
        Text(now.mode.upper(), f"bold {MODE_STYLE[now.mode]}"),
    )
    waiting = [sample.waiting if sample else None for sample in columns]
    table.add_row("queue", spark(waiting, "yellow"), f"{now.waiting:,}")
    into = slopes(columns, lambda sample: sample.accepted)
    table.add_row("accepted/s", spark(into, "green"), f"{rate(samples, lambda s: s.accepted):,.0f}")
    out = slopes(columns, lambda sample: sample.present)
    table.add_row("delivered/s", spark(out, "dodger_blue1"), f"{rate(samples, lambda s: s.present):,.0f}")
    return table


def _timeline(events: Sequence[Event], lines: int) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=7, justify="right", style="bright_black")
    table.add_column(width=1)
    table.add_column(no_wrap=True, overflow="ellipsis")
    shown = events[-lines:]
    for event in shown:
        style = KIND_STYLE[event.kind]
        table.add_row(f"{event.at:.1f} s", Text(KIND_MARK[event.kind], style), Text(event.text, style))
    for _ in range(lines - len(shown)):
        table.add_row("", "", "")
    return table


def line(event: Event) -> Text:
    """An event for a log or a pipe."""
    return Text(f"{event.at:6.1f} s  {KIND_MARK[event.kind]} {event.text}", KIND_STYLE[event.kind])


def result(tally: Tally) -> RenderableType:
    """The table of counts, and the verdict."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("messages", min_width=38)
    table.add_column("count", justify="right", min_width=8)
    table.add_column("", width=1)
    rows: tuple[tuple[str, int, bool | None], ...] = (
        ("sent", tally.sent, None),
        ("accepted with 250", tally.accepted, tally.accepted > 0),
        ("most that waited in the spool", tally.spooled, tally.spooled > 0),
        ("in the primary now", tally.present, tally.present == tally.accepted),
        ("missing", tally.missing, not tally.missing),
        ("twice", tally.twice, not tally.twice),
        ("altered", tally.altered, not tally.altered),
        ("never sent, but there", tally.strange, not tally.strange),
    )
    for name, value, good in rows:
        mark = Text("") if good is None else Text("✔", "green") if good else Text("✖", "bold red")
        table.add_row(name, Text(f"{value:,}", "" if good is not False else "bold red"), mark)
    verdict = (
        Text("Every message is in the primary, once, byte for byte.", "bold green")
        if tally.good
        else Text("The counts are not right.", "bold red")
    )
    colour = "green" if tally.good else "red"
    return Panel(
        Group(table, Text(), verdict), title="the count", title_align="left", box=box.ROUNDED, border_style=colour,
        padding=(1, 2), expand=False,
    )  # fmt: skip


def rate(samples: Sequence[Sample], figure: Callable[[Sample], int]) -> float:
    """Per second, over the last moments."""
    if len(samples) < 2:
        return 0.0
    last = samples[-1]
    first = next((s for s in reversed(samples) if s.at <= last.at - _RATE_WINDOW), samples[0])
    return max(0.0, (figure(last) - figure(first)) / (last.at - first.at)) if last.at > first.at else 0.0


def spread(samples: Sequence[Sample], cells: int) -> list[Sample | None]:
    """The run so far over a number of columns, from the first sample on: the last of each column's time."""
    columns: list[Sample | None] = [None] * cells
    if not samples:
        return columns
    start, last = samples[0].at, samples[-1].at
    per_second = cells / max(last - start, _SHORTEST)
    for sample in samples:
        columns[min(cells - 1, int((sample.at - start) * per_second))] = sample
    for i in range(1, min(cells, int((last - start) * per_second) + 1)):
        columns[i] = columns[i] or columns[i - 1]
    return columns


def slopes(columns: Sequence[Sample | None], figure: Callable[[Sample], int]) -> list[float | None]:
    """Per second, at each column, over the window before it: nodes count only about once a second."""
    values: list[float | None] = []
    seen: list[Sample] = []
    for sample in columns:
        if sample is None:
            values.append(None)
            continue
        if not seen or sample.at > seen[-1].at:
            seen.append(sample)
        values.append(rate(seen, figure))
    return values


def ribbon(modes: Sequence[str | None]) -> Text:
    """Stretches of time in the colour of their mode, with its name where there is room."""
    text = Text()
    for mode, run in itertools.groupby(modes):
        width = len(list(run))
        if mode is None:
            text.append(" " * width)
        else:
            name = mode.upper() if len(mode) + 2 <= width else ""
            text.append(name.center(width), f"bold black on {MODE_STYLE[mode]}")
    return text


def spark(values: Sequence[float | None], colour: str) -> Text:
    """A row of little bars, scaled to the highest."""
    top = max((value for value in values if value), default=0.0)
    text = Text()
    for value in values:
        if value is None:
            text.append(" ")
        elif not value:
            text.append("▁", "grey30")
        else:
            text.append(_BARS[max(1, round(value / top * 7))], colour)
    return text
