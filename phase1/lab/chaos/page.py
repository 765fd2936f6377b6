"""How does a scorecard look in a browser? One file of its own: no script, nothing that is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from phase1.lab.chaos.scorecard import FIGURES, cells, circumstances, legend_of, verdict_lines
from phase1.lab.report import render

__all__ = ["scorecard_page"]


def scorecard_page(card: Mapping[str, Any]) -> str:
    """The page of a scorecard's document."""
    cases = card["cases"]
    slowest = [case[side]["slowest"] for case in cases for side in ("legacy", "pooled")]
    return render(
        "scorecard.html",
        title=f"{card['target']}: {len(cases)} faults, pool off and on",
        lines=circumstances(card),
        verdict=verdict_lines(card),
        broken=not card["passed"],
        count=len(cases),
        sides=(("legacy", "pool off", card["legacy_failed"]), ("pooled", "pool on", card["pooled_failed"])),
        suites=[(suite, list(rows)) for suite, rows in groupby(cases, key=lambda case: case["suite"])],
        skipped=card["skipped"],
        scale=max([1.0, *slowest]),
        figures=FIGURES,
        cells=cells,
        legend=legend_of(card),
    )
