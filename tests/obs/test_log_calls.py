"""Every log call in the code uses keys that the log lets through; a typing error would silently cost a detail."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from relay.accounts.login import Reason, Verdict
from relay.accounts.record import login_failed
from relay.listen.turned_away import TurnedAway
from relay.obs.logs import TEXTS, WORDS
from relay.obs.records import records
from tests.house.sources import ROOT, modules
from tests.obs.written import written

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


OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def test_what_the_operator_is_told_to_look_for_is_written() -> None:
    events = {call.args[0].value for _, call in calls() if call.args and isinstance(call.args[0], ast.Constant)}
    table = re.findall(r"^\| `(\w+)` \|", OPERATIONS.partition("## Logs")[2], re.MULTILINE)
    named = re.findall(r"log says\s+`(\w+)`", OPERATIONS) + re.findall(r'"event":"(\w+)"', OPERATIONS)
    assert {"message", "replayed", "login_failed", "turned_away"} <= set(table)
    assert len(named) > 4
    assert {*table, *named} - events == set()


def test_the_filter_of_fail2ban_finds_addresses() -> None:
    block = OPERATIONS.partition("failregex = ")[2].partition("\n\n")[0]
    patterns = [re.compile(line.strip().replace("<HOST>", r"(?P<host>[0-9a-f.:]+)")) for line in block.splitlines()]
    with written() as log:
        for verdict, reason in ((Verdict.REFUSED, Reason.MISMATCH), (Verdict.UNAVAILABLE, Reason.THROTTLED)):
            login_failed(verdict, reason, conn="1-1", client="192.0.2.1", protocol="imap")
        login_failed(Verdict.UNAVAILABLE, Reason.NOTHING_KNOWN, conn="1-1", client="192.0.2.2", protocol="imap")
        for limit in ("too_many_from_address", "too_many"):
            TurnedAway("mx")._say("2001:db8::1", limit, 3)
        records("inbound").info("message", client="192.0.2.3", reason="recipients")
        found = [
            match["host"]
            for line in log.text.splitlines()
            for one in patterns
            if (match := one.search(line)) is not None
        ]
    assert found == ["192.0.2.1", "192.0.2.1", "2001:db8::1"]


def test_keys_are_known() -> None:
    unknown = [
        f"{where} {keyword.arg}"
        for where, call in calls()
        for keyword in call.keywords
        if keyword.arg not in WORDS | TEXTS | OWN | NUMBERS and not (keyword.arg or "").endswith("_in_seconds")
    ]
    assert unknown == []
