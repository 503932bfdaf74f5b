"""The tools that judge the code agree with it: format, lint, types, import layers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.sources import ROOT

BIN = Path(sys.executable).parent


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "command",
    ["ruff format --check --quiet .", "ruff check --quiet .", "mypy", "lint-imports --no-cache"],
)
def test_tool_is_content(command: str) -> None:
    tool, *arguments = command.split()
    result = subprocess.run([str(BIN / tool), *arguments], cwd=ROOT, check=False, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}\n{result.stdout[-8000:]}{result.stderr[-4000:]}"
