"""How does a scorecard look in a browser? One file of its own: no script, nothing that is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from phase1.lab.chaos.scorecard import FIGURES, LEGEND, cells
from phase1.lab.chaos.verdict import LIVENESS, MEMORY, RECOVERY

__all__ = ["scorecard_page"]

_HERE: Final = Path(__file__).parent
_STYLE: Final = _HERE.parent / "report.css"


def scorecard_page(card: Mapping[str, Any]) -> str:
    """The page, as HTML."""
    pages = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    cases = card["cases"]
    slowest = [case[side]["slowest"] for case in cases for side in ("legacy", "pooled")]
    return pages.get_template("scorecard.html").render(
        card=card,
        cases=cases,
        suites=[(suite, list(rows)) for suite, rows in groupby(cases, key=lambda case: case["suite"])],
        scale=max([1.0, *slowest]),
        cells=cells,
        figures=FIGURES,
        legend=LEGEND,
        liveness=LIVENESS,
        recovery=RECOVERY,
        memory=MEMORY,
        css=Markup(_STYLE.read_text(encoding="utf-8")),  # noqa: S704 - our own file
    )
