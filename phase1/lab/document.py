"""What has a comparison found out, as JSON has it; and is it what was promised?

The document is all that the table, the report and README know: whoever has the file can make them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from phase1.lab.compare import Comparison, Leg
from phase1.lab.load import Run, Sample, join, percentile, summarize
from phase1.lab.machine import describe, load_average, versions
from phase1.lab.measure import Measured

__all__ = ["SCHEMA", "SIDES", "broken_promises", "document", "rounded", "side_of"]

SCHEMA: Final = "phase1.compare/v1"
SIDES: Final = ("legacy", "pooled")
"""The app with the pool off, and on."""

_POINTS: Final = 300
"""Points of a plot: more than there are pixels between two marks."""
_SHARES: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0)
_ENOUGH: Final = 0.999
"""Of all requests: one in a thousand may fail by chance."""
_WORSE: Final = 1.1
"""By as much may a figure of one run be worse than that of another, and be the same."""


def document(found: Comparison) -> dict[str, Any]:
    """The whole comparison."""
    ask = found.target.ask
    result = {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe() | {"load_average": load_average()},
        "versions": versions(),
        "target": found.target.app,
        "request": {"method": ask.method, "route": ask.route, "headers": list(ask.public_headers)},
        "phase1_in_app": found.integrated,
        "mock_upstream": found.mock,
        "plan": {**asdict(found.plan), "timeout": found.plan.patience},
        "loads": {kind: _load(found, kind) for kind in found.plan.kinds},
    }
    broken = broken_promises(result)
    return rounded({**result, "kept": not broken, "broken": broken})


def broken_promises(result: dict[str, Any]) -> list[str]:
    """What the pool should have done for this app and has not, a sentence each."""
    return [problem for load in result["loads"].values() for problem in _problems(load)]


def rounded(result: dict[str, Any]) -> dict[str, Any]:
    """The same with six significant digits: no clock here tells more."""
    return {name: _rounded(value) for name, value in result.items()}


def _rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return rounded(value)
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def _problems(load: dict[str, Any]) -> Iterator[str]:
    before, after, title = load["legacy"]["all"], load["pooled"]["all"], load["title"]
    failed = after["requests"] - after["answered"]
    if failed and after["success"] < max(_ENOUGH, before["success"]):
        yield f"{title}: {failed} of {after['requests']} requests to the pooled app got no answer in time"
    if after["p95"] > before["p95"] * _WORSE:
        yield f"{title}: with the pool the 95th percentile is {after['p95']:.2f} s, without it {before['p95']:.2f} s"
    if after["per_second"] * _WORSE < before["per_second"]:
        yield (
            f"{title}: with the pool {after['per_second']:.2f} requests per second are answered,"
            f" without it {before['per_second']:.2f}"
        )


def _load(found: Comparison, kind: str) -> dict[str, Any]:
    legs = [leg for leg in found.legs if leg.load.kind == kind]
    load = legs[0].load
    sides = {name: side_of([leg for leg in legs if leg.pooled == (name == "pooled")]) for name in SIDES}
    title = f"{load.title}, {found.plan.rounds} rounds" if found.plan.rounds > 1 else load.title
    return {"title": title, "users": load.users, "rate": load.rate or None, "timeout": load.timeout, **sides}


def side_of(legs: Sequence[Leg]) -> dict[str, Any]:
    """What one side did under one load, all rounds together; the plots are of the first round."""
    measured = [leg.measured for leg in legs]
    run = join([one.run for one in measured])
    first = join([_first_of(one.run) for one in measured])
    answered = max(1, sum(sample.answered for sample in run.samples))
    cpu = sum(one.usage.cpu_seconds for one in measured)
    return {
        "all": asdict(summarize(run)),
        "first": asdict(summarize(first)),
        "wall": [round(one.run.seconds, 3) for one in measured],
        "percentiles": _percentiles(run.samples),
        "cpu": {
            "seconds": cpu,
            "cores": cpu / run.seconds,
            "ms_per_answer": cpu / answered * 1000,
            "generator_cores": sum(one.generator for one in measured) / run.seconds,
        },
        "memory_mb": max(one.usage.memory for one in measured) / 1e6,
        "loop_lag": {
            name: max(getattr(one.lag, name) for one in measured) for name in ("p50", "p99", "longest", "blocked")
        },
        "generator_late": _lateness(run.samples),
        "series": _series(measured[0]),
    }


def _first_of(run: Run) -> Run:
    """Only what each user asked first, as if that were all: so the seeds count, 11 of 20."""
    first = tuple(sample for sample in run.samples if sample.round == 0)
    return Run(first, max(sample.started + sample.seconds for sample in first))


def _percentiles(samples: Sequence[Sample]) -> list[list[float]]:
    """Share and seconds, each exact."""
    ordered = sorted(sample.seconds for sample in samples)
    return [[share, round(percentile(ordered, share), 4)] for share in _SHARES]


def _lateness(samples: Sequence[Sample]) -> dict[str, float]:
    """By how many seconds the load generator sent requests after they were due."""
    ordered = sorted(sample.late for sample in samples)
    return {"p50": percentile(ordered, 0.5), "p99": percentile(ordered, 0.99), "longest": ordered[-1]}


def _series(measured: Measured) -> dict[str, Any]:
    answers = [[round(s.started, 3), round(s.seconds, 3), s.outcome] for s in measured.run.samples]
    return {
        "answers": _thinned(sorted(answers)),
        "cpu": [[round(at, 2), round(cores, 3)] for at, cores, _ in _thinned(measured.looks)],
        "memory_mb": [[round(at, 2), round(memory / 1e6, 1)] for at, _, memory in _thinned(measured.looks)],
        "loop_lag": [[round(at, 2), round(late, 4)] for at, late in _highest(measured.lates)],
    }


def _thinned(points: Sequence[Any]) -> list[Any]:
    """At most `_POINTS` of them, evenly taken."""
    step = max(1, -(-len(points) // _POINTS))
    return list(points[::step])


def _highest(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_POINTS`, each the highest of its neighbours: a peak must not be thinned away."""
    step = max(1, -(-len(points) // _POINTS))
    return [max(points[at : at + step], key=lambda point: point[1]) for at in range(0, len(points), step)]
