"""`chain.invoke(...)` of LangChain or LangGraph in an `async def`."""

from __future__ import annotations

import ast
from typing import Final

from phase1.patchkit.edits import AwaitCall, span_of
from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.libraries import Family
from phase1.patchkit.model import Model
from phase1.patchkit.rules.site import editable, written

__all__ = ["RULE", "find"]

RULE: Final = Rule(
    "P203", "blocking-chain", "p203-blocking-chain", Safety.SAFE, "a LangChain call blocks the event loop"
)


def find(model: Model, site: Site) -> Finding | None:
    """E3 on the chain's own call."""
    direct = [reached for reached in site.reached if not reached.through]
    if not isinstance(site.node, ast.Call) or not any(one.leaf.ask.family is Family.LANGCHAIN for one in direct):
        return None
    function = written(site.node.func)
    return editable(
        model,
        site,
        RULE,
        message=f"{function}() blocks the event loop while the chain runs",
        advice=f"await phase1.call({function}, …); to pool its requests: ChatOpenAI(http_client=phase1.http_client())",
        edits=[AwaitCall(span_of(site.frame.source, site.node))],
    )
