"""Rules of the house that no general tool knows."""

from __future__ import annotations

import ast
import datetime
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.house.sources import ROOT, Module, modules

MOST_LINES: Final = 400
TOO_LONG: Final[dict[str, tuple[int, str, str]]] = {}
"""Path: (lines it may have, date of the entry, why). Entries only shrink and go."""

HOMES: Final = {
    "aioimaplib": ("primary",),
    "aiosmtpd": ("inbound",),
    "apsw": ("store/sqlite",),
    "asyncio_throttle": ("primary",),
    "backports": ("vault",),
    "click": ("cli",),
    "cryptography": ("vault",),
    "dkim": ("world",),
    "dns": ("primary", "world"),
    "httpx": ("accounts", "world"),
    "jwt": ("accounts",),
    "prometheus_client": ("obs",),
    "psycopg": ("store/postgres",),
    "pydantic": ("config",),
    "pydantic_core": ("config",),
    "pydantic_settings": ("config",),
    "rich": ("cli",),
    "starlette": ("control",),
    "structlog": ("obs",),
    "uvicorn": ("control",),
    "uvloop": ("node.py",),
}
"""Where each third-party package may be imported, as paths under `relay/`."""
EVERYWHERE: Final = {"msgspec"}

PURE: Final = ("core/", "proto/", "reconcile/merge", "reconcile/plan")
IMPURE: Final = {
    "asyncio",
    "http",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "socketserver",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib.request",
}
IMPURE_ALLOWED: Final = {("relay/core/clock.py", "time"): "the one place that may ask the machine for the time"}

RELAY = modules("relay")
TESTS = modules("tests")


def _under(module: Module, place: str) -> bool:
    inside = module.name.removeprefix("relay/")
    return inside == place or inside.startswith(f"{place.rstrip('/')}/")


def test_there_are_sources() -> None:
    """Every check below is a loop: it must not pass because the loop is empty."""
    assert len(RELAY) > 30
    assert len(TESTS) > 10


def test_files_are_short() -> None:
    long = {m.name: len(m.path.read_bytes().splitlines()) for m in RELAY}
    long = {name: lines for name, lines in long.items() if lines > MOST_LINES}
    assert {name: lines for name, lines in long.items() if lines > TOO_LONG.get(name, (0,))[0]} == {}, "split them"
    loose = {name for name, (most, _, _) in TOO_LONG.items() if long.get(name, 0) < most}
    assert not loose, "these have shrunk: lower or remove their entries"
    assert all(datetime.date.fromisoformat(date) <= datetime.date.today() for _, date, _ in TOO_LONG.values())
    assert all(reason for _, _, reason in TOO_LONG.values())


def test_every_module_says_what_it_is() -> None:
    # The `__init__.py` of a test folder only makes it a package: it may be empty.
    written = (*RELAY, *(m for m in TESTS if m.tree.body))
    silent = [m.name for m in written if not (ast.get_docstring(m.tree) or "").strip()]
    assert silent == []


def test_every_public_thing_of_relay_has_a_docstring() -> None:
    silent = []
    for module in RELAY:
        for node in module.tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("_") and not ast.get_docstring(node):
                silent.append(f"{module.name}:{node.lineno} {node.name}")
    assert silent == []


def test_third_party_packages_have_one_home() -> None:
    astray = []
    for module in RELAY:
        for line, name in module.imports():
            package = name.partition(".")[0]
            if package in sys.stdlib_module_names or package in EVERYWHERE or package == "relay":
                continue
            if not any(_under(module, home) for home in HOMES.get(package, ())):
                astray.append(f"{module.name}:{line} imports {package}")
    assert astray == []


def test_pure_rooms_touch_nothing() -> None:
    found = []
    for module in RELAY:
        if not any(module.name.startswith(f"relay/{room}") for room in PURE):
            continue
        for line, name in module.imports():
            touched = {part for part in IMPURE if name == part or name.startswith(f"{part}.")}
            if touched and not any((module.name, part) in IMPURE_ALLOWED for part in touched):
                found.append(f"{module.name}:{line} imports {name}")
    assert found == []


def test_nothing_is_done_by_importing() -> None:
    """Top-level calls that stand alone are side effects; `if __name__ == "__main__"` is not an import."""
    found = [
        f"{module.name}:{node.lineno}"
        for module in RELAY
        for node in module.tree.body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    assert found == []


def _unexplained(module: Module, lines: Sequence[str]) -> list[str]:
    """Handlers for everything that neither raise again nor say why they are so broad.

    One for BaseException must raise again: it sees CancelledError.
    """
    found = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {one.id if isinstance(one, ast.Name) else "" if one is not None else "BaseException" for one in caught}
        last = node.body[-1]
        if not names & {"Exception", "BaseException"} or (isinstance(last, ast.Raise) and last.exc is None):
            continue
        head = "".join(lines[node.lineno - 1 : node.body[0].lineno - 1])
        if "BaseException" in names or not re.search(r"#(?! noqa) \S", head):
            found.append(f"{module.name}:{node.lineno}")
    return found


def test_broad_excepts_say_why() -> None:
    assert [where for m in RELAY for where in _unexplained(m, m.path.read_text("utf-8").splitlines())] == []


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        ("except Exception:\n    pass", 1),
        ("except (ValueError, Exception):\n    pass", 1),
        ("except:\n    pass  # no", 1),
        ("except Exception:  # noqa: BLE001\n    pass", 1),
        ("except BaseException:  # a reason is not enough\n    pass", 1),
        ("except BaseException:\n    close()\n    raise", 0),
        ("except Exception:  # a stranger's code\n    pass", 0),
        ("except Exception:\n    # a stranger's code\n    pass", 0),
        ("except ValueError:\n    pass", 0),
    ],
)
def test_an_unexplained_except_is_recognised(handler: str, found: int) -> None:
    """The check itself can fail."""
    source = f"try:\n    work()\n{handler}\n"
    module = Module(ROOT / "relay" / "imagined.py", ast.parse(source))
    assert len(_unexplained(module, source.splitlines())) == found


def _sleeps(module: Module) -> list[str]:
    found = []
    for node in ast.walk(module.tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sleep"):
            continue
        zero = len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
        if not zero:
            found.append(f"{module.name}:{node.lineno}")
    return found


def test_tests_wait_for_events_and_never_sleep() -> None:
    assert [where for module in TESTS for where in _sleeps(module)] == []


def test_tests_are_not_skipped() -> None:
    found = [
        f"{module.name}:{node.lineno}"
        for module in TESTS
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("skip", "skipif", "xfail", "importorskip")
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr) in ("pytest", "mark")
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.sleep(1)", 1),
        ("async def f():\n    await asyncio.sleep(0.1)", 1),
        ("async def f():\n    await asyncio.sleep(0)", 0),
        ("async def f(t):\n    await asyncio.sleep(t)", 1),
    ],
)
def test_sleep_is_recognised(source: str, found: int) -> None:
    """The check itself can fail."""
    assert len(_sleeps(Module(ROOT / "tests" / "imagined.py", ast.parse(source)))) == found


def test_test_folders_are_packages() -> None:
    folders = {m.path.parent for m in TESTS}
    assert [f.relative_to(ROOT).as_posix() for f in folders if not (f / "__init__.py").exists()] == []


def test_the_tree_is_the_layers() -> None:
    """A room that the import contract does not name is a room without rules."""
    contract = (ROOT / "pyproject.toml").read_text()
    rooms = {m.room for m in RELAY if m.room != "__init__"}
    assert {room for room in rooms if f"relay.{room}" not in contract} == set()


def test_there_is_no_stray_file_beside_the_rooms() -> None:
    known = {".py", ".sql", ".typed", ".toml", ".md", ".txt", ".html", ".css", ".js"}
    files = (path for path in (ROOT / "relay").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert [path.name for path in files if path.suffix not in known and path.name != "py.typed"] == []


def test_paths_are_read_from_the_root() -> None:
    assert (ROOT / "pyproject.toml").is_file()
    assert Path(__file__).is_relative_to(ROOT)


_GROUP_KEEPS_ALL: Final = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+|\(\?>")


def test_no_pattern_needs_a_newer_python_than_ours() -> None:
    """CPython before 3.11.5, Debian 12's among them, matches possessive groups wrongly (its issue 106052)."""
    found = [
        f"{module.name}:{node.lineno}"
        for module in modules("relay")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        if _GROUP_KEEPS_ALL.search(node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
    ]
    assert not found
