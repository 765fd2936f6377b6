"""How does a comparison, or a stress test, become a page? One file that loads nothing: style and plots are in it.

jinja2 writes it; the plots are plain SVG, drawn in `plots`. The document is all that it knows.
"""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from phase1.lab.document import SIDES
from phase1.lab.figures import HEADINGS, circumstances, rows_of, stress_rows, verdict
from phase1.lab.report.plots import plots_of

__all__ = ["page", "render"]


def page(result: dict[str, Any]) -> str:
    """The page of a document of `phase1 compare` or `phase1 stress`."""
    values = _comparison(result) if "loads" in result else _stress(result)
    return render("report.html", broken=bool(result["broken"]), **values)


def render(template: str, **values: object) -> str:
    """A page of this folder. All of them want `title`, `lines`, `verdict` and `broken`."""
    environment = Environment(
        loader=PackageLoader("phase1.lab.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)


def _comparison(result: dict[str, Any]) -> dict[str, Any]:
    sections = [
        {
            "title": load["title"],
            "headings": HEADINGS,
            "rows": rows_of(load, kind),
            "plots": plots_of({side: load[side] for side in SIDES}),
        }
        for kind, load in result["loads"].items()
    ]
    return {
        "title": f"{result['target']}, pool off and on",
        "lines": circumstances(result),
        "verdict": verdict(result),
        "sections": sections,
    }


def _stress(result: dict[str, Any]) -> dict[str, Any]:
    side = "legacy" if result["pooled"] is False else "pooled"
    section = {
        "title": result["title"],
        "headings": ("", "measured"),
        "rows": stress_rows(result),
        "plots": plots_of({side: result}) if "series" in result else [],
    }
    machine = result["machine"]
    return {
        "title": f"{result['target']} under load",
        "lines": [
            f"request   {result['request']['method']} {result['request']['route']}",
            f"machine   {machine['cores']} cores ({machine['processor']}), {machine['system']}",
            f"date      {result['date']}",
        ],
        "verdict": [f"not kept: {problem}" for problem in result["broken"]] or ["kept"],
        "sections": [section],
    }
