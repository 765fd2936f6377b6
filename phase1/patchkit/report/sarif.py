"""Findings as SARIF 2.1.0, for code scanning.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from phase1.patchkit.doctor import Diagnosis
from phase1.patchkit.findings import Chain, Finding, Rule, Safety
from phase1.patchkit.report.document import link
from phase1.patchkit.rules import RULES
from phase1.patchkit.tree import Problem

__all__ = ["sarif"]

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(diagnosis: Diagnosis, prefix: str = "") -> dict[str, Any]:
    """One run with one result for each finding. `prefix`: from the repository to the tree."""
    notes = [_note(problem, prefix) for problem in diagnosis.problems]
    driver = {
        "name": "phase1 doctor",
        "version": version("phase1"),
        "rules": [_rule(rule) for rule in RULES],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}],
        "results": [_result(finding, prefix) for finding in diagnosis.findings],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "help": {"text": f"INTEGRATION.md#{rule.anchor}"},
        "properties": {"safety": rule.safety.value},
    }


def _result(finding: Finding, prefix: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule.id,
        "ruleIndex": RULES.index(finding.rule),
        "level": "note" if not finding.blocks else "warning" if finding.safety is Safety.REPORT else "error",
        "message": {"text": f"{finding.message}. {finding.advice}"},
        "locations": [_location(prefix + finding.source.name, finding.line, finding.column)],
        "properties": {"safety": finding.safety.value, "reasons": list(finding.reasons), "help": link(finding)},
    }
    if finding.chains:
        result["codeFlows"] = [{"threadFlows": [_flow(chain, prefix)]} for chain in finding.chains]
    return result


def _flow(chain: Chain, prefix: str) -> dict[str, Any]:
    steps = [
        {"location": {**_location(prefix + file, line), "message": {"text": what}}} for what, file, line in chain.steps
    ]
    return {"message": {"text": chain.route}, "locations": steps}


def _location(name: str, line: int, column: int | None = None) -> dict[str, Any]:
    region = {"startLine": line} if column is None else {"startLine": line, "startColumn": column}
    return {"physicalLocation": {"artifactLocation": {"uri": quote(name)}, "region": region}}


def _note(problem: Problem, prefix: str) -> dict[str, Any]:
    return {
        "level": "warning",
        "message": {"text": f"not read: {problem.reason}"},
        "locations": [_location(prefix + problem.name, problem.line or 1)],
    }
