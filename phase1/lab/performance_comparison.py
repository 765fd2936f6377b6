"""How does an app perform without and with the pool? The comparison and the stress test of seed 000, by their names.

    python -m phase1.lab.performance_comparison main:app
    asyncio.run(stress_test(concurrent_users=20, duration_seconds=60))

The command line has the same with all options: `phase1 compare`, `phase1 stress`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any, Final

from phase1.exceptions import Phase1Error
from phase1.lab.compare import Plan, Stage, compare_app
from phase1.lab.defaults import Wishes, target_of
from phase1.lab.document import document
from phase1.lab.render import TerminalStage, console_for, show_comparison, show_stress
from phase1.lab.stress import StressPlan, stress_app, stress_url
from phase1.lab.target import SAMPLE_BODY, Ask

__all__ = ["compare", "stress_test"]

DEFAULT_TARGET: Final = "http://127.0.0.1:8000/chat"
"""Where uvicorn serves an app unless it is told otherwise, and the route of the seeds."""


async def stress_test(
    concurrent_users: int = 20,
    duration_seconds: float = 60,
    target: str = DEFAULT_TARGET,
    *,
    headers: Mapping[str, str] | None = None,
    body: str = SAMPLE_BODY,
    timeout: float = 30.0,
    allow_remote: bool = False,
) -> dict[str, Any]:
    """Let users ask `target` for so many seconds, print the figures, and return them as a document.

    `target`: the URL of a running app, or `module:app`, which is then started with the pool on, against a mock
    upstream. `headers`, `body`: of each request; `{user}` in them is a user's number. `timeout`: seconds after which a
    user gives up. Raises `ConfigurationError` and `LabError`, before any load, for a target that cannot be asked.
    """
    plan = StressPlan(users=concurrent_users, duration=duration_seconds, timeout=timeout)
    named = tuple((headers or {}).items())
    if "://" in target:
        ask = Ask(headers=named, body=body)
        result = await stress_url(target, ask, plan, allow_remote=allow_remote, stage=_stage())
    else:
        wishes = Wishes(headers=[f"{name}: {value}" for name, value in named], body=body)
        result = await stress_app(target_of(target, wishes), plan, stage=_stage())
    show_stress(result, console_for(sys.stdout))
    return result


async def compare(target: str, plan: Plan | None = None) -> dict[str, Any]:
    """Measure the app `module:app` with the pool off and on, print the tables, and return the document.

    Raises `ConfigurationError` and `LabError`, before any load, for an app that cannot be measured.
    """
    result = document(await compare_app(target_of(target, Wishes()), plan, stage=_stage()))
    show_comparison(result, console_for(sys.stdout))
    return result


def _stage() -> Stage:
    return TerminalStage(console_for(sys.stderr))


def main(arguments: list[str]) -> int:
    """Compare the one app that is named."""
    if len(arguments) != 1:
        print("usage: python -m phase1.lab.performance_comparison MODULE:APP", file=sys.stderr)
        return 2
    try:
        return 0 if asyncio.run(compare(arguments[0]))["kept"] else 1
    except Phase1Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
