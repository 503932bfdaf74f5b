"""Crash points: armed ones kill at the right passage, others do nothing, and the list is the code's."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import relay
from relay.obs import crash

PROGRAM = """
import sys
from relay.obs import crash
for n in range(5):
    crash.point(sys.argv[1])
    print(n, flush=True)
"""
NAME = "spool.accept.after_store"


def run(value: str | None, name: str = NAME) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != crash.VARIABLE}
    if value is not None:
        environment[crash.VARIABLE] = value
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, name], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_nothing_happens_unarmed() -> None:
    done = run(None)
    assert (done.returncode, done.stdout.split()) == (0, ["0", "1", "2", "3", "4"])


@pytest.mark.parametrize(("suffix", "passed"), [("", []), (":1", []), (":3", ["0", "1"])])
def test_the_nth_passage_kills(suffix: str, passed: list[str]) -> None:
    done = run(NAME + suffix)
    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, passed)


def test_other_points_do_not_kill() -> None:
    done = run("spool.accept.before_store")
    assert done.returncode == 0


@pytest.mark.parametrize("value", ["no.such.point", NAME + ":0", NAME + ":x", NAME + ":", ""])
def test_a_wrong_choice_stops_the_start(value: str) -> None:
    done = run(value)
    assert done.returncode == 1
    assert crash.VARIABLE in done.stderr


def test_the_list_is_what_the_code_uses() -> None:
    used: set[str] = set()
    for file in Path(relay.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("crash.point", "point"):
                assert isinstance(node.args[0], ast.Constant), f"{file.name}:{node.lineno}: name the point literally"
                used.add(str(node.args[0].value))
    assert used == set(crash.POINTS)
