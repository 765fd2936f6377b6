"""What do copies of calls say in the metrics, and on the page of several workers? Sums; without shadowing, nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from phase1.doors.shadow.report import DROPS

if TYPE_CHECKING:
    from phase1.doors.shadow.shadow import Shadow
    from phase1.observe.numbers import Numbers

__all__ = ["count_shadow", "merged_shadow"]

_ROUTES = ("legacy", "pool")


def count_shadow(numbers: Numbers, shadow: Shadow) -> None:
    """Add the metrics of one worker's copies."""
    report = shadow.report
    numbers["phase1_shadow_sampled"][()] = float(report.sampled)
    numbers["phase1_shadow_cost"][()] = shadow.cost
    numbers["phase1_shadow_in_flight"][()] = float(shadow.in_flight)
    for reason in DROPS:
        numbers["phase1_shadow_dropped"][reason,] = float(report.dropped[reason])
    for what in ("status", "finish_reason"):
        for result, same in (("same", True), ("different", False)):
            numbers["phase1_shadow_compared"][what, result] = float(report.same[what, same])
    for route in _ROUTES:
        seconds = report.seconds[route]
        numbers["phase1_shadow_duration_seconds"][route,] = list(seconds.counts), seconds.total
        for kind in ("input", "output"):
            numbers["phase1_shadow_tokens"][route, kind] = float(report.tokens[route, kind])
    numbers["phase1_shadow_similarity"][()] = list(report.similarity.counts), report.similarity.total


def merged_shadow(parts: Iterable[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Several workers' reports as one. The caps are those of one worker: each has its own purse."""
    reports = [part for part in parts if part]
    if not reports:
        return None
    own = reports[0]
    return {
        **own,
        **{name: sum(report[name] for report in reports) for name in ("sampled", "compared", "in_flight")},
        "dropped": _added([report["dropped"] for report in reports]),
        "statuses": _pairs([report["statuses"] for report in reports]),
        "finish_reasons": _pairs([report["finish_reasons"] for report in reports]),
        "tokens": {route: _added([report["tokens"][route] for report in reports]) for route in _ROUTES},
        "seconds": {route: _added([report["seconds"][route] for report in reports]) for route in _ROUTES},
        "similarity": _similarity([report["similarity"] for report in reports]),
        "money": {
            **own["money"],
            **{name: sum(report["money"][name] for report in reports) for name in ("spent_today", "spent")},
        },
    }


def _added(parts: list[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0) for part in parts) for name in names}


def _pairs(parts: list[list[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    counted: dict[tuple[str, str], int] = {}
    for row in (row for part in parts for row in part):
        pair = (row["legacy"], row["pool"])
        counted[pair] = counted.get(pair, 0) + row["count"]
    return [{"legacy": legacy, "pool": pool, "count": count} for (legacy, pool), count in counted.items()]


def _similarity(parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    alike = [part for part in parts if part["bounds"] == parts[0]["bounds"]]
    counts = [sum(column) for column in zip(*(part["counts"] for part in alike), strict=True)]
    return {**parts[0], **{name: sum(part[name] for part in alike) for name in ("count", "sum")}, "counts": counts}
