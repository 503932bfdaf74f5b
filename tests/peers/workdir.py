"""Directories for peers: short names (a Unix socket path has 107 bytes) that their unprivileged users can enter."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def make(kind: str) -> Path:
    """A new directory, world-readable: pytest's own tmp_path is closed to everybody but its owner."""
    directory = Path(tempfile.mkdtemp(prefix=f"relay-{kind}-"))
    directory.chmod(0o755)
    return directory


def remove(directory: Path) -> None:
    """Delete it with everything inside; RELAY_TEST_KEEP=1 in the environment keeps it for a look."""
    if os.environ.get("RELAY_TEST_KEEP") != "1":
        shutil.rmtree(directory)
