"""What came out of a suite, and is it what was promised?"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Final, cast

from phase1.lab.chaos.run import CLOCKS, Outcome, Plan

__all__ = ["SCHEMA", "broken_promises", "document", "table", "text"]

SCHEMA: Final = "phase1.chaos/v1"
_SUCCESS: Final = 0.999
_AMPLIFICATION: Final = 1.2
_KEPT: Final = (
    "kept: 99.9 % success of what could be served, nothing past its deadline, at most 1.2 requests to endpoints per"
    " request, none to a quota that was known to rest, nothing left behind"
)
_HOPELESS: Final = frozenset({"all of them 500"})
"""Nobody could have served anything."""

_HEADINGS: Final = (
    "one node of three",
    "requests",
    "success",
    "cut",
    "slowest",
    "late",
    "to it",
    "amplification",
    "cooling",
    "leaked",
)


def broken_promises(outcomes: Sequence[Outcome]) -> list[str]:
    """What should have been and is not, a sentence each."""
    return [f"{outcome.name}: {problem}" for outcome in outcomes for problem in _problems(outcome)]


def _problems(outcome: Outcome) -> list[str]:
    found = []
    if not outcome.requests:
        found.append("nobody has asked anything")
    if outcome.name not in _HOPELESS and outcome.success < _SUCCESS:
        found.append(f"{outcome.success:.2%} success, not {_SUCCESS:.1%}; {outcome.errors}")
    if outcome.amplification > _AMPLIFICATION:
        found.append(f"{outcome.amplification:.2f} requests to nodes per request, not at most {_AMPLIFICATION:g}")
    found += [
        f"{count} {what}"
        for count, what in (
            (outcome.late, "requests ended after their deadline"),
            (outcome.cooling, "requests went to a quota domain that was known to rest"),
            (outcome.leaked, "places, tasks or connections were left behind"),
        )
        if count
    ]
    return found


def document(suite: str, plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The result as JSON has it."""
    broken = broken_promises(outcomes)
    return {
        "schema": SCHEMA,
        "suite": suite,
        "plan": asdict(plan),
        "clocks": CLOCKS,
        "machine": {
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "openai": version("openai"),
        },
        "scenarios": [
            {**asdict(outcome), "success": outcome.success, "amplification": outcome.amplification}
            for outcome in outcomes
        ],
        "kept": not broken,
        "broken": broken,
    }


def table(scenarios: Sequence[dict[str, object]]) -> str:
    """The scenarios of a document as a table of Markdown."""
    rows = [_HEADINGS, tuple("---" if not column else "--:" for column in range(len(_HEADINGS)))]
    rows += [_row(scenario) for scenario in scenarios]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def text(result: Mapping[str, object]) -> str:
    """A document for people: the table, and whether the promises were kept."""
    plan, broken = cast("dict[str, object]", result["plan"]), cast("list[str]", result["broken"])
    clocks = cast("dict[str, float]", result["clocks"])
    intro = (
        f"{plan['users']} users at once, half of their calls streamed, {plan['seconds']:g} s per row; deadline"
        f" {clocks['llm_request_deadline']:g} s, first token {clocks['llm_first_token_timeout']:g} s"
    )
    verdict = [f"not kept: {promise}" for promise in broken] or [_KEPT]
    return "\n".join([intro, "", table(cast("list[dict[str, object]]", result["scenarios"])), "", *verdict])


def _row(scenario: dict[str, object]) -> tuple[str, ...]:
    hopeless = scenario["name"] in _HOPELESS
    return (
        str(scenario["name"]),
        f"{scenario['requests']:,}",
        "–" if hopeless else f"{float(str(scenario['success'])):.2%}",
        str(scenario["cut"]),
        f"{float(str(scenario['slowest'])):.2f} s",
        str(scenario["late"]),
        str(scenario["faulty"]),
        f"{float(str(scenario['amplification'])):.2f}",
        str(scenario["cooling"]),
        str(scenario["leaked"]),
    )
