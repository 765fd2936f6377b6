"""A `threading.Lock` is held while the model answers: with other requests on the loop meanwhile, it deadlocks."""

from __future__ import annotations

from typing import Final

from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.hazards import is_under_lock
from phase1.patchkit.model import Model
from phase1.patchkit.rules.site import report, written

__all__ = ["RULE", "find"]

RULE: Final = Rule(
    "P302", "under-lock", "p302-under-lock", Safety.REPORT, "a model is asked while a threading lock is held"
)


def find(model: Model, site: Site) -> Finding | None:
    """Said, and left alone."""
    lock = is_under_lock(model, site)
    if lock is None:
        return None
    leaf = site.reached[0].leaf
    return report(
        model,
        site,
        RULE,
        message=f"{written(leaf.call.func)}() blocks the event loop while `{lock}`, a threading lock, is held",
        advice="make it an asyncio.Lock, or let go of it before the model is asked; a pooled client would deadlock",
    )
