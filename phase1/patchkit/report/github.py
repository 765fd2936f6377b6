"""Findings for GitHub: annotations for the log of a workflow, and a summary in Markdown.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from collections.abc import Iterator

from phase1.patchkit.doctor import Diagnosis
from phase1.patchkit.findings import Finding

__all__ = ["annotated", "summary"]


def annotated(diagnosis: Diagnosis, prefix: str = "") -> Iterator[str]:
    """One line for each finding and each file that could not be read. `prefix`: from the repository to the tree."""
    for finding in diagnosis.findings:
        level = "error" if finding.blocks else "notice"
        place = f"file={_property(prefix + finding.source.name)},line={finding.line},col={finding.column}"
        yield f"::{level} {place},title={_property(_title(finding))}::{_data(_text(finding))}"
    for problem in diagnosis.problems:
        place = f"file={_property(prefix + problem.name)}" + (f",line={problem.line}" if problem.line else "")
        yield f"::warning {place},title=not read::{_data(problem.reason)}"


def summary(diagnosis: Diagnosis) -> str:
    """A table for the page of a workflow run."""
    if not diagnosis.findings:
        return "### phase1 doctor\n\nNothing blocks the event loop.\n"
    head = f"### phase1 doctor: {len(diagnosis.blocking)} blocking, {len(diagnosis.opportunities)} to pool\n"
    table = ["| where | rule | what | edit |", "|---|---|---|---|"]
    rows = [
        f"| `{finding.place}` | {_title(finding)} | {_cell(finding.message)} | {finding.safety.value} |"
        for finding in diagnosis.findings
    ]
    return "\n".join((head, *table, *rows, ""))


def _title(finding: Finding) -> str:
    return f"{finding.rule.id} {finding.rule.name}"


def _text(finding: Finding) -> str:
    way = f"\n{finding.chains[0]}" if finding.chains else ""
    return f"{finding.message}{way}\n{finding.advice}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
