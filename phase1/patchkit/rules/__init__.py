"""One rule per file: what is looked for, and the edit that mends it.

A rule about a *site* (a place where the loop waits) is asked in this order, and the first that applies speaks: what a
person has to decide comes before what can be edited. The others look at the whole app.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from phase1.patchkit.findings import Finding, Rule
from phase1.patchkit.frames import Site
from phase1.patchkit.model import Model
from phase1.patchkit.rules import (
    adopt,
    assistants,
    awaited_client,
    blocking_call,
    blocking_chain,
    blocking_helper,
    blocking_stream,
    early_import,
    install,
    legacy_sdk,
    llm_dependency,
    no_place,
    other_framework,
    request_key,
    under_lock,
)

__all__ = ["APP_RULES", "RULES", "SITE_RULES", "SiteRule"]


@dataclass(frozen=True, slots=True)
class SiteRule:
    """A rule about one place where the loop waits."""

    rule: Rule
    find: Callable[[Model, Site], Finding | None]


SITE_RULES: Final = tuple(
    SiteRule(module.RULE, module.find)
    for module in (
        awaited_client,
        other_framework,
        legacy_sdk,
        assistants,
        under_lock,
        no_place,
        llm_dependency,
        blocking_stream,
        blocking_chain,
        blocking_helper,
        blocking_call,
    )
)
APP_RULES: Final[tuple[Callable[[Model], Iterator[Finding]], ...]] = (
    adopt.find,
    early_import.find,
    request_key.find,
    other_framework.find_flask,
)
RULES: Final[tuple[Rule, ...]] = tuple(
    sorted(
        (adopt.RULE, early_import.RULE, install.RULE, request_key.RULE, *(one.rule for one in SITE_RULES)),
        key=lambda rule: rule.id,
    )
)
