"""How metrics are made: families with closed label sets, every child there from the start.

Enters: names, help texts, the allowed values of each label. Leaves: `Family` objects that are looked up, never grown.

1. A label value that was not declared cannot be counted: the number of time series is fixed at start.
2. Every child exists with zero before the first event, so that `rate()` sees the first one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

K = TypeVar("K")
M = TypeVar("M")


class Family(Mapping[K, M], Generic[K, M]):
    """The children of one metric: by label value, or by the tuple of values where there are several labels."""

    def __init__(self, children: Mapping[K, M]) -> None:
        self._children = dict(children)

    def __getitem__(self, key: K) -> M:
        return self._children[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._children)

    def __len__(self) -> int:
        return len(self._children)

    def known(self, key: object, other: K) -> M:
        """The child for a value that came from a peer; that of `other` where it was not declared."""
        found: M | None = self._children.get(cast("K", key))
        return found if found is not None else self._children[other]


class Maker:
    """Creates metrics in one registry. Gauges are summed over the live workers (multiprocess mode)."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._registry = registry

    def counter(self, name: str, text: str) -> Counter:
        """One counter; `name` ends in `_total`."""
        return Counter(name, text, registry=self._registry)

    def counters(self, name: str, text: str, **labels: Sequence[str]) -> Family[Any, Counter]:
        """A counter per combination of label values."""
        return _children(Counter(name, text, tuple(labels), registry=self._registry), labels)

    def gauge(self, name: str, text: str) -> Gauge:
        """One gauge."""
        return Gauge(name, text, registry=self._registry, multiprocess_mode="livesum")

    def gauges(self, name: str, text: str, **labels: Sequence[str]) -> Family[Any, Gauge]:
        """A gauge per combination of label values."""
        return _children(
            Gauge(name, text, tuple(labels), registry=self._registry, multiprocess_mode="livesum"),
            labels,
        )

    def histogram(self, name: str, text: str, bounds: Sequence[float]) -> Histogram:
        """One histogram with the given upper bounds (`+Inf` is added)."""
        return Histogram(name, text, registry=self._registry, buckets=tuple(bounds))

    def histograms(
        self, name: str, text: str, bounds: Sequence[float], **labels: Sequence[str]
    ) -> Family[Any, Histogram]:
        """A histogram per combination of label values."""
        return _children(
            Histogram(name, text, tuple(labels), registry=self._registry, buckets=tuple(bounds)),
            labels,
        )


def _children(parent: Any, labels: Mapping[str, Sequence[str]]) -> Family[Any, Any]:
    """Every combination, keyed by the bare value when there is one label."""
    if len(labels) == 1:
        (values,) = labels.values()
        return Family({value: parent.labels(str(value)) for value in values})
    return Family(
        {combination: parent.labels(*map(str, combination)) for combination in itertools.product(*labels.values())}
    )
