"""How does Prometheus read the numbers? Rendered from the manager's tally when a scrape asks, in a thread.

The loop counts on meanwhile, so each counter is copied (one step for the interpreter) before it is gone through.

Without `prometheus_client` (extra `metrics`) there is no exposition, and the pages answer with JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Metric

    from phase1.doors.manager import LLMManager

__all__ = ["AVAILABLE", "render"]

AVAILABLE = find_spec("prometheus_client") is not None
"""Whether the exposition can be rendered."""


def render(manager: LLMManager, accept: str) -> tuple[bytes, str]:
    """The exposition and its content type, in the format that `accept` asks for."""
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - an extra
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

    registry = CollectorRegistry()
    registry.register(_Collector(manager))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collector:
    def __init__(self, manager: LLMManager) -> None:
        self._manager = manager

    def collect(self) -> Iterator[Metric]:
        """Every family, read now."""
        yield from _counters(self._manager)
        yield from _gauges(self._manager)


def _counters(manager: LLMManager) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily as Counter  # noqa: PLC0415

    tally = manager.tally
    routes = Counter("phase1_route", "App requests by route and reason", labels=["route", "reason"])
    for route, count in dict(tally.routes).items():
        routes.add_metric(route, count)
    attempts = Counter("phase1_attempts", "Attempts at nodes", labels=["node", "kind", "outcome"])
    for attempt, count in dict(tally.attempts).items():
        attempts.add_metric(attempt, count)
    fallbacks = Counter("phase1_fallbacks", "Calls that legacy answered instead of the pool", labels=["reason"])
    for reason, count in dict(tally.fallbacks).items():
        fallbacks.add_metric([reason], count)
    transitions = Counter("phase1_breaker_transitions", "Changes of the breaker", labels=["scope", "to"])
    for to, count in dict(tally.transitions).items():
        transitions.add_metric(["pool", to], count)
    yield from (routes, attempts, fallbacks, transitions)


def _gauges(manager: LLMManager) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily as Gauge  # noqa: PLC0415

    from phase1.policy.breaker import BreakerState  # noqa: PLC0415

    yield Gauge("phase1_enabled", "Whether the toggle is on", value=manager.switches.enabled)
    yield Gauge("phase1_canary_percent", "Percent of the keys that go to the pool", value=manager.canary.percent)
    state = manager.breaker.snapshot().state
    breaker = Gauge("phase1_breaker_state", "1 for the state the breaker is in", labels=["scope", "state"])
    for each in BreakerState:
        breaker.add_metric(["pool", each], each == state)
    yield breaker
    binding = manager.bindings.peek()
    if binding is None or binding.pool is None:
        return
    yield Gauge("phase1_pool_queue_depth", "Calls waiting for a place", value=binding.admission.waiting)
    in_flight = Gauge("phase1_pool_requests_in_flight", "Calls on a node", labels=["node"])
    capacity = Gauge("phase1_pool_capacity_requests", "Calls a node may have in flight", labels=["node"])
    healthy = Gauge("phase1_node_healthy", "Whether a node is up", labels=["node"])
    for node in binding.pool.nodes:
        in_flight.add_metric([node.name], node.in_flight)
        capacity.add_metric([node.name], node.capacity)
        healthy.add_metric([node.name], node.up)
    yield from (in_flight, capacity, healthy)
