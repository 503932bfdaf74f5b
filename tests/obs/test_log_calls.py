"""Every log call in the code uses keys that the log lets through; a typing error would silently cost a detail."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from relay.obs.logs import TEXTS, WORDS
from tests.house.sources import modules

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
OWN = {"exc_info"}
NUMBERS = {
    "attempts", "bytes", "code", "count", "exit_code", "number", "pid", "seconds", "size", "turned_down", "worker",
}  # fmt: skip
"""Keys that hold numbers: these pass under any key, the list only says that they are meant to."""


def calls() -> Iterator[tuple[str, ast.Call]]:
    for module in modules("relay"):
        for node in ast.walk(module.tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and any(name in ast.unparse(node.func.value) for name in ("log", "_said"))
            ):
                yield f"{module.name}:{node.lineno}", node


def test_there_are_calls() -> None:
    assert len(list(calls())) > 20


def test_events_are_fixed_words() -> None:
    bad = [
        where
        for where, call in calls()
        if len(call.args) != 1
        or not isinstance(call.args[0], ast.Constant)
        or not str(call.args[0].value).replace("_", "").isalnum()
    ]
    assert bad == []


def test_keys_are_known() -> None:
    unknown = [
        f"{where} {keyword.arg}"
        for where, call in calls()
        for keyword in call.keywords
        if keyword.arg not in WORDS | TEXTS | OWN | NUMBERS and not (keyword.arg or "").endswith("_in_seconds")
    ]
    assert unknown == []
