"""Quart, Flask and others: `phase1.install` takes FastAPI and Starlette."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.model import Model
from phase1.patchkit.rules.site import report, written

__all__ = ["RULE", "find", "find_flask"]

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


def find_flask(model: Model) -> Iterator[Finding]:
    """A Flask app blocks threads, not a loop: said once, and left alone."""
    for app in model.apps:
        if app.framework == "flask" and model.leaves:
            yield Finding(
                RULE,
                Safety.REPORT,
                app.scope.source,
                app.call,
                "a Flask app: each request has a thread of its own, so nothing blocks a loop, and nothing is edited",
                "by hand: client = phase1.adopt(OpenAI(…)) pools its requests",
            )
