"""The benchmark's own arithmetic, and that its measurements run; never their timings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import passing, report, speed
from tests.bench.report import Figure, median_figure


@pytest.mark.parametrize(
    ("figure", "ratio", "reached"),
    [
        (Figure(what="a", value=300, unit="msg/s", yardstick=200, aim=1.5), 1.5, True),
        (Figure(what="a", value=299, unit="msg/s", yardstick=200, aim=1.5), 1.495, False),
        (Figure(what="a", value=14, unit="ms", yardstick=10, aim=1.4, most=True), 1.4, True),
        (Figure(what="a", value=401, unit="MiB", aim=400, most=True), None, False),
        (Figure(what="a", value=401, unit="MiB"), None, None),
    ],
)
def test_an_aim_is_reached_or_not(figure: Figure, ratio: float | None, reached: bool | None) -> None:
    assert figure.ratio == ratio
    assert figure.reached is reached


def test_every_shape_holds_every_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figures = [
        median_figure("durable accept", [3.0, 1.0, 2.0], "msg/s", against="Postfix", yardstick=1.0, aim=1.5),
        Figure(what="start", value=1.234, unit="s", aim=3, most=True),
    ]
    monkeypatch.setattr(report, "ROOT", tmp_path)
    written = report.write(figures, {"cores": "2"})
    content = json.loads(written.read_text())
    assert [figure["value"] for figure in content["figures"]] == [2.0, 1.234]
    page = written.with_suffix(".md").read_text()
    for shape in (page, report.terminal(figures)):
        assert "durable accept" in shape
        assert "2.00 x" in shape
        assert ">= 1.5 x" in shape
        assert "<= 3 s" in shape


@pytest.mark.peers
@pytest.mark.timeout(300)
def test_measurements_run() -> None:
    effort = speed.Effort(rounds=1, small=60)
    figures = [*speed.accept(effort), *speed.cut_through(effort)]
    assert len(figures) == 10
    assert all(figure.value > 0 and figure.yardstick and figure.yardstick > 0 for figure in figures)


@pytest.mark.peers
@pytest.mark.timeout(300)
def test_pass_through_is_measured() -> None:
    figures = [*passing.through(rounds=1, megabytes=1, commands=20), *passing.idle(20)]
    assert [figure.unit for figure in figures] == ["MB/s", "MB/s", "ms", "ms", "kB"]
    assert all(figure.value > 0 and figure.yardstick for figure in figures[:2])
