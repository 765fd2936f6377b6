"""`client.chat.completions.create(...)` directly in an `async def`: the loop waits until the model has answered."""

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
    "P201", "blocking-call", "p201-blocking-call", Safety.SAFE, "a synchronous SDK call blocks the event loop"
)


def find(model: Model, site: Site) -> Finding | None:
    """E3 on the SDK's own call."""
    if not isinstance(site.node, ast.Call):
        return None
    function = written(site.node.func)
    return editable(
        model,
        site,
        RULE,
        message=f"{function}() blocks the event loop: every other request waits for this answer",
        advice=f"await phase1.call({function}, …)",
        edits=[AwaitCall(span_of(site.frame.source, site.node))],
    )
