"""How do legacy and pool compare over all cases? One scorecard: a document, and a table for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

from phase1.lab.chaos.play import Played, Result
from phase1.lab.chaos.scene import Plan

__all__ = [
    "FIGURES",
    "LEGEND",
    "SCHEMA",
    "Skipped",
    "cells",
    "scorecard",
    "scorecard_table",
    "scorecard_text",
    "verdict_line",
]

SCHEMA: Final = "phase1.scorecard/v1"
LEGEND: Final = (
    "answered: of all requests; slowest: the longest wait of a user; others: the longest wait at another route; again:"
    " from the end of the fault until everybody has been answered"
)
_LIBRARIES: Final = ("phase1", "openai", "starlette", "uvicorn")
FIGURES: Final = ("answered", "slowest", "others", "again")
_HEADINGS: Final = ("case", "pool off", *FIGURES, "pool on", *FIGURES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A case that could not be played, and why."""

    name: str
    suite: str
    why: str


def scorecard(
    app: str, suite: str, plan: Plan, played: Sequence[Played], skipped: Sequence[Skipped] = ()
) -> dict[str, Any]:
    """The result as JSON has it. `passed`: the app with its pool on has stood every case."""
    failed = [one for one in played if not one.pooled.passed]
    return {
        "schema": SCHEMA,
        "app": app,
        "suite": suite,
        "plan": asdict(plan),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
        },
        "cases": [_case(one) for one in played],
        "skipped": [asdict(one) for one in skipped],
        "legacy_failed": sum(not one.legacy.passed for one in played),
        "pooled_failed": len(failed),
        "passed": bool(played) and not failed,
    }


def scorecard_table(card: Mapping[str, Any]) -> str:
    """The cases as a table of Markdown: the app with its pool off, then on."""
    rules = ["--:" if name in FIGURES else "---" for name in _HEADINGS]
    rows = [_HEADINGS, rules, *(_row(case) for case in card["cases"])]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def scorecard_text(card: Mapping[str, Any]) -> str:
    """A document for people: who was asked, the table, and what was not as it should be."""
    plan, cases = card["plan"], card["cases"]
    intro = (
        f"{card['app']}: {plan['users']} users at once, each fault for {plan['seconds']:g} s, everybody is to hear"
        f" something within {plan['deadline']:g} s"
    )
    lines = [intro, "", scorecard_table(card), "", LEGEND]
    lines += [f"skipped: {one['name']}: {one['why']}" for one in card["skipped"]]
    for case in cases:
        lines += [f"failed with the pool on: {case['name']}: {one['text']}" for one in case["pooled"]["problems"]]
    return "\n".join([*lines, verdict_line(card)])


def verdict_line(card: Mapping[str, Any]) -> str:
    """How many cases each has stood."""
    count = len(card["cases"])
    return (
        f"of {count} cases, the app has stood {count - card['legacy_failed']} with its pool off,"
        f" {count - card['pooled_failed']} with its pool on"
    )


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
