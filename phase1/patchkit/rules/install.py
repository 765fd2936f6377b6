"""`phase1.install(app)` below `app = FastAPI(...)`: it brings the pool up and down with the app."""

from __future__ import annotations

from typing import Final

from phase1.patchkit.edits import Edit, InsertAfter, span_of
from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.model import Model
from phase1.patchkit.rules import llm_dependency

__all__ = ["RULE", "find"]

RULE: Final = Rule("P101", "install", "p101-install", Safety.SAFE, "the app has no phase1.install")


def find(model: Model, others: list[Finding]) -> Finding | None:
    """E1, if anything else is edited, or goes through phase1 already."""
    wanted = [finding for finding in others if finding.edits]
    app = next((app for app in model.apps if app.can_install), None)
    if app is None or model.is_installed or model.has_several_apps or not (wanted or model.uses_phase1):
        return None
    if app.statement is None or app.name is None:
        return Finding(
            RULE,
            Safety.REPORT,
            app.scope.source,
            app.call,
            "this app has no name that phase1.install could be given",
            "give it one, and write phase1.install(app) below",
        )
    source = app.scope.source
    edits: list[Edit] = [InsertAfter(span_of(source, app.statement), f"phase1.install({app.name})")]
    if model.recipe is not None and any(finding.rule is llm_dependency.RULE for finding in wanted):
        edits = list(model.recipe.shared_edits())
    return Finding(
        RULE,
        Safety.SAFE,
        source,
        app.call,
        "the pool has to start and stop with this app",
        f"phase1.install({app.name}) below",
        edits=tuple((source, edit) for edit in edits),
    )
