"""What does the live page show? The manager's status, with what only an observer knows; of several workers in one.

Built from an allow-list: numbers, states, names that are configured. No prompt, no answer, no header, no key.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from phase1.engine.tally import percentile
from phase1.observe.history import COLUMNS, together
from phase1.observe.shadowed import merged_shadow

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager
    from phase1.engine.tally import Failure, Tally

__all__ = ["document_of", "merged_document", "recent_of"]

_ERRORS: Final = 50
_PERCENTILES: Final = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
_COUNTED: Final = (
    "calls",
    "fallbacks",
    "legacy_calls",
    "blocking_sites",
    "breaker_transitions",
    "rejections",
    "tester_headers",
    "broken_streams",
    "hedges",
    "cache",
)
_ADDED: Final = (
    "in_flight",
    "waiting",
    "capacity",
    "legacy_in_flight",
    "retry_budget_exhausted",
    "observer_failures",
    "abandoned",
    "tokens",
    "finished",
    "failed",
)


def document_of(manager: LLMManager, *, history: list[list[float]], loop: Mapping[str, object]) -> dict[str, Any]:
    """One worker's."""
    document = manager.status()
    tally = manager.tally
    document["nodes"] = [{**node, "stats": _stats(tally, str(node["name"]))} for node in document["nodes"]]  # type: ignore[attr-defined]
    document["loop"] = {**loop, "stalled_seconds": dict(tally.stalled_seconds)}
    document["stages"] = _stages(tally)
    document["history"] = {"columns": COLUMNS, "points": history}
    document["errors"] = [_error(failure) for failure in reversed(tuple(tally.failures))]
    document["worker"] = _worker(document)
    document["workers"] = [document["worker"]]
    return document


def recent_of(manager: LLMManager) -> dict[str, list[float]]:
    """The last seconds, from which percentiles over several workers are made."""
    tally = manager.tally
    nodes = {f"node {name}": list(seconds) for name, seconds in dict(tally.node_seconds).items()}
    return {
        "pool": list(tally.pool_seconds),
        "queue": list(tally.queue_seconds),
        "legacy": list(tally.legacy_seconds),
        **nodes,
    }


def _stats(tally: Tally, node: str) -> dict[str, Any]:
    attempts = {key: count for key, count in dict(tally.attempts).items() if key[0] == node}
    outcomes = Counter[str]()
    for (_, _, outcome), count in attempts.items():
        outcomes[str(outcome)] += count
    last = tally.last_failures.get(node)
    return {
        "attempts": sum(outcomes.values()),
        "ok": outcomes["ok"],
        "rate_limited": outcomes["rate_limit"],
        "retries": sum(count for (_, kind, _), count in attempts.items() if kind == "retry"),
        "hedges": sum(count for (_, kind, _), count in attempts.items() if kind == "hedge"),
        "seconds": _summary(list(tally.node_seconds.get(node, ()))),
        "last_error": _error(last) if last else None,
    }


def _stages(tally: Tally) -> dict[str, dict[str, float]]:
    return {name: {"count": stage.count, "seconds": stage.total} for name, stage in tally.stages.items()}


def _error(failure: Failure) -> dict[str, Any]:
    return {**asdict(failure), "kind": str(failure.kind), "pid": os.getpid()}


def _worker(document: Mapping[str, Any]) -> dict[str, Any]:
    metrics = document["metrics"]
    return {
        "pid": document["pid"],
        "mode": document["mode"],
        "breaker": document["breaker"]["state"],
        "percent": document["canary"]["percent"],
        "in_flight": metrics["in_flight"],
        "waiting": metrics["waiting"],
        "finished": metrics["finished"],
        "failed": metrics["failed"],
        "lag": document["loop"]["lag"],
    }


def _summary(seconds: list[float]) -> dict[str, float | int | None]:
    if not seconds:
        return {"count": 0, "mean": None, **dict.fromkeys((name for name, _ in _PERCENTILES), None)}
    ordered = sorted(seconds)
    shares = {name: percentile(ordered, share) for name, share in _PERCENTILES}
    return {"count": len(ordered), "mean": sum(ordered) / len(ordered), **shares}


def merged_document(own: dict[str, Any], recent: Mapping[str, list[float]], others: Iterable[Any]) -> dict[str, Any]:
    """`own` with what the others say added. States and settings are those of the worker that answers."""
    fellows = [other for other in others if isinstance(other, Mapping) and {"document", "recent"} <= other.keys()]
    if not fellows:
        return own
    documents = [own, *(fellow["document"] for fellow in fellows)]
    seconds = _recent([recent, *(fellow["recent"] for fellow in fellows)])
    return {
        **own,
        "metrics": _metrics([document["metrics"] for document in documents], seconds),
        "shadow": merged_shadow(document.get("shadow") for document in documents),
        "pool": {
            **own["pool"],
            **_added([document["pool"] for document in documents], ("capacity", "in_flight", "waiting", "clients")),
        },
        "nodes": [_node(node, documents, seconds) for node in own["nodes"]],
        "stages": _added_stages([document["stages"] for document in documents]),
        "history": {"columns": COLUMNS, "points": together(document["history"]["points"] for document in documents)},
        "errors": sorted((e for d in documents for e in d["errors"]), key=_time, reverse=True)[:_ERRORS],
        "loop": _loop([document["loop"] for document in documents]),
        "workers": sorted((document["worker"] for document in documents), key=lambda worker: worker["pid"]),
    }


def _time(error: Mapping[str, Any]) -> float:
    return float(error["time"])


def _recent(parts: list[Mapping[str, list[float]]]) -> dict[str, list[float]]:
    names = {name for part in parts for name in part}
    return {name: [second for part in parts for second in part.get(name, ())] for name in names}


def _added(parts: list[Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    return {name: sum(part.get(name) or 0 for part in parts) for name in names}


def _counted(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def _metrics(parts: list[Mapping[str, Any]], seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    return {
        **parts[0],
        **_added(parts, _ADDED),
        **{name: _counted(part[name] for part in parts) for name in _COUNTED},
        "routes": _rows(parts, "routes", ("route", "reason")),
        "attempts": _rows(parts, "attempts", ("node", "kind", "outcome")),
        "seconds": {name: _summary(seconds.get(name, [])) for name in ("pool", "queue", "legacy")},
    }


def _rows(parts: list[Mapping[str, Any]], table: str, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    counted = Counter[tuple[str, ...]]()
    for row in (row for part in parts for row in part[table]):
        counted[tuple(row[label] for label in labels)] += row["count"]
    return [{**dict(zip(labels, key, strict=True)), "count": count} for key, count in counted.items()]


def _node(own: Mapping[str, Any], documents: list[Mapping[str, Any]], seconds: Mapping[str, list[float]]) -> Any:  # noqa: ANN401
    nodes = [node for document in documents for node in document["nodes"] if node["name"] == own["name"]]
    stats = [node["stats"] for node in nodes]
    errors = [stat["last_error"] for stat in stats if stat["last_error"]]
    live = _added(nodes, ("in_flight", "capacity")) if "in_flight" in own else {}
    return {
        **own,
        **live,
        "stats": {
            **_added(stats, ("attempts", "ok", "rate_limited", "retries", "hedges")),
            "seconds": _summary(seconds.get(f"node {own['name']}", [])),
            "last_error": max(errors, key=_time, default=None),
        },
    }


def _added_stages(parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {stage: _added([part[stage] for part in parts], ("count", "seconds")) for stage in parts[0]}


def _loop(parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "lag": max(part["lag"] for part in parts),
        "standing_at": next((part["standing_at"] for part in parts if part["standing_at"]), None),
        "stalled_seconds": _counted(part["stalled_seconds"] for part in parts),
    }
