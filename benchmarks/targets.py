"""What must be reached? The target table, and what this run says about each row of it.

The table is that of the project's performance page: ratios within one run, ours with all features on. Its rows in
microseconds were set on a machine on which raw aiohttp took 64 µs a call: they are compared at that machine's speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.document import Results
from benchmarks.figures import Spread, ratios, spread

__all__ = ["TARGETS", "Judged", "Target", "Verdict", "judge_all"]

OURS, STOCK, LITELLM = "phase1-full", "openai3", "litellm"
_SLOW = 0.2  # seconds: the upstream `slow`
_REFERENCE_US = 64.0  # raw aiohttp, 20 in flight, where the targets in microseconds were set


class Verdict(StrEnum):
    """How a target stands."""

    MET = "met"
    UNMET = "not met"
    UNKNOWN = "not measured"
    ELSEWHERE = "see benchmarks/unblock.py"


@dataclass(frozen=True, slots=True)
class Target:
    """`limit`: the median must not be above it. `prototype`: what has been reached once."""

    what: str
    limit: float
    prototype: str
    measured: Callable[[Results], list[float]] | None
    """Its figure in each round; `None` = another program measures it."""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A target and what came of it."""

    target: Target
    figure: Spread | None

    @property
    def verdict(self) -> Verdict:
        """Judged by the median."""
        if self.target.measured is None:
            return Verdict.ELSEWHERE
        if self.figure is None:
            return Verdict.UNKNOWN
        return Verdict.MET if self.figure.median <= self.target.limit else Verdict.UNMET


def judge_all(results: Results) -> list[Judged]:
    """Every target, in the table's order."""
    return [Judged(target, spread(target.measured(results)) if target.measured else None) for target in TARGETS]


def _cpu(scenario: str, row: str, against: str) -> Callable[[Results], list[float]]:
    return lambda found: ratios(found.rounds(scenario, row, "cpu_us"), found.rounds(scenario, against, "cpu_us"))


def _growth(found: Results) -> list[float]:
    return ratios(found.rounds("queued-10000", OURS, "cpu_us"), found.rounds("unary-100", OURS, "cpu_us"))


def _waiting(found: Results) -> list[float]:
    return [seconds / _SLOW for seconds in found.rounds("slow-1000", OURS, "p50")]


def _against_raw(found: Results) -> list[float]:
    return ratios(found.rounds("slow-1000", OURS, "p50"), found.rounds("slow-1000", "raw-aiohttp", "p50"))


def _of_app(name: str) -> Callable[[Results], list[float]]:
    return lambda found: [added * _speed(found) for added in found.rounds("asgi", name, "added_us")]


def _speed(found: Results) -> float:
    """Of this machine, in the unit of the targets'; 1 where raw aiohttp was not measured."""
    raw = spread(found.rounds("unary-20", "raw-aiohttp", "cpu_us"))
    return _REFERENCE_US / raw.median if raw is not None else 1.0


def _memory(found: Results) -> list[float]:
    return found.rounds("memory-1000", OURS, "mb")


TARGETS = (
    Target("CPU per pooled chat call against stock, 20 in flight", 0.10, "0.05", _cpu("unary-20", OURS, STOCK)),
    Target("CPU per pooled chat call against stock, 100 in flight", 0.10, "0.05", _cpu("unary-100", OURS, STOCK)),
    Target("the same against LiteLLM Router, 20 in flight", 0.04, "0.02", _cpu("unary-20", OURS, LITELLM)),
    Target("the same against LiteLLM Router, 100 in flight", 0.04, "0.02", _cpu("unary-100", OURS, LITELLM)),
    Target("CPU per streamed chunk against stock", 0.12, "0.04", _cpu("stream-20", OURS, STOCK)),
    Target("1,000 in flight on a 200 ms upstream: p50 / upstream latency", 1.20, "1.08", _waiting),
    Target("the same against raw aiohttp", 1.06, "0.96", _against_raw),
    Target("10,000 queued, 1,000 in flight: CPU per call against 100 in flight", 2.0, "1.7", _growth),
    Target("httpx transport, 100 in flight, against stock", 0.6, "0.5", _cpu("unary-100", "phase1-full-httpx", STOCK)),
    Target("legacy mode: added CPU per app request, at the targets' speed", 10.0, "0", _of_app("legacy"), "µs"),
    Target("pool mode: middleware + portal + dependency + selection, likewise", 40.0, "", _of_app("pool"), "µs"),
    Target("metrics and flight recorder: added CPU per call, likewise", 8.0, "", _of_app("observing"), "µs"),
    Target("50 users on an untouched app: wall / upstream latency", 1.6, "1.0", None),
    Target("resident memory per 1,000 requests in flight", 40.0, "20", _memory, "MB"),
)
