"""`python -m tests.bench`: measure, print, write `bench-results/`."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from tests.bench import capacity, imap, passing, report, speed
from tests.bench.report import Figure

Measurement = Callable[[speed.Effort, bool], Iterator[Figure]]

MEASUREMENTS: Final[Mapping[str, Measurement]] = {
    "accept": lambda effort, _: speed.accept(effort),
    "replay": lambda effort, _: speed.replay(effort),
    "way-back": lambda effort, _: speed.way_back(effort),
    "cut-through": lambda effort, _: speed.cut_through(effort),
    "pass-through": lambda effort, quick: itertools.chain(
        passing.through(effort.rounds, *((5, 200) if quick else (25, 2_000))), passing.idle(200 if quick else 3_000)
    ),
    "imap": lambda effort, quick: imap.everything(
        imap.QUICK if quick else dataclasses.replace(imap.Size(), rounds=effort.rounds)
    ),
    "memory": lambda _, quick: capacity.memory(*((20, 2_000_000) if quick else (100, 20_000_000))),
    "long-queue": lambda _, quick: capacity.long_queue(2_000 if quick else 100_000),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what was asked for. The exit code says whether every aim was reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few messages: shows that it works, measures little")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds; medians are printed")
    parser.add_argument("--messages", type=int, default=3000, help="per round at 4 KB; a third of it at 100 KB")
    parser.add_argument("--only", action="append", choices=list(MEASUREMENTS), help="may be repeated")
    options = parser.parse_args(argv)
    effort = speed.Effort(rounds=2, small=200) if options.quick else speed.Effort(options.rounds, options.messages)
    # An end from outside must end the servers too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    about = report.machine()
    print("; ".join(f"{name}: {value}" for name, value in about.items()), flush=True)
    figures: list[Figure] = []
    for name in options.only or MEASUREMENTS:
        for figure in MEASUREMENTS[name](effort, options.quick):
            figures.append(figure)
            print("  ".join(filter(None, figure.cells)), flush=True)
    print(f"\n{report.terminal(figures)}")
    print(f"written: {report.write(figures, about).name} in bench-results")
    return 0 if all(figure.reached is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
