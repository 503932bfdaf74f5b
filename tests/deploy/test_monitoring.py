"""Alert rules and dashboard: accepted and tested by promtool, and about metrics that the code really has."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.exposed import exposed
from tests.house.sources import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "relay.json"
SELECTOR = re.compile(r"\b(relay_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'([a-z]+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
FROM_SCRAPE = {"instance", "job", "le"}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *map(str, arguments)], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Where it stands, and the expression as Prometheus gets it."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            yield f"panel {panel['title']}", expression
    dashboard = json.loads(DASHBOARD.read_text())
    for annotation in dashboard["annotations"]["list"]:
        yield "annotation", annotation["expr"].replace("$instance", ".*")
    for variable in dashboard["templating"]["list"]:
        yield "variable", re.sub(r"label_values\((\w+),.*\)", r"\1", variable["definition"])


def test_promtool_accepts_configuration_and_rules() -> None:
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    done = promtool("test", "rules", "rules.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    cases = yaml.safe_load((PROMETHEUS / "rules.test.yml").read_text())["tests"]
    fired = {test["alertname"] for case in cases for test in case["alert_rule_test"] if test["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules()}


def test_every_expression_is_one(tmp_path: Path) -> None:
    records = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(queries())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": records}]}))
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": [{"record": "x", "expr": "sum(("}]}]}))
    assert promtool("check", "rules", file).returncode != 0


@pytest.mark.parametrize(
    ("place", "query"), [pytest.param(*pair, id=f"{i} {pair[0]}") for i, pair in enumerate(queries())]
)
def test_metrics_and_labels_are_real(place: str, query: str) -> None:
    """Every name is exposed, every label of it exists, and every value asked for is one that it can have."""
    known = exposed()
    for name, matchers in SELECTOR.findall(query):
        assert name in known, f"{place}: {name} is not exposed"
        for label, operator, value in MATCHER.findall(matchers or ""):
            if label in FROM_SCRAPE:
                continue
            assert label in known[name], f"{place}: {name} has no label {label}"
            asked = value.split("|") if operator in ("=~", "!~") else [value]
            assert set(asked) <= known[name][label], f"{place}: {name}.{label} is never {value}"


@pytest.mark.parametrize(
    "query", ['relay_queue_items{state="nowhere"}', "relay_no_such_metric", 'relay_queue_items{x="y"}']
)
def test_the_check_above_can_fail(query: str) -> None:
    with pytest.raises(AssertionError):
        test_metrics_and_labels_are_real("here", query)


def test_each_alert_says_what_is_wrong_and_where_to_read_on() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text()
    headings = set(re.findall(r"^### (Relay\w+)$", operations, re.MULTILINE))
    assert headings == {rule["alert"] for rule in rules()}
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"page", "ticket", "info"}
        assert len(rule["annotations"]["summary"]) > 30


def test_the_dashboard_is_whole() -> None:
    ids = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(ids) == len(set(ids))
    datasource = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text(),
    )["datasources"][0]["uid"]
    taken: dict[tuple[int, int], str] = defaultdict(str)
    for panel in panels():
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == datasource
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert not taken[x, y], f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
