"""How does Prometheus read the numbers? Its own library writes them down when a scrape asks, in a thread.

The numbers are kept by the engine, not by `prometheus_client`: counting costs a request a dictionary's step, no lock,
and the app's own registry and its multiprocess mode stay as they are. To have phase1's metrics among the app's own:

    prometheus_client.REGISTRY.register(Collector(lambda: numbers_of(manager)))

While the thread writes, the event loop wants the interpreter too, and would wait five milliseconds for it again and
again: so the thread steps aside after every few samples.

Without `prometheus_client` (extra `metrics`) there is no exposition, and the pages answer with JSON.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from phase1.observe.families import FAMILIES, Family

if TYPE_CHECKING:
    from prometheus_client import Metric

    from phase1.observe.numbers import Labels, Numbers, Value

__all__ = ["AVAILABLE", "Collector", "render"]

_CHILDREN = 5
_LINES = 50
_ASIDE = 1e-4
"""Seconds. A sleep of 0 would often take the interpreter back before anybody else has it."""

AVAILABLE = find_spec("prometheus_client") is not None
"""Whether the exposition can be rendered."""


def render(numbers: Numbers, accept: str) -> tuple[bytes, str]:
    """The exposition and its content type, in the format that `accept` asks for."""
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - an extra
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

    registry = CollectorRegistry()
    registry.register(Collector(lambda: numbers))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class Collector:
    """Gives `numbers()` to a registry of `prometheus_client`."""

    def __init__(self, numbers: Callable[[], Numbers]) -> None:
        self._numbers = numbers

    def describe(self) -> list[Metric]:
        """Nothing is asked of the numbers when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family, read now. One without a value is left out."""
        numbers = self._numbers()
        for family in FAMILIES:
            if values := numbers.get(family.name):
                yield _metric(family, values)


def _metric(family: Family, values: dict[Labels, Value]) -> Any:  # noqa: ANN401 - three classes that only look alike
    from prometheus_client import core  # noqa: PLC0415

    kinds = {
        "counter": core.CounterMetricFamily,
        "gauge": core.GaugeMetricFamily,
        "histogram": core.HistogramMetricFamily,
    }
    metric: Any = kinds[family.kind](family.name, family.help, labels=family.labels)
    for number, (labels, value) in enumerate(values.items(), start=1):
        if isinstance(value, tuple):
            metric.add_metric(labels, _buckets(family, value[0]), value[1])
        else:
            metric.add_metric(labels, value)
        if number % _CHILDREN == 0:
            time.sleep(_ASIDE)
    metric.samples = _Samples(metric.samples)
    return metric


class _Samples(list[Any]):
    """Steps aside while it is gone through."""

    def __iter__(self) -> Iterator[Any]:
        for number, sample in enumerate(super().__iter__(), start=1):
            yield sample
            if number % _LINES == 0:
                time.sleep(_ASIDE)


def _buckets(family: Family, counts: list[int]) -> list[tuple[str, float]]:
    bounds = (*(f"{bound:.12g}" for bound in family.bounds), "+Inf")
    return list(zip(bounds, accumulate(counts), strict=True))
