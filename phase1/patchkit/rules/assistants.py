"""Assistants: threads and runs live in one account, so one call of them must not go to another endpoint."""

from __future__ import annotations

from typing import Final

from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.libraries import Family
from phase1.patchkit.model import Model
from phase1.patchkit.rules.site import report, written

__all__ = ["RULE", "find"]

RULE: Final = Rule(
    "P305", "assistants", "p305-assistants", Safety.REPORT, "a call of the Assistants API blocks the event loop"
)


def find(model: Model, site: Site) -> Finding | None:
    """Said, and left alone."""
    leaf = next((one.leaf for one in site.reached if one.leaf.ask.family is Family.ASSISTANTS), None)
    if leaf is None:
        return None
    return report(
        model,
        site,
        RULE,
        message=f"{written(leaf.call.func)}() blocks the event loop; it is a call of the Assistants API",
        advice="by hand: await phase1.call(…) here, and do not adopt this client: its threads live in one account",
    )
