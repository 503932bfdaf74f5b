"""What every test may use, and the leak checks that no test escapes.

1. A coroutine test that leaves a task running fails.
2. A session that leaves a child process or a socket behind fails. Orphans count: this process adopts them, so a worker
   that outlives its killed parent is seen.
3. Everything else that leaks is a ResourceWarning, and warnings are errors (pyproject.toml).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import inspect
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from hypothesis import settings

pytest_plugins = ["tests.peers.plugin"]

_PR_SET_CHILD_SUBREAPER: Final = 36
_GRACE: Final = 5.0
"""Seconds that children have to end after their test has let go of them."""


def pytest_configure() -> None:
    """Adopt orphans (prctl(2)), so that none is lost to init. No example has a deadline: machines differ.

    TERM ends the session as an interrupt does, with its servers; by default it would leave them running.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    settings.register_profile("suite", deadline=None)
    settings.load_profile("suite")


@pytest_asyncio.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fails the test when a task of its loop is still running after all its other fixtures are gone."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    # A task whose cancellation is on its way is no leak; one that does not end is.
    if left:
        _, left = await asyncio.wait(left, timeout=1.0)
    for task in left:
        assert task is not None
        task.cancel()
    if left:
        pytest.fail(f"tasks left running: {[str(task) for task in left]}", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Coroutine tests get `no_task_left` as their outermost fixture."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(inspect.unwrap(item.function)):
            item.fixturenames.insert(0, "no_task_left")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the session when it leaves children or sockets behind."""
    left = [*_children_left(), *_sockets_left()]
    if left:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.section("left behind", red=True)
            reporter.write("\n".join(left) + "\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _children_left() -> list[str]:
    deadline = time.monotonic() + _GRACE
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = [
            f"child process {pid}: {Path(f'/proc/{pid}/cmdline').read_bytes().replace(bytes(1), b' ').decode()}"
            for listing in Path("/proc/self/task").glob("*/children")
            for pid in listing.read_text().split()
        ]
        if not left or time.monotonic() > deadline:
            return left


def _sockets_left() -> list[str]:
    left = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith("socket:"):
                left.append(f"open {target} (descriptor {entry.name})")
    return left
