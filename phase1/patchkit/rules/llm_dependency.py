"""An endpoint asks the one global wrapper: it gets an `llm` parameter, and the wrapper becomes its legacy client."""

from __future__ import annotations

from typing import Final

from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.model import Client, Model
from phase1.patchkit.rules.site import editable, written

__all__ = ["RULE", "find", "is_served"]

RULE: Final = Rule(
    "P205", "llm-dependency", "p205-llm-dependency", Safety.SAFE, "an endpoint blocks on the app's one LLM wrapper"
)


def find(model: Model, site: Site) -> Finding | None:
    """E5, one numbered step for each endpoint."""
    recipe = model.recipe
    if recipe is None or site not in recipe.sites:
        return None
    function = written(site.node.func) if hasattr(site.node, "func") else ""
    return editable(
        model,
        site,
        RULE,
        message=f"{function}() blocks the event loop: every other request waits for this answer",
        advice="a parameter llm: phase1.LLM, and await llm.generate_response_async(…)",
        edits=recipe.edits_of(site),
    )


def is_served(model: Model, client: Client) -> bool:
    """Whether the client is the legacy client behind `llm`: adopting it too would pool it twice."""
    recipe = model.recipe
    return recipe is not None and getattr(client.scope, "owner", None) is recipe.wrapper
