"""What was measured, as values; and its three shapes: terminal, Markdown, JSON."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import apsw

from tests.peers.relay import ROOT


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One line: what, how much, and against what."""

    what: str
    value: float
    unit: str
    against: str = ""
    """The yardstick, or the aim in words."""
    yardstick: float | None = None
    """The yardstick's value in the same unit."""
    aim: float | None = None
    """The ratio to the yardstick, or the value where there is none, that was set as a goal."""
    most: bool = False
    """Whether the aim is an upper bound."""
    samples: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Value / yardstick."""
        return self.value / self.yardstick if self.yardstick else None

    @property
    def reached(self) -> bool | None:
        """Whether the aim was reached; None where there is none."""
        if self.aim is None:
            return None
        measured = self.value if self.ratio is None else self.ratio
        return measured <= self.aim if self.most else measured >= self.aim

    @property
    def cells(self) -> tuple[str, ...]:
        """The line as text."""
        ratio = self.ratio
        aim = "" if self.aim is None else f"{'<=' if self.most else '>='} {self.aim:g}"
        if self.aim is not None:
            aim += " x" if ratio is not None else f" {self.unit}"
        return (
            self.what,
            f"{_short(self.value)} {self.unit}",
            self.against + (f": {_short(self.yardstick)}" if self.yardstick is not None else ""),
            "" if ratio is None else f"{ratio:.2f} x",
            aim,
            "" if self.reached is None else ("yes" if self.reached else "NO"),
        )


HEAD = ("what", "relay", "against", "ratio", "aim", "reached")


def median_figure(what: str, samples: Sequence[float], unit: str, **rest: object) -> Figure:
    """A figure from several rounds."""
    return Figure(what=what, value=statistics.median(samples), unit=unit, samples=tuple(samples), **rest)  # type: ignore[arg-type]  # the caller's keywords are Figure's


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def machine() -> dict[str, str]:
    """Where it was measured, without a name."""
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    postfix = subprocess.run(["/usr/sbin/postconf", "-dh", "mail_version"], check=True, capture_output=True, text=True)
    dovecot = subprocess.run(["/usr/sbin/dovecot", "--version"], check=True, capture_output=True)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": model[1] if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) >> 20} GiB" if memory else "",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "relay": importlib.metadata.version("standby-relay"),
        "sqlite": apsw.sqlite_lib_version(),
        "postfix": postfix.stdout.strip(),
        "dovecot": dovecot.stdout.split()[0].decode(),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def terminal(figures: Sequence[Figure]) -> str:
    """Columns."""
    rows = [HEAD, *(figure.cells for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def markdown(figures: Sequence[Figure], about: dict[str, str]) -> str:
    """The same for a page."""
    lines = ["; ".join(f"{name}: {value}" for name, value in about.items()), ""]
    lines += [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    lines += [f"| {' | '.join(figure.cells)} |" for figure in figures]
    return "\n".join(lines) + "\n"


def write(figures: Sequence[Figure], about: dict[str, str]) -> Path:
    """Keep both shapes under `bench-results/`; the JSON file."""
    directory = ROOT / "bench-results"
    directory.mkdir(exist_ok=True)
    stem = time.strftime("%Y%m%d-%H%M%S")
    content = {"about": about, "argv": sys.argv[1:], "figures": [dataclasses.asdict(figure) for figure in figures]}
    target = directory / f"{stem}.json"
    target.write_text(json.dumps(content, indent=1) + "\n")
    (directory / f"{stem}.md").write_text(markdown(figures, about))
    return target
