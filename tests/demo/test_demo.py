"""Whole runs, as a newcomer starts them. A good one ends with 0, and every kind of broken one does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.house.sources import ROOT

DEADLINE = 110.0


class Run:
    """One `relay demo`, its output line by line."""

    def __init__(self, tmp: Path, *arguments: str) -> None:
        env = {**os.environ, "TMPDIR": str(tmp), "PYTHONUNBUFFERED": "1"}
        self.tmp = tmp
        self.process = subprocess.Popen(
            [sys.executable, "-m", "relay", "demo", "--pause", "0.5", *arguments],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.seen: list[str] = []

    def until(self, words: str) -> None:
        """Read on until a line has these words."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append(line)
            if words in line:
                return
        pytest.fail(f"it never said {words!r}:\n{''.join(self.seen)}")

    def end(self) -> int:
        """The exit code; the rest of the output is read."""
        rest, _ = self.process.communicate(timeout=DEADLINE)
        self.seen += rest.splitlines(keepends=True)
        return self.process.returncode

    @property
    def text(self) -> str:
        return "".join(self.seen)

    def servers(self) -> dict[str, int]:
        """Name of each server of this run to the pid of its process group's leader."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().decode().split("\0")
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if parent == self.process.pid and "run" in words:
                found[Path(words[words.index("-c") + 1]).parent.name] = int(process.name)
        return found


@pytest.fixture
def tmp(tmp_path: Path) -> Iterator[Path]:
    """Where the demo makes its directory, which must be gone afterwards."""
    yield tmp_path
    assert list(tmp_path.iterdir()) == [], "the demo left files behind"


def counts(text: str) -> dict[str, Any]:
    found = json.loads(text.strip().splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_everything_arrives_once(tmp: Path) -> None:
    run = Run(tmp, "--json")
    assert run.end() == 0, run.text
    tally = counts(run.text)
    assert tally["good"] is True
    assert tally["accepted"] == tally["present"] > 100
    assert tally["spooled"] > 20
    assert [tally[name] for name in ("missing", "twice", "altered", "strange")] == [0, 0, 0, 0]


@pytest.mark.parametrize(("sabotage", "counted"), [("lose", "missing"), ("double", "twice")])
def test_it_fails_when_the_counts_are_wrong(tmp: Path, sabotage: str, counted: str) -> None:
    run = Run(tmp, "--json", "--sabotage", sabotage)
    assert run.end() == 1, run.text
    tally = counts(run.text)
    assert (tally["good"], tally[counted]) == (False, 1)


def test_it_fails_when_the_relay_dies(tmp: Path) -> None:
    run = Run(tmp, "--plain")
    run.until("is killed (SIGKILL)")
    os.killpg(run.servers()["relay"], signal.SIGKILL)
    assert run.end() == 1, run.text
    assert "could not be played" in run.text


def test_keep_leaves_it_running_until_it_is_stopped(tmp: Path) -> None:
    run = Run(tmp, "--plain", "--keep")
    run.until("byte for byte")
    run.until("Ctrl-C ends both servers")
    assert set(run.servers()) == {"primary", "relay"}
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 0, run.text
    for words in ("swaks --server", "openssl s_client", "STARTTLS"):
        assert words in run.text
