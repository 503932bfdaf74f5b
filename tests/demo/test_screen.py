"""The picture fits every terminal, and tells what the board says."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console, RenderableType

from relay.cli.demo.board import Board, Event, Kind, Sample
from relay.cli.demo.screen import Screen, line, rate, result, ribbon, slopes, spark, spread
from relay.cli.demo.tally import Tally

GOOD = Tally(sent=9, accepted=9, spooled=4, present=9, missing=0, twice=0, altered=0, strange=0)


def sample(at: float, *, mode: str = "normal", waiting: int = 0, accepted: int = 0, present: int = 0) -> Sample:
    return Sample(
        at=at, mode=mode, waiting=waiting, accepted=accepted, present=present, primary_up=mode in ("normal", "recovery")
    )


def board(samples: int) -> Board:
    made = Board(("one", "two", "three"))
    made.begin(1)
    for number in range(samples):
        mode = "normal" if number < samples // 2 else "standby"
        made.put(sample(number / 5, mode=mode, waiting=number * 7, accepted=number * 10, present=number * 3))
        made.say(f"event {number}", Kind.NOTE)
    return made


def draw(thing: RenderableType, *, width: int, height: int = 40) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(thing)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("height", [24, 40])
@pytest.mark.parametrize("samples", [0, 1, 3, 500])
def test_it_fits(width: int, height: int, samples: int) -> None:
    lines = draw(Screen(board(samples)), width=width, height=height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_it_tells_mode_queue_and_the_last_events() -> None:
    text = "\n".join(draw(Screen(board(50)), width=100))
    assert "STANDBY" in text
    assert "343 waiting" in text
    assert "event 49" in text
    assert "killed" in text
    assert " 2 two " in text
    assert "✔ one" in text


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        (GOOD, "Every message is in the primary, once, byte for byte."),
        (msgspec.structs.replace(GOOD, missing=1, present=8), "The counts are not right."),
        (msgspec.structs.replace(GOOD, twice=1), "The counts are not right."),
    ],
)
def test_the_verdict_is_in_words(tally: Tally, words: str) -> None:
    text = "\n".join(draw(result(tally), width=100))
    assert words in text
    assert ("✖" in text) == (not tally.good)


def test_a_line_for_a_pipe() -> None:
    assert line(Event(3.25, Kind.BAD, "killed")).plain.strip() == "3.2 s  ✖ killed"


def test_rates() -> None:
    samples = [sample(at / 10, accepted=at * 5) for at in range(30)]
    assert rate(samples, lambda s: s.accepted) == pytest.approx(50)
    assert rate(samples[:1], lambda s: s.accepted) == 0
    assert rate([], lambda s: s.accepted) == 0


def test_time_is_spread_without_holes() -> None:
    samples = [sample(at, accepted=int(at)) for at in (5.0, 10.0, 15.0)]
    columns = spread(samples, 16)  # at least 16 seconds wide: one column each
    assert [column.accepted if column else None for column in columns] == [5] * 5 + [10] * 5 + [15] + [None] * 5
    assert spread([], 5) == [None] * 5


def test_slopes_and_their_bars() -> None:
    columns = [sample(0, accepted=0), sample(2, accepted=20), sample(4, accepted=20), None]
    values = slopes(columns, lambda s: s.accepted)
    assert values == [0, 10, 0, None]
    assert spark(values, "green").plain == "▁▇▁ "


def test_modes_are_named_where_there_is_room() -> None:
    assert (
        ribbon(["normal"] * 8 + ["suspect"] * 3 + ["standby"] * 9 + [None] * 2).plain
        == " NORMAL " + " " * 3 + " STANDBY " + "  "
    )
