"""What is measured, of whom, how often? The quick plan takes less than a minute, the full one less than ten."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.load import Load
from benchmarks.rows import ROWS

__all__ = ["FULL", "LEAST_ROUNDS", "QUICK", "UPSTREAMS", "Plan", "Scenario", "scenario"]

LEAST_ROUNDS = 2
"""Fewer say nothing about the spread."""

UPSTREAMS: Mapping[str, Mapping[str, float]] = {
    "instant": {"events": 100, "per-write": 10},
    "paced": {"events": 50, "interval": 0.01},
    "slow": {"latency": 0.2},
    "held": {"latency": 2.0},
}
"""The upstream processes by name, with their options."""

_EVERYBODY = tuple(each.name for each in ROWS)
_OTHER_CALLS = ("openai3", "phase1-aiohttp", "phase1-full-httpx", "phase1-full")
_STREAMING = tuple(name for name in _EVERYBODY if name != "phase1-facade")
_OLDER = ("openai1", "openai2", "raw-httpx")  # an httpx that takes 9 s for a thousand at once
_CURRENT = tuple(name for name in _STREAMING if name not in _OLDER)
_QUICK = (
    "raw-aiohttp",
    "openai3",
    "openai3-aiohttp",
    "litellm",
    "phase1-full-httpx",
    "phase1-full",
    "phase1-facade",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """`rows`: whom it makes sense for. `rounds`: no more than that many; `None` = as many as the plan has."""

    name: str
    title: str
    load: Load
    rows: tuple[str, ...]
    rounds: int | None = None
    memory: bool = False


_SCENARIOS = (
    Scenario("unary-1", "1 in flight", Load("chat", "instant", 1), _EVERYBODY),
    Scenario("unary-20", "20 in flight", Load("chat", "instant", 20), _EVERYBODY),
    Scenario("unary-100", "100 in flight", Load("chat", "instant", 100), _EVERYBODY),
    Scenario("responses-20", "responses, 20 in flight", Load("responses", "instant", 20), _OTHER_CALLS),
    Scenario("embeddings-20", "embeddings, 20 in flight", Load("embeddings", "instant", 20), _OTHER_CALLS),
    Scenario("stream-20", "20 streams", Load("stream", "instant", 20), _STREAMING),
    Scenario("paced-20", "20 streams, a packet per event", Load("stream", "paced", 20, warm_up=0.0), _CURRENT),
    Scenario(
        "slow-1000",
        "1,000 in flight, 200 ms",
        Load("chat", "slow", 1000, seconds=1.5, warm_up=0.2, stagger=0.2),
        tuple(name for name in _EVERYBODY if name not in _OLDER),
        rounds=2,
    ),
    Scenario(
        "queued-10000",
        "10,000 queued",
        Load("chat", "slow", 1000, burst=10_000),
        ("raw-aiohttp", "phase1-full"),
        rounds=2,
    ),
    Scenario("memory-1000", "memory, 1,000 in flight", Load("chat", "held", 1000), _CURRENT, rounds=1, memory=True),
)


def scenario(name: str) -> Scenario:
    """The scenario of that name. Raises `ValueError`."""
    for each in _SCENARIOS:
        if each.name == name:
            return each
    raise ValueError(f"there is no scenario {name!r}; known: {', '.join(each.name for each in _SCENARIOS)}")


@dataclass(frozen=True, slots=True)
class Plan:
    """`asgi_rounds`: blocks of requests through the in-process app; 0 = not measured.

    `budget`: seconds after which no further round begins, once there are `LEAST_ROUNDS`: a busy machine takes longer.
    """

    name: str
    rounds: int
    scenarios: tuple[Scenario, ...]
    asgi_rounds: int
    budget: float

    def reduced(self, *, rounds: int | None, rows: tuple[str, ...], scenarios: tuple[str, ...]) -> Plan:
        """The same with other rounds, or only for some rows and scenarios (empty = all)."""
        kept = [
            replace(each, rows=tuple(name for name in each.rows if not rows or name in rows))
            for each in self.scenarios
            if not scenarios or each.name in scenarios
        ]
        asgi_rounds = self.asgi_rounds if not scenarios or "asgi" in scenarios else 0
        budget = math.inf if rounds else self.budget
        return replace(
            self, rounds=rounds or self.rounds, scenarios=tuple(kept), asgi_rounds=asgi_rounds, budget=budget
        )

    @property
    def rows(self) -> tuple[str, ...]:
        """Whose process is needed, in the table's order."""
        needed = {name for each in self.scenarios for name in each.rows}
        return tuple(name for name in _EVERYBODY if name in needed)


_QUICK_SCENARIOS = ("unary-20", "unary-100", "stream-20", "slow-1000", "memory-1000")
_QUICK_ROWS = {
    "stream-20": ("raw-aiohttp", "openai3", "phase1-full-httpx", "phase1-full"),
    "slow-1000": ("raw-aiohttp", "phase1-full"),
    "memory-1000": ("phase1-full",),
}


def _quick(each: Scenario) -> Scenario:
    chosen = _QUICK_ROWS.get(each.name, _QUICK)
    load = replace(each.load, seconds=min(0.2, each.load.seconds), warm_up=0.05) if each.rounds is None else each.load
    return replace(each, load=load, rows=tuple(name for name in each.rows if name in chosen), rounds=each.rounds and 1)


FULL = Plan("full", rounds=5, scenarios=_SCENARIOS, asgi_rounds=40, budget=400.0)
QUICK = Plan(
    "quick",
    rounds=3,
    scenarios=tuple(_quick(scenario(name)) for name in _QUICK_SCENARIOS),
    asgi_rounds=15,
    budget=30.0,
)
