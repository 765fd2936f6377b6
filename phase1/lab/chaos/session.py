"""How does a whole suite go? Every case, one after the other, and a scorecard at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from phase1.lab.apps import Upstream
from phase1.lab.chaos.cases import Case
from phase1.lab.chaos.page import scorecard_page
from phase1.lab.chaos.play import Played, inspect, play
from phase1.lab.chaos.scene import Plan
from phase1.lab.chaos.scorecard import Skipped, scorecard, scorecard_text
from phase1.lab.chaos.screen import Screen
from phase1.lab.render import console_for
from phase1.lab.target import TargetApp
from phase1.lab.trial import open_trial

__all__ = ["Audience", "run_cases", "show_cases"]

_NOBODY: Final = Upstream(base_url="http://127.0.0.1:9/v1", api_key="sk-chaos", mock=True)
"""Each case has endpoints of its own."""


class Audience(Protocol):
    """Who hears how far it is."""

    def say(self, text: str) -> None:
        """Something else that is going on."""

    def begin(self, case: Case) -> None:
        """A case begins."""

    def tell(self, app: str, phase: str) -> None:
        """An app is in this phase of it."""

    def end(self, played: Played) -> None:
        """What came of it."""


async def show_cases(
    target: TargetApp, cases: Sequence[Case], plan: Plan, *, suite: str, html: Path | None, as_json: bool
) -> int:
    """Play the cases for somebody at a terminal. Returns the exit code; raises as `run_cases` does."""
    with Screen(console_for(sys.stderr), len(cases)) as screen:
        card = await run_cases(target, cases, plan, suite=suite, audience=screen)
    _publish(card, html, as_json=as_json)
    return 0 if card["passed"] else 1


def _publish(card: Mapping[str, Any], html: Path | None, *, as_json: bool) -> None:
    print(json.dumps(card, indent=2) if as_json else scorecard_text(card))
    if html is not None:
        html.write_text(scorecard_page(card), encoding="utf-8")
        print(f"the scorecard as a page: {html}", file=sys.stderr)


async def run_cases(
    target: TargetApp,
    cases: Sequence[Case],
    plan: Plan,
    *,
    suite: str,
    audience: Audience,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Play the cases: the scorecard. Raises `LabError` in one line for an app that cannot be tried."""
    played, skipped = [], []
    async with open_trial(target, _NOBODY, environment=environment) as trial:
        audience.say(f"one request to {target.app}{target.ask.route} with the pool off, and on")
        whole = await inspect(trial, plan)
        for case in cases:
            if why := case.missing():
                skipped.append(Skipped(name=case.name, suite=case.suite, why=why))
                continue
            audience.begin(case)
            played.append(await play(trial, case, plan, whole=whole, tell=audience.tell))
            audience.end(played[-1])
    return scorecard(target, suite, plan, played, skipped)
