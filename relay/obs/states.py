"""States as Prometheus families: plain values in, the families of one scrape out.

What is counted lives in `metrics`; what simply *is* (mode, queue, disk, certificates) is sampled for each scrape and
given its name and help here, under the same rules: closed labels, every child present.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric

from relay.core.item import ItemState
from relay.core.mode import Mode, Override, Service

__all__ = [
    "Metric",
    "certificate_states",
    "disk_states",
    "mode_details",
    "mode_states",
    "node_states",
    "queue_histograms",
    "queue_states",
    "route_states",
]


ROUTES = ("primary", "world")
"""Where mail waits to go; values of `store.records.Route`."""


def mode_states(modes: Mapping[Service, Mode]) -> Iterable[Metric]:
    """One child per service and mode, 1 for the one in force; all 0 for a service that is not in `modes`."""
    family = GaugeMetricFamily(
        "relay_mode_state",
        "1 for the mode in force. 'standby': the primary's service is down and the relay stands in; 'recovery': the "
        "queue is being given back.",
        labels=("service", "mode"),
    )
    for service, mode in itertools.product(Service, Mode):
        family.add_metric((service, mode), modes.get(service) is mode)
    yield family


def mode_details(
    since: Mapping[Service, float], overrides: Mapping[Service, Override], unreached: Mapping[Service, bool]
) -> Iterable[Metric]:
    """Unix times, the operator's hand, and services that never answered."""
    family = GaugeMetricFamily(
        "relay_mode_since_timestamp_seconds",
        "When the mode last changed, as Unix time; 0 = never. Use time() minus this for the length of an outage.",
        labels=("service",),
    )
    for service in Service:
        family.add_metric((service,), since.get(service, 0.0))
    yield family
    family = GaugeMetricFamily(
        "relay_mode_override_state",
        "1 for the operator's choice. Anything but 'auto' stays until somebody runs `relay mode auto`.",
        labels=("service", "override"),
    )
    for service, override in itertools.product(Service, Override):
        family.add_metric((service, override), overrides.get(service, Override.AUTO) is override)
    yield family
    family = GaugeMetricFamily(
        "relay_mode_never_reached",
        "1 = this service of the primary is configured and has never answered: a wrong address, port or firewall. "
        "Try `relay check`.",
        labels=("service",),
    )
    for service in Service:
        family.add_metric((service,), unreached.get(service, False))
    yield family


def queue_states(
    items: Mapping[ItemState, int],
    size: Mapping[ItemState, int],
    oldest_age: Mapping[ItemState, float],
    *,
    retention: float,
) -> Iterable[Metric]:
    """Messages, their bytes and the age of the oldest, per state; and the age at which they are held."""
    for name, text, values in (
        (
            "relay_queue_items",
            "Messages by state. 'pending' grows in an outage and shrinks in recovery; 'held' and 'quarantined' wait "
            "for the operator: `relay queue list --state held`.",
            items,
        ),
        ("relay_queue_size_bytes", "Bytes of messages by state. Compare with relay_disk_free_bytes.", size),
        (
            "relay_queue_oldest_seconds",
            "Age of the oldest message by state. 'pending' near relay_queue_retention_seconds: it will be held for the "
            "operator.",
            oldest_age,
        ),
    ):
        yield _gauges(name, text, "state", {state: values.get(state, 0) for state in ItemState})

    yield _gauge(
        "relay_queue_retention_seconds",
        "retention.spool: how long mail waits before it is held. Compare with relay_queue_oldest_seconds.",
        retention,
    )


def route_states(waiting: Mapping[str, int], oldest_age: Mapping[str, float]) -> Iterable[Metric]:
    """Messages that wait, and the age of the oldest, by where they go (`ROUTES`)."""
    for name, text, values in (
        (
            "relay_queue_route_items",
            "Messages that wait by where they go. 'world': what users sent while the primary is away.",
            waiting,
        ),
        (
            "relay_queue_route_oldest_seconds",
            "Age of the oldest message that waits, by where it goes. 'world' for hours: nothing gets out, or one "
            "recipient's server is down; `relay queue list` shows what it says.",
            oldest_age,
        ),
    ):
        yield _gauges(name, text, "route", {route: values.get(route, 0) for route in ROUTES})


def queue_histograms(
    ages: tuple[Sequence[float], Sequence[int], float], sizes: tuple[Sequence[float], Sequence[int], float]
) -> Iterable[Metric]:
    """Of the messages that are still owed; each as bounds, counts per bucket (not cumulated, last = +Inf), sum."""
    yield _histogram("relay_queue_age_seconds", "Ages of messages not yet delivered. A wide tail: some never go.", ages)
    yield _histogram("relay_queue_message_bytes", "Sizes of messages not yet delivered; for planning a drain.", sizes)


def disk_states(free: int, size: int, free_inodes: int, size_inodes: int) -> Iterable[Metric]:
    """The file system of the data directory."""
    yield _gauge(
        "relay_disk_free_bytes",
        "Free space for the spool. Below disk.reserve senders are told to try later.",
        free,
    )
    yield _gauge("relay_disk_size_bytes", "Size of the file system that the spool is on; for ratios and alerts.", size)
    yield _gauge(
        "relay_disk_free_inodes",
        "Free inodes; -1 = the file system does not count them. Below disk.reserve_inodes senders are told to wait.",
        free_inodes,
    )
    yield _gauge(
        "relay_disk_size_inodes",
        "Inodes of the file system that the spool is on; -1 = it does not count them. For ratios and alerts.",
        size_inodes,
    )


def node_states(*, version: str, python: str, ready: bool, started: float, workers: int) -> Iterable[Metric]:
    """The process itself."""
    info = GaugeMetricFamily(
        "relay_build_info",
        "Always 1; the labels say what runs. Two values at once: an upgrade is half done.",
        labels=("version", "python"),
    )
    info.add_metric((version, python), 1)
    yield info
    yield _gauge(
        "relay_node_ready",
        "1 = can durably accept mail. 0: senders get 4xx; look at disk, store and log.",
        ready,
    )
    yield _gauge(
        "relay_node_start_timestamp_seconds", "When the node started, as Unix time; jumps show restarts.", started
    )
    yield _gauge("relay_node_workers", "Worker processes that are configured; see node.workers.", workers)


def certificate_states(seconds_left: float | None) -> Iterable[Metric]:
    """Nothing without a certificate."""
    if seconds_left is not None:
        yield _gauge(
            "relay_tls_certificate_expiry_seconds",
            "Seconds until the certificate in use expires; negative = it has. Renew it and send HUP.",
            seconds_left,
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family


def _histogram(name: str, text: str, value: tuple[Sequence[float], Sequence[int], float]) -> Metric:
    bounds, counts, total = value
    labels = [*(str(float(bound)) for bound in bounds), "+Inf"]
    buckets = [(label, float(count)) for label, count in zip(labels, itertools.accumulate(counts), strict=True)]
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=total)
