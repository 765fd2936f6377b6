"""How do legacy and pool compare over all cases? One scorecard: a document, and a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from phase1.lab.chaos.play import Played, Result
from phase1.lab.chaos.scene import Plan
from phase1.lab.chaos.verdict import LIVENESS, MEMORY, RECOVERY
from phase1.lab.machine import describe, load_average, versions
from phase1.lab.target import TargetApp

__all__ = [
    "FIGURES",
    "SCHEMA",
    "Skipped",
    "cells",
    "circumstances",
    "legend_of",
    "scorecard",
    "scorecard_table",
    "scorecard_text",
    "verdict_lines",
]

SCHEMA: Final = "phase1.scorecard/v1"
FIGURES: Final = ("answered", "slowest", "others", "again")
_HEADINGS: Final = ("case", "pool off", *FIGURES, "pool on", *FIGURES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A case that could not be played, and why."""

    name: str
    suite: str
    why: str


def scorecard(
    target: TargetApp, suite: str, plan: Plan, played: Sequence[Played], skipped: Sequence[Skipped] = ()
) -> dict[str, Any]:
    """The result as JSON has it. `passed`: the app with its pool on has stood every case."""
    failed = sum(not one.pooled.passed for one in played)
    ask = target.ask
    return {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe() | {"load_average": load_average()},
        "versions": versions(),
        "target": target.app,
        "request": {"method": ask.method, "route": ask.route, "headers": list(ask.public_headers)},
        "suite": suite,
        "plan": asdict(plan),
        "cases": [_case(one) for one in played],
        "skipped": [asdict(one) for one in skipped],
        "legacy_failed": sum(not one.legacy.passed for one in played),
        "pooled_failed": failed,
        "passed": bool(played) and not failed,
    }


def scorecard_table(card: Mapping[str, Any]) -> str:
    """The cases as a table of Markdown: the app with its pool off, then on."""
    rules = ["--:" if name in FIGURES else "---" for name in _HEADINGS]
    rows = [_HEADINGS, rules, *(_row(case) for case in card["cases"])]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def scorecard_text(card: Mapping[str, Any]) -> str:
    """A document for people: under what circumstances, the table, and how it ended."""
    parts = [*circumstances(card), "", scorecard_table(card), "", legend_of(card), "", *verdict_lines(card)]
    return "\n".join(parts)


def circumstances(card: Mapping[str, Any]) -> list[str]:
    """Who was asked what, and where."""
    plan, machine, found = card["plan"], card["machine"], card["versions"]
    libraries = ", ".join(f"{name} {found[name]}" for name in ("phase1", "openai", "uvicorn") if name in found)
    request = f"{card['target']}, {card['request']['method']} {card['request']['route']}"
    times = f"each fault for {plan['seconds']:g} s, everybody is to hear something within {plan['deadline']:g} s"
    return [
        f"{request}: {plan['users']} users at once, {times}",
        f"{card['date']}, {machine['cores']} cores ({machine['processor']}), Python {machine['python']}, {libraries}",
    ]


def legend_of(card: Mapping[str, Any]) -> str:
    """What the words and figures mean."""
    deadline = card["plan"]["deadline"]
    return (
        "answered: of all requests, the others were refused in good order unless it is said otherwise; slowest: the"
        " longest wait of a user; others: the longest wait at another route; again: from the end of the fault until"
        " everybody has been answered. Passed: every request is answered or honestly refused within"
        f" {deadline:g} s, other routes answer within {LIVENESS:g} s, everybody is answered again within"
        f" {RECOVERY * deadline:g} s after the fault, and no request, no socket and not more than {MEMORY:g} MB of"
        " memory is left behind."
    )


def verdict_lines(card: Mapping[str, Any]) -> list[str]:
    """How many cases each side has stood, and what the pool has not."""
    count = len(card["cases"])
    off, on = count - card["legacy_failed"], count - card["pooled_failed"]
    return [
        f"{count} cases: {off} passed with the pool off, {on} with the pool on",
        *(f"not played: {one['name']}: {one['why']}" for one in card["skipped"]),
        *(
            f"failed with the pool on: {case['name']}: {problem['text']}"
            for case in card["cases"]
            for problem in case["pooled"]["problems"]
        ),
    ]


def _case(played: Played) -> dict[str, Any]:
    case = played.case
    about = {"name": case.name, "suite": case.suite, "about": case.about}
    return {**about, "legacy": _result(played.legacy), "pooled": _result(played.pooled)}


def _result(result: Result) -> dict[str, Any]:
    return {
        "passed": result.passed,
        "problems": [asdict(problem) for problem in result.problems],
        **asdict(result.seen),
    }


def _row(case: Mapping[str, Any]) -> list[str]:
    return [case["name"], *cells(case["legacy"]), *cells(case["pooled"])]


def cells(result: Mapping[str, Any]) -> list[str]:
    """Verdict, answers and three times, as people read them."""
    kinds = dict.fromkeys(problem["kind"] for problem in result["problems"])
    return [
        f"failed: {', '.join(kinds)}" if kinds else "passed",
        f"{result['answered']}/{result['requests']}",
        f"{result['slowest']:.1f} s",
        f"{result['liveness']:.1f} s",
        "never" if result["recovery"] is None else f"{result['recovery']:.1f} s",
    ]
