"""The leak checks of `tests/conftest.py` do fail: each is shown a small test file that leaks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.sources import ROOT

TASK = """
import asyncio

async def test_leaves_a_task():
    global kept
    kept = asyncio.create_task(asyncio.Event().wait())
"""
CHILD = """
import subprocess

def test_leaves_a_child():
    subprocess.run("setsid tail -f /dev/null >/dev/null 2>&1 & echo $!", shell=True, check=True)
"""
SOCKET = """
import socket

kept = []

def test_leaves_a_socket():
    kept.append(socket.socket())
"""
CLEAN = """
import asyncio

async def test_leaves_nothing():
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
"""


def run_on(source: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run pytest with our conftest and settings on one imagined test file."""
    file = directory / "test_imagined.py"
    file.write_text(source)
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", "pyproject.toml", "--rootdir", str(ROOT)),
            *("-p", "tests.conftest", "-p", "no:cacheprovider", str(file)),
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("source", "words"), [(TASK, "tasks left running"), (CHILD, "child process"), (SOCKET, "open socket:")]
)
def test_a_leak_fails_the_run(source: str, words: str, tmp_path: Path) -> None:
    result = run_on(source, tmp_path)
    for pid in re.findall(r"child process (\d+): tail", result.stdout):
        os.kill(int(pid), signal.SIGKILL)  # the leak that was made for the purpose
    assert words in result.stdout
    assert result.returncode == 1


def test_a_clean_test_passes(tmp_path: Path) -> None:
    result = run_on(CLEAN, tmp_path)
    assert result.returncode == 0, result.stdout
