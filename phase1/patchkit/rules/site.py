"""A finding about a place where the loop waits: what all rules about such places say alike."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from phase1.patchkit.edits import Edit
from phase1.patchkit.findings import Chain, Finding, Rule, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.hazards import Hazard, hazards_of
from phase1.patchkit.model import Model

__all__ = ["editable", "report", "written"]

_MOST_CHAINS = 20


def report(model: Model, site: Site, rule: Rule, *, message: str, advice: str) -> Finding:
    """A finding that a person has to act on."""
    return Finding(
        rule,
        Safety.REPORT,
        site.frame.source,
        site.node,
        message,
        advice,
        blocks=True,
        chains=_chains(model, site),
    )


def editable(
    model: Model,
    site: Site,
    rule: Rule,
    *,
    message: str,
    advice: str,
    edits: Iterable[Edit],
    best: Safety = Safety.SAFE,
) -> Finding:
    """A finding with an edit, as safe as what surrounds it allows."""
    hazards = list(hazards_of(model, site))
    safety = _safety(hazards, best)
    return Finding(
        rule,
        safety,
        site.frame.source,
        site.node,
        message,
        advice,
        blocks=True,
        reasons=tuple(dict.fromkeys(hazard.reason for hazard in hazards)),
        chains=_chains(model, site),
        edits=() if safety is Safety.REPORT else tuple((site.frame.source, edit) for edit in edits),
    )


def written(node: ast.expr) -> str:
    """A call's function as it is written, on one line and not too long."""
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"…{text[-59:]}"  # noqa: PLR2004 - what fits beside the rest of the line


def _safety(hazards: list[Hazard], best: Safety) -> Safety:
    if any(hazard.stops for hazard in hazards):
        return Safety.REPORT
    return Safety.UNSAFE if hazards else best


def _chains(model: Model, site: Site) -> tuple[Chain, ...]:
    label = f"{site.route.label} ({site.route.function.name})"
    return tuple(Chain(label, tuple(model.chain_of(site, reached))) for reached in site.reached[:_MOST_CHAINS])
