"""Quart and other ASGI frameworks: `phase1.install` takes FastAPI and Starlette."""

from __future__ import annotations

from typing import Final

from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.model import Model
from phase1.patchkit.rules.site import report, written

__all__ = ["RULE", "find"]

RULE: Final = Rule(
    "P307", "other-framework", "p307-other-framework", Safety.REPORT, "the app is neither FastAPI nor Starlette"
)


def find(model: Model, site: Site) -> Finding | None:
    """Said, and left alone."""
    framework = site.route.framework
    if framework in {"fastapi", "starlette"}:
        return None
    leaf = site.reached[0].leaf
    return report(
        model,
        site,
        RULE,
        message=f"{written(leaf.call.func)}() blocks the event loop of a {framework} app, which is not edited",
        advice="by hand: await phase1.call(…) at this line, and wrap the ASGI app in phase1.Phase1Middleware",
    )
