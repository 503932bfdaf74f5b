"""Metrics: names, closed label sets at zero, several workers counted together."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from relay.core.mode import Service, Signal
from relay.obs import metrics
from relay.obs.metrics import Metrics

NAME = re.compile(r"relay_(node|inbound|spool|store|replay|world|serve|login|mode|log)_[a-z_]+")


def page(made: Metrics) -> dict[str, float]:
    """Sample line -> value."""
    return {
        f"{sample.name}{dict(sorted(sample.labels.items()))}": sample.value
        for family in text_string_to_metric_families(made.exposition().decode())
        for sample in family.samples
    }


def test_every_name_says_its_subsystem_and_every_help_what_to_do() -> None:
    families = [f for f in Metrics().registry.collect() if not f.name.startswith("process_")]
    assert len(families) > 30
    for family in families:
        assert NAME.fullmatch(family.name), family.name
        assert len(family.documentation) > 40, family.name
        assert family.documentation.endswith("."), family.name


def test_all_children_exist_at_zero() -> None:
    lines = page(Metrics())
    ours = {name: value for name, value in lines.items() if name.startswith("relay_") and "_created" not in name}
    assert "relay_inbound_connections_total{'listener': 'mx', 'result': 'too_many'}" in ours
    assert "relay_mode_evidence_total{'service': 'smtp', 'signal': 'fail', 'source': 'probe'}" in ours
    assert set(ours.values()) == {0.0}


def test_an_undeclared_label_value_is_not_counted() -> None:
    made = Metrics()
    with pytest.raises(KeyError):
        made.inbound.faults["bob@example.org"]  # type: ignore[index]  # the point of the test
    made.serve.commands.known(("XHACK", "bad"), ("OTHER", "bad")).inc()
    assert page(made)["relay_serve_commands_total{'command': 'OTHER', 'result': 'bad'}"] == 1
    assert not [line for line in page(made) if "XHACK" in line]


def test_two_nodes_in_one_process_share_nothing() -> None:
    one, two = Metrics(), Metrics()
    one.spool.rescued.inc()
    one.mode.evidence[(Service.SMTP, "probe", Signal.FAIL)].inc()
    assert page(one)["relay_spool_rescued_total{}"] == 1
    assert page(two)["relay_spool_rescued_total{}"] == 0


def test_sampled_states_are_on_the_page() -> None:
    family = GaugeMetricFamily("relay_queue_items", "Items.", labels=["state"])
    family.add_metric(["pending"], 7)
    text = Metrics().exposition([family]).decode()
    assert 'relay_queue_items{state="pending"} 7.0' in text
    assert text.count("# TYPE relay_queue_items ") == 1


WORKER = """
import sys
from pathlib import Path
from relay.obs.metrics import Metrics, share
directory, slot = Path(sys.argv[1]), int(sys.argv[2])
share(directory, slot)
made = Metrics(shared=directory)
made.spool.quarantined.inc(int(sys.argv[3]))
made.inbound.open["mx"].inc(5)
made.spool.commit_seconds.observe(0.003)
print(made.exposition().decode())
"""


def worker(directory: Path, slot: int, accepts: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(directory), str(slot), str(accepts)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def value(text: str, name: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[-1])


def test_workers_are_counted_together_and_a_dead_one_holds_no_connections(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    metrics.wipe(directory)
    worker(directory, 0, 3)
    text = worker(directory, 1, 4)
    assert value(text, "relay_spool_quarantined_total") == 7
    assert value(text, 'relay_inbound_open_connections{listener="mx"}') == 10
    assert value(text, "relay_store_commit_seconds_count") == 2

    files = sorted(file.name for file in directory.iterdir())
    metrics.forget_worker(directory, 0)
    text = worker(directory, 1, 1)
    assert value(text, 'relay_inbound_open_connections{listener="mx"}') == 10  # slot 1 twice, slot 0 forgotten
    assert value(text, "relay_spool_quarantined_total") == 8
    assert len(list(directory.iterdir())) < len(files)

    metrics.wipe(directory)
    assert not list(directory.iterdir())
