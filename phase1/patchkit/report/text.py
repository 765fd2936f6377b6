"""Findings for a person at a terminal: what is wrong, how a request gets there, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from phase1.patchkit.doctor import Diagnosis
from phase1.patchkit.findings import Finding, Safety
from phase1.patchkit.plan import Plan
from phase1.patchkit.revert import Reverted

__all__ = ["show_diagnosis", "show_diff", "show_plan", "show_reverted"]

_EDIT = {
    Safety.SAFE: "[green]phase1 patch edits it[/]",
    Safety.UNSAFE: "[yellow]phase1 patch --unsafe edits it[/]",
    Safety.REPORT: "[red]to be done by hand[/]",
}


def show_diagnosis(diagnosis: Diagnosis, console: Console, *, command: str) -> None:
    """All findings. `command`: what was asked for, to name the next one."""
    for finding in diagnosis.findings:
        _show(finding, console)
    for problem in diagnosis.problems:
        line = f":{problem.line}" if problem.line else ""
        console.print(f"[yellow]not read[/] {escape(problem.name)}{line}: {escape(problem.reason)}")
    console.print(_conclusion(diagnosis))
    if any(finding.edits for finding in diagnosis.findings):
        console.print(f"Next: [bold]phase1 patch {escape(command)}[/] shows the edits, and writes nothing.")


def show_plan(plan: Plan, console: Console, *, written: bool, left: Sequence[Finding]) -> None:
    """What was, or would be, edited."""
    if not plan.changes:
        console.print("Nothing to edit.")
    else:
        verb = "Edited" if written else "Would edit"
        console.print(f"[bold]{verb} {_files(len(plan.changes))}[/]: {_counts(plan.findings)}")
    for safety, count in sorted(Counter(one.safety.value for one in left).items()):
        hint = "with --unsafe" if safety == Safety.UNSAFE.value else "phase1 doctor says why"
        console.print(f"Left alone: {count} {safety} ({hint})")


def show_diff(diff: bytes, console: Console) -> None:
    """A unified diff; plain bytes unless it is a terminal that reads it."""
    if not console.is_terminal:
        console.file.flush()
        buffer = getattr(console.file, "buffer", None)
        if buffer is not None:
            buffer.write(diff)
            buffer.flush()
        else:
            console.file.write(diff.decode("utf-8", "replace"))
        return
    for line in diff.decode("utf-8", "replace").splitlines():
        console.print(Text(line, style=_style(line)), soft_wrap=True)


def show_reverted(files: Sequence[Reverted], console: Console, *, written: bool) -> None:
    """What was, or would be, taken back."""
    verb = "reverted" if written else "would revert"
    for one in files:
        how = "byte for byte" if one.exact else "the edits only: the file has changed since"
        console.print(f"[green]{verb}[/] {escape(one.name)} ({how})")
    if not files:
        console.print("Nothing to revert: no file has the edits any more.")


def _show(finding: Finding, console: Console) -> None:
    color = "red" if finding.blocks else "cyan"
    console.print(f"[bold]{escape(finding.place)}[/] [{color}]{finding.rule.id} {finding.rule.name}[/]")
    console.print(f"  {escape(finding.message)}", soft_wrap=True)
    for chain in finding.chains[:3]:
        console.print(f"  [dim]{escape(str(chain))}[/]", soft_wrap=True)
    if len(finding.chains) > 3:  # noqa: PLR2004 - as above
        console.print(f"  [dim]… and {len(finding.chains) - 3} more calls below this line[/]")
    console.print(f"  → {escape(finding.advice)}  ({_EDIT[finding.safety]})", soft_wrap=True)
    for reason in finding.reasons:
        console.print(f"  [yellow]because[/] {escape(reason)}", soft_wrap=True)
    console.print()


def _conclusion(diagnosis: Diagnosis) -> str:
    read = f"{_files(len(diagnosis.model.tree.sources))} and {len(diagnosis.model.routes)} routes read"
    if not diagnosis.model.leaves:
        return f"[green]No route asks a model[/] by a library that this tool knows; {read}."
    if not diagnosis.blocking:
        return f"[green]Nothing blocks the event loop[/]; {read}."
    places = "place" if len(diagnosis.blocking) == 1 else "places"
    return f"[red]The event loop is blocked at {len(diagnosis.blocking)} {places}[/]; {read}."


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _counts(findings: Sequence[Finding]) -> str:
    counts = Counter(f"{finding.rule.id} {finding.rule.name}" for finding in findings)
    return ", ".join(f"{count} × {name}" for name, count in sorted(counts.items()))


def _style(line: str) -> str:
    if line.startswith(("+++", "---", "diff ")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
