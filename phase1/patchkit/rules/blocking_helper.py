"""A synchronous helper below an `async def` asks a model somewhere inside: one edit at the top serves any depth."""

from __future__ import annotations

import ast
from typing import Final

from phase1.patchkit.edits import AwaitCall, span_of
from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.model import Model
from phase1.patchkit.rules.site import editable, written

__all__ = ["RULE", "find"]

RULE: Final = Rule(
    "P202", "blocking-helper", "p202-blocking-helper", Safety.SAFE, "a synchronous helper blocks the event loop"
)


def find(model: Model, site: Site) -> Finding | None:
    """E3 on the topmost synchronous call."""
    if not isinstance(site.node, ast.Call) or not any(reached.through for reached in site.reached):
        return None
    function, leaf = written(site.node.func), site.reached[0].leaf
    file, line = leaf.place
    return editable(
        model,
        site,
        RULE,
        message=f"{function}() blocks the event loop: it asks a model ({written(leaf.call.func)}, {file}:{line})",
        advice=f"await phase1.call({function}, …)",
        edits=[AwaitCall(span_of(site.frame.source, site.node))],
    )
