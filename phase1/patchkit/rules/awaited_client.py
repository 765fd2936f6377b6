"""`await client.chat.completions.create(...)` with a synchronous client: it blocks, and then it raises `TypeError`."""

from __future__ import annotations

from typing import Final

from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.model import Model
from phase1.patchkit.rules.site import report, written

__all__ = ["RULE", "find"]

RULE: Final = Rule(
    "P301", "awaited-sync-client", "p301-awaited-sync-client", Safety.REPORT, "a synchronous client is awaited"
)


def find(model: Model, site: Site) -> Finding | None:
    """A bug that is there already: said, and left alone."""
    leaf = next((one.leaf for one in site.reached if not one.through and one.leaf.awaited), None)
    if leaf is None:
        return None
    return report(
        model,
        site,
        RULE,
        message=f"await {written(leaf.call.func)}(): the client is synchronous, so this blocks, then raises TypeError",
        advice="make it an asynchronous client (AsyncOpenAI), or take the await away and run phase1 patch",
    )
