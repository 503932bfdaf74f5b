"""The repository's own files, as the checks see them."""

from __future__ import annotations

import ast
import dataclasses
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Module:
    """One Python file, parsed."""

    path: Path
    tree: ast.Module

    @property
    def name(self) -> str:
        """Path from the root, with slashes."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def room(self) -> str:
        """The package under `relay/` (or the module, for those at its top)."""
        return Path(self.name).parts[1].removesuffix(".py")

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and dotted name of everything imported, wherever in the file."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@functools.cache
def modules(folder: str) -> tuple[Module, ...]:
    """Every Python file under a folder of the root."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    return tuple(Module(path, ast.parse(path.read_bytes(), str(path))) for path in paths)


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Files that git keeps; outside a checkout (a source archive) all files that are not hidden."""
    # The tests may run as root over somebody else's checkout, which git refuses unless told.
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, check=False, capture_output=True
    )
    if listing.returncode:
        return tuple(p for p in sorted(ROOT.rglob("*")) if p.is_file() and not _hidden(p.relative_to(ROOT)))
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)
