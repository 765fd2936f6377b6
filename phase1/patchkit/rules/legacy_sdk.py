"""openai < 1: `openai.ChatCompletion.create(...)`."""

from __future__ import annotations

from typing import Final

from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.libraries import Family
from phase1.patchkit.model import Model
from phase1.patchkit.rules.site import report, written

__all__ = ["RULE", "find"]

RULE: Final = Rule("P304", "legacy-sdk", "p304-legacy-sdk", Safety.REPORT, "a call of openai < 1 blocks the event loop")


def find(model: Model, site: Site) -> Finding | None:
    """phase1 needs openai 1.68, which has no such names any more."""
    leaf = next((one.leaf for one in site.reached if one.leaf.ask.family is Family.OPENAI_LEGACY), None)
    if leaf is None:
        return None
    return report(
        model,
        site,
        RULE,
        message=f"{written(leaf.call.func)}() blocks the event loop, and it is a call of openai < 1",
        advice="go to openai >= 1.68 first (client = OpenAI(); client.chat.completions.create(…)), then run this again",
    )
