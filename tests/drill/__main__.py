"""`python -m tests.drill`: every scenario and a table; exit code 0 only when nothing is lost, twice or altered."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from tests.drill import outages, storage
from tests.drill.site import Plan, Result

Scenario = Callable[[Plan], Awaitable[Result]]

SCENARIOS: Final[Mapping[str, tuple[Scenario, float, int]]] = {
    "storm": (outages.storm, 1.0, 100),
    "crash-points": (outages.crash_points, 0.2, 100),
    "final-dot": (outages.final_dot, 0.2, 100),
    "worker-death": (outages.worker_death, 0.2, 100),
    "power-cut": (storage.power_cut, 0.1, 100),
    "fsync-fails": (storage.fsync_fails, 0.05, 100),
    "disk-full": (storage.disk_full, 0.1, 600),
}
"""Name to the scenario, its share of `--messages`, and the least that shows anything: a disk must become full."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit code for the shell."""
    options = _options(argv)
    if os.geteuid() != 0:
        print("the drill runs Postfix and mounts disks: run it as root (make drill does)", file=sys.stderr)
        return 2
    # An end from outside must end the servers too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = []
    for name in options.only or SCENARIOS:
        scenario, share, least = SCENARIOS[name]
        plan = Plan(messages=max(least, int(options.messages * share)), senders=options.senders, seed=options.seed)
        print(f"{time.strftime('%H:%M:%S')} {name}: {plan.messages} letters, seed {plan.seed}", flush=True)
        result = asyncio.run(_run(scenario, plan))
        print(_detail(result), flush=True)
        results.append(result)
    print(table(results))
    clean = all(result.clean for result in results)
    print("0 lost, 0 twice, every byte right" if clean else "FAILED: see above")
    return 0 if clean else 1


async def _run(scenario: Scenario, plan: Plan) -> Result:
    return await scenario(plan)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000, help="letters in the storm; others get a share of it")
    parser.add_argument("--senders", type=int, default=20, help="connections that send at the same time")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats a drill, as far as timing can be")
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="one scenario; may be repeated")
    return parser.parse_args(argv)


def _detail(result: Result) -> str:
    account = result.account
    lines = [f"         {result.events}; {result.rate:.0f} letters/s, {result.seconds:.0f} s"]
    for title, found in (
        ("LOST", account.lost),
        ("TWICE", account.twice),
        ("ALTERED", account.altered),
        ("STRANGE", account.strange),
        ("PROBLEM", result.problems),
    ):
        lines += [f"         {title} {text}" for text in found[:10]]
        if len(found) > 10:
            lines.append(f"         {title} ... {len(found)} in all")
    return "\n".join([*lines, *filter(None, [result.log])])


def table(results: Sequence[Result]) -> str:
    """The counts of all scenarios, in columns."""
    head = ("scenario", "promised", "present", "lost", "twice", "altered", "other", "result")
    rows = [
        (
            result.name,
            str(result.account.promised),
            str(result.account.present),
            str(len(result.account.lost)),
            str(len(result.account.twice)),
            str(len(result.account.altered)),
            str(len(result.account.strange) + len(result.problems)),
            "ok" if result.clean else "FAILED",
        )
        for result in results
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *rows)
    )


if __name__ == "__main__":
    sys.exit(main())
