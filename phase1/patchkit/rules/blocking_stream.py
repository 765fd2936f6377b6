"""`for chunk in stream` in an `async def`: the loop waits for each piece of the answer."""

from __future__ import annotations

import ast
from typing import Final

from phase1.patchkit.edits import Iterate, span_of
from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.model import Model
from phase1.patchkit.rules.site import editable, written

__all__ = ["RULE", "find"]

RULE: Final = Rule(
    "P204", "blocking-stream", "p204-blocking-stream", Safety.UNSAFE, "a synchronous stream blocks the event loop"
)


def find(model: Model, site: Site) -> Finding | None:
    """E4; what the loop's body does now runs while others run too, so it is never called safe."""
    if not isinstance(site.node, ast.For):
        return None
    stream = written(site.node.iter)
    return editable(
        model,
        site,
        RULE,
        message=f"`for … in {stream}` blocks the event loop until each piece has come",
        advice=f"async for … in phase1.iterate({stream})",
        edits=[Iterate(span_of(site.frame.source, site.node))],
        best=Safety.UNSAFE,
    )
