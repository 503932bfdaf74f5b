"""What must never be in the repository: secrets, and the machine of whoever wrote it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.house.sources import ROOT, tracked

# Written so that this file does not hold what it looks for.
MACHINE: Final = re.compile(
    rb"(?<![\w.])/(?:root/|work/|home/(?!relay\b|user\b)[a-z][\w-]*/|Users/[a-z])|/tmp/hel" + rb"pers|C:\\\\Users"
)
KEY: Final = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE" + rb" KEY-----\s+[A-Za-z0-9+/]{20}")
REGISTRY_OPTION: Final = re.compile(rb"^\s*(?:--)?(?:extra-)?(?:index-url|find-links|trusted-host)\b", re.MULTILINE)
PUBLIC: Final = {"pypi.org", "files.pythonhosted.org"}
VARIABLES: Final = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST", "UV_INDEX_URL")


def _contents() -> Iterator[tuple[str, bytes]]:
    for path in tracked():
        yield path.relative_to(ROOT).as_posix(), path.read_bytes()


def _holding(pattern: re.Pattern[bytes]) -> list[str]:
    return [f"{name}: {match[0]!r}" for name, content in _contents() if (match := pattern.search(content))]


def test_there_are_tracked_files() -> None:
    assert len(tracked()) > 50


def test_no_path_of_anybodys_machine() -> None:
    assert _holding(MACHINE) == []


def test_no_private_key() -> None:
    assert _holding(KEY) == []


def test_no_registry_is_prescribed() -> None:
    """Where packages come from is the user's choice (and mirror)."""
    assert [hit for hit in _holding(REGISTRY_OPTION) if not hit.startswith("tests/house/")] == []


def test_no_registry_host_of_this_machine() -> None:
    words = " ".join(os.environ.get(name, "") for name in VARIABLES).split()
    hosts = {urlsplit(word if "//" in word else f"//{word}").hostname or "" for word in words}
    own = {host for host in hosts if "." in host and not host.startswith("127.")} - PUBLIC
    assert [(name, host) for name, content in _contents() for host in own if host.encode() in content] == []


def test_no_large_or_generated_file() -> None:
    big = {path.relative_to(ROOT).as_posix() for path in tracked() if path.stat().st_size > 512 * 1024}
    assert big == set()
    assert [str(p) for p in tracked() if p.suffix in {".pyc", ".db", ".log", ".key"} or "__pycache__" in p.parts] == []


def test_the_locks_pin_everything_with_hashes() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        pins = re.findall(r"^([A-Za-z0-9_.-]+)==\S+.*\\$", text, re.MULTILINE)
        assert len(pins) > 15, name
        blocks = re.split(r"^(?=[A-Za-z0-9_.-]+==)", text, flags=re.MULTILINE)[1:]
        assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == [], name


@pytest.mark.parametrize(
    "text",
    [
        b"see /ro" + b"ot/x",
        b"in /wo" + b"rk/main",
        b"/home/jane" + b"/src",
        b"-----BEGIN PRIVATE KEY" + b"-----\nMIGHAgEAMBMGByqGSM49Ag",
    ],
)
def test_the_patterns_can_fail(text: bytes) -> None:
    assert MACHINE.search(text) or KEY.search(text)


def test_the_debian_list_is_one_package_per_line() -> None:
    lines = [line for line in Path(ROOT / ".ci/debian-packages").read_text().splitlines() if not line.startswith("#")]
    assert lines == sorted(set(lines))
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", line) for line in lines)
