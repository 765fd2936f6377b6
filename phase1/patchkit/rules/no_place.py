"""A synchronous context manager, or a comprehension over a generator, asks a model: no line that an await fits into."""

from __future__ import annotations

import ast
from typing import Final

from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.model import Model
from phase1.patchkit.rules.site import report, written

__all__ = ["RULE", "find"]

RULE: Final = Rule(
    "P306", "no-place-for-await", "p306-no-place-for-await", Safety.REPORT, "a blocking call where no await can stand"
)


def find(model: Model, site: Site) -> Finding | None:
    """Said, and left alone."""
    if isinstance(site.node, ast.For) or (isinstance(site.node, ast.Call) and not site.is_hidden):
        return None
    leaf = site.reached[0].leaf
    return report(
        model,
        site,
        RULE,
        message=f"{written(site.node)} blocks the event loop: it asks a model ({written(leaf.call.func)})",
        advice="move the work into a function of its own and call it by await phase1.call(…)",
    )
