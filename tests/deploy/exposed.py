"""Every metric that a node exposes, with its labels and the values they can have: read from a page as it is scraped."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from relay.core.item import ItemState
from relay.core.mode import Mode, Override, Service
from relay.obs import states
from relay.obs.bounds import AGES, SIZES
from relay.obs.metrics import Metrics


def _sampled() -> Iterable[Metric]:
    """All states, with any values."""
    return itertools.chain(
        states.node_states(version="1", python="3", ready=True, started=0.0, workers=1),
        states.mode_states(dict.fromkeys(Service, Mode.NORMAL)),
        states.mode_details(
            dict.fromkeys(Service, 0.0), dict.fromkeys(Service, Override.AUTO), dict.fromkeys(Service, False)
        ),
        states.queue_states(
            dict.fromkeys(ItemState, 0), dict.fromkeys(ItemState, 0), dict.fromkeys(ItemState, 0.0), retention=1.0
        ),
        states.route_states({}, {}),
        states.queue_histograms((AGES, [0] * (len(AGES) + 1), 0.0), (SIZES, [0] * (len(SIZES) + 1), 0.0)),
        states.disk_states(1, 1, 1, 1),
        states.certificate_states(1.0),
    )


@functools.cache
def exposed() -> dict[str, dict[str, frozenset[str]]]:
    """Name of each sample to its labels, each with every value that it has on the page (label sets are closed)."""
    found: dict[str, dict[str, set[str]]] = {}
    page = Metrics().exposition(_sampled()).decode()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return {name: {label: frozenset(values) for label, values in labels.items()} for name, labels in found.items()}
