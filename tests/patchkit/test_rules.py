"""Is every rule explained, and is there an app for it that it speaks of, and apps of which it does not?"""

from __future__ import annotations

import re

import pytest

from phase1.patchkit.findings import Rule, Safety
from phase1.patchkit.rules import RULES
from tests.docs.pages import INTEGRATION

from .trees import APPS, found

BY_APP = {path.name: {finding.rule.id for finding in found(path).findings} for path in sorted(APPS.iterdir())}
EVERY = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)


def test_ids_and_names_are_given_once() -> None:
    """`--only` takes either."""
    assert len({rule.id for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)


@EVERY
def test_rule_is_explained(rule: Rule) -> None:
    """A finding links to its section of INTEGRATION.md."""
    assert rule.anchor in INTEGRATION.anchors
    assert f"### {rule.id} {rule.name}\n" in INTEGRATION.text


def test_only_rules_are_explained() -> None:
    """No section is left of a rule that is gone."""
    assert set(re.findall(r"^### (P\d+) ", INTEGRATION.text, re.MULTILINE)) == {rule.id for rule in RULES}


@EVERY
def test_rule_speaks_of_some_apps_and_not_of_others(rule: Rule) -> None:
    """P205 speaks of the plain legacy app only, which tests/patchkit/test_golden.py makes."""
    speaking = [name for name, rules in BY_APP.items() if rule.id in rules]
    assert speaking or rule.id == "P205"
    assert len(speaking) < len(BY_APP) - 3


def test_what_a_person_decides_is_never_edited() -> None:
    """A rule whose best is a report has no edits, in any app."""
    reports = {rule.id for rule in RULES if rule.safety is Safety.REPORT}
    findings = [finding for path in APPS.iterdir() for finding in found(path).findings]
    assert [finding for finding in findings if finding.rule.id in reports and finding.edits] == []
