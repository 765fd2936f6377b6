"""Findings as one JSON document: `phase1.doctor/v1`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from phase1.patchkit.doctor import Diagnosis
from phase1.patchkit.findings import Chain, Finding

__all__ = ["document", "link"]

SCHEMA: Final = "phase1.doctor/v1"
_PAGE: Final = "INTEGRATION.md"


def document(diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything that was found, for a program."""
    return {
        "schema": SCHEMA,
        "version": version("phase1"),
        "root": ".",
        "summary": {
            "blocking": len(diagnosis.blocking),
            "opportunities": len(diagnosis.opportunities),
            "files": len(diagnosis.model.tree.sources),
            "routes": len(diagnosis.model.routes),
            "unreadable": len(diagnosis.problems),
        },
        "findings": [_finding(finding) for finding in diagnosis.findings],
        "problems": [
            {"file": problem.name, "line": problem.line, "reason": problem.reason} for problem in diagnosis.problems
        ],
    }


def link(finding: Finding) -> str:
    """Where the rule is explained."""
    return f"{_PAGE}#{finding.rule.anchor}"


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.rule.id,
        "name": finding.rule.name,
        "safety": finding.safety.value,
        "blocks": finding.blocks,
        "file": finding.source.name,
        "line": finding.line,
        "column": finding.column,
        "message": finding.message,
        "advice": finding.advice,
        "reasons": list(finding.reasons),
        "help": link(finding),
        "chains": [_chain(chain) for chain in finding.chains],
    }


def _chain(chain: Chain) -> dict[str, Any]:
    steps = [{"what": what, "file": file, "line": line} for what, file, line in chain.steps]
    return {"route": chain.route, "steps": steps}
