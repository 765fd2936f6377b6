"""What has happened so far, in numbers? An observer, O(1) per event, read by `get_metrics()` and our pages."""

from __future__ import annotations

from collections import Counter, deque

from phase1.events import (
    AttemptFinished,
    BlockingCall,
    BreakerChanged,
    CallFinished,
    Event,
    FellBack,
    LegacyFinished,
    NodeChanged,
    Routed,
)

__all__ = ["Tally"]

_RECENT = 1000


class Tally:
    """Counters since the start, and the latencies of the last thousand answers through the pool and through legacy."""

    def __init__(self) -> None:
        self.routes: Counter[tuple[str, str]] = Counter()
        self.calls: Counter[str] = Counter()
        self.attempts: Counter[tuple[str, str, str]] = Counter()
        self.fallbacks: Counter[str] = Counter()
        self.transitions: Counter[str] = Counter()
        self.node_alarms: Counter[str] = Counter()
        self.blocking_sites: Counter[str] = Counter()
        self.legacy: Counter[str] = Counter()
        self.pool_seconds: deque[float] = deque(maxlen=_RECENT)
        self.queue_seconds: deque[float] = deque(maxlen=_RECENT)
        self.legacy_seconds: deque[float] = deque(maxlen=_RECENT)

    def on_event(self, event: Event, /) -> None:
        """Count it."""
        match event:
            case Routed():
                self.routes[event.route, event.reason] += 1
            case AttemptFinished():
                self.attempts[event.node, "retry" if event.retry else "primary", event.kind] += 1
            case CallFinished():
                self._call(event)
            case FellBack():
                self.fallbacks[event.reason] += 1
            case LegacyFinished():
                self.legacy[event.error or "ok"] += 1
                self.legacy_seconds.append(event.seconds)
            case BlockingCall():
                self.blocking_sites[event.site] += 1
            case BreakerChanged():
                self.transitions[event.after] += 1
            case NodeChanged():
                self.node_alarms[event.node] += not event.up

    def _call(self, event: CallFinished) -> None:
        self.calls[event.kind] += 1
        self.queue_seconds.append(event.queue_seconds)
        if event.first_seconds is not None:
            self.pool_seconds.append(event.first_seconds)

    def latency(self) -> dict[str, dict[str, float | int | None]]:
        """Mean and percentiles in seconds, per route; `None` where nothing was measured."""
        return {
            "pool": _summary(self.pool_seconds),
            "queue": _summary(self.queue_seconds),
            "legacy": _summary(self.legacy_seconds),
        }


def _summary(seconds: deque[float]) -> dict[str, float | int | None]:
    ordered = sorted(seconds)
    if not ordered:
        return {"count": 0, "mean": None, "p50": None, "p95": None, "p99": None}
    return {
        "count": len(ordered),
        "mean": sum(ordered) / len(ordered),
        "p50": _percentile(ordered, 0.50),
        "p95": _percentile(ordered, 0.95),
        "p99": _percentile(ordered, 0.99),
    }


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
