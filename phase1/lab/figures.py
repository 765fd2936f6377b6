"""How do the figures of a comparison become a table? The same rows on a terminal, in the report and in README.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

__all__ = ["HEADINGS", "circumstances", "markdown", "rows_of", "stress_rows", "verdict"]

HEADINGS: Final = ("", "pool off", "pool on", "better by")

_MANY: Final = 10
"""Answers: of fewer there is no rate that could be compared."""

Side = dict[str, Any]
_Row = tuple[str, str, str, str]


def rows_of(load: dict[str, Any], kind: str) -> list[_Row]:
    """The rows of one load of a document."""
    return list(_BY_KIND[kind](load["legacy"], load["pooled"]))


def circumstances(result: dict[str, Any]) -> list[str]:
    """Where and how it was measured, in lines."""
    machine, plan, versions = result["machine"], result["plan"], result["versions"]
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("openai", "starlette", "uvicorn") if name in versions)
    upstream = f"a mock that answers after {plan['latency']:g} s" if result["mock_upstream"] else "not the lab's"
    inside = "phase1 is in the app" if result["phase1_in_app"] else "phase1 put in from outside, as by phase1 run"
    where = f"{machine['cores']} cores ({machine['processor']}), {machine['system']}, Python {machine['python']}"
    return [
        f"app       {result['target']}, {result['request']['method']} {result['request']['route']}; {inside}",
        f"upstream  {upstream}; a user gives up after {plan['timeout']:g} s",
        f"machine   {where}, {libraries}; load average {machine['load_average']}",
        f"date      {result['date']}",
    ]


def stress_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """The rows of a stress test's document."""
    found, rows = result["all"], []
    rows += [("success", f"{found['success']:.2%}"), ("requests/s", f"{found['per_second']:.2f}")]
    rows += [(name, f"{found[name]:.3f} s") for name in ("mean", "p50", "p95", "p99", "longest")]
    rows += [("timeouts", _of(found)), ("errors", f"{found['errors']} of {found['requests']}")]
    if "cpu" in result:
        rows += [(name, one) for name, one, _, _ in _process(result, result)]
        rows += [("load generator late, p99", f"{result['generator_late']['p99'] * 1000:.1f} ms")]
    return rows


def verdict(result: dict[str, Any]) -> list[str]:
    """Whether the promises were kept, in lines."""
    return [f"not kept: {problem}" for problem in result["broken"]] or [
        "kept: with the pool nobody is left without an answer, and nothing is slower than without it"
    ]


def markdown(result: dict[str, Any]) -> str:
    """The whole comparison for README.md."""
    parts = ["\n".join(f"- {' '.join(line.split())}" for line in circumstances(result))]
    for kind, load in result["loads"].items():
        heads = (load["title"], *HEADINGS[1:])
        lines = [_line(heads), _line(("---", "--:", "--:", "--:")), *map(_line, rows_of(load, kind))]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, *verdict(result)])


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _users(before: Side, after: Side) -> Iterator[_Row]:
    yield from _first(before, after)
    yield from _answers(before, after)
    yield from _process(before, after)


def _first(before: Side, after: Side) -> Iterator[_Row]:
    first, then = before["first"], after["first"]
    yield ("first request of each: success", f"{first['success']:.0%}", f"{then['success']:.0%}", "")
    yield ("first request of each: mean", *_seconds(first["mean"], then["mean"]))
    yield ("first request of each: timeouts", _of(first), _of(then), "")


def _answers(before: Side, after: Side) -> Iterator[_Row]:
    old, new = before["all"], after["all"]
    yield ("success", f"{old['success']:.1%}", f"{new['success']:.1%}", "")
    for name in ("mean", "p50", "p95", "p99"):
        yield (name, *_seconds(old[name], new[name]))
    yield (
        "requests/s",
        f"{old['per_second']:.2f}",
        f"{new['per_second']:.2f}",
        _times(new["per_second"], old["per_second"]) if old["answered"] >= _MANY else "",
    )
    yield ("timeouts", _of(old), _of(new), "")


def _process(before: Side, after: Side) -> Iterator[_Row]:
    yield _both("CPU of one core", lambda one: f"{one['cpu']['cores']:.1%}", before, after)
    yield _both("CPU per answer", lambda one: f"{one['cpu']['ms_per_answer']:.1f} ms", before, after)
    yield _both("memory", lambda one: f"{one['memory_mb']:.0f} MB", before, after)
    yield _both("event loop stands still", lambda one: f"{one['loop_lag']['blocked']:.0%} of the time", before, after)
    yield _both("event loop late, p99", lambda one: f"{one['loop_lag']['p99'] * 1000:,.0f} ms", before, after)


def _both(name: str, shown: Callable[[Side], str], before: Side, after: Side) -> _Row:
    return name, shown(before), shown(after), ""


def _burst(before: Side, after: Side) -> Iterator[_Row]:
    old, new = before["all"], after["all"]
    walls = [sum(one["wall"]) / len(one["wall"]) for one in (before, after)]
    yield ("until the last answer", *_seconds(*walls))
    yield ("mean", *_seconds(old["mean"], new["mean"]))
    yield ("success", f"{old['success']:.0%}", f"{new['success']:.0%}", "")
    yield from _process(before, after)


def _arrivals(before: Side, after: Side) -> Iterator[_Row]:
    yield from _answers(before, after)
    yield from _process(before, after)
    yield _both("load generator late, p99", lambda one: f"{one['generator_late']['p99'] * 1000:.1f} ms", before, after)


_BY_KIND: Final[dict[str, Callable[[Side, Side], Iterator[_Row]]]] = {
    "users": _users,
    "arrivals": _arrivals,
    "burst": _burst,
}


def _seconds(old: float, new: float) -> tuple[str, str, str]:
    return f"{old:.2f} s", f"{new:.2f} s", _times(old, new)


def _of(one: dict[str, Any]) -> str:
    return f"{one['timeouts']} of {one['requests']}"


def _times(more: float, less: float) -> str:
    return f"{more / less:.1f} ×" if less else ""
