"""What `relay status` makes of an answer: why the queue stands still, and when it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from relay.cli import status

NOW = 1_800_000_000.0
OPEN = {"gate": "open", "since": NOW - 600, "trips": 0, "resting": False, "next_try": None}
RESTING = {"gate": "closed", "since": NOW - 20, "trips": 3, "resting": True, "next_try": NOW + 40}
CANARY = {"gate": "canary", "since": NOW - 300, "trips": 0, "resting": False, "next_try": NOW - 1}


def found(replay: dict[str, Any] | None, mode: str = "recovery", pending: int = 7) -> dict[str, Any]:
    """An answer of /api/v1/status, as far as it matters here."""
    smtp = {
        "mode": mode, "since": NOW, "reason": "", "override": "auto", "configured": True, "ever_reached": True,
    }  # fmt: skip
    return {
        "node": "edge-1",
        "at": NOW,
        "readiness": {"store": True},
        "modes": {"smtp": smtp},
        "queue": {"pending": {"items": pending, "bytes": 1, "oldest": NOW - 9}},
        "routes": {},
        "disk": None,
        "certificate_expires": None,
        "canaries": None,
        "sent_again": {"count": 0, "last": 0.0},
        "replay_paused": replay is not None and replay["gate"] == "paused",
        "replay": replay,
    }


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (found(RESTING), ["rests after errors", "3 in a row", "40s", "queue list"]),
        (found(RESTING, "normal"), ["rests after errors"]),
        (found(CANARY), ["one message at a time", "5m", "queue list"]),
        (found({**OPEN, "gate": "paused"}), ["relay replay resume"]),
    ],
)
def test_a_queue_that_stands_still_is_a_trouble(answer: dict[str, Any], words: list[str]) -> None:
    (trouble,) = status._troubles(answer)
    assert [word for word in words if word not in trouble] == []


@pytest.mark.parametrize(
    "answer",
    [
        found(OPEN),
        found(None),
        found(RESTING, "standby"),
        found(RESTING, pending=0),
        found(CANARY, "normal"),
        found({**CANARY, "since": NOW - 30}),
    ],
)
def test_one_that_moves_or_is_kept_by_the_mode_is_none(answer: dict[str, Any]) -> None:
    assert status._troubles(answer) == []


def test_the_screen_says_how_the_gate_stands(capsys: pytest.CaptureFixture[str]) -> None:
    for replay, text in (
        (OPEN, "replay open since 10m"),
        (RESTING, "replay closed since 20s, closed by errors 3 times in a row, next try in 40s"),
        (CANARY, "replay canary since 5m, next try now"),
        ({**OPEN, "gate": "closed", "since": None}, "replay closed"),
    ):
        status._print(found(replay), [])
        assert text in " ".join(capsys.readouterr().out.split())
