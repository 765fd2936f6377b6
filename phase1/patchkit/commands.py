"""`phase1 doctor`, `phase1 patch`, `phase1 revert`: each a few lines over a function elsewhere.

Exit codes: 0 fine, 1 findings or failure, 2 wrong usage.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from phase1.exceptions import MissingExtraError, Phase1Error
from phase1.patchkit.doctor import Diagnosis, diagnose
from phase1.patchkit.findings import Finding
from phase1.patchkit.hunks import unified_diff
from phase1.patchkit.journal import FOLDER, Journal
from phase1.patchkit.model import Target
from phase1.patchkit.plan import Plan, plan
from phase1.patchkit.report.document import document
from phase1.patchkit.report.github import annotated, summary
from phase1.patchkit.report.sarif import sarif
from phase1.patchkit.report.text import show_diagnosis, show_diff, show_plan, show_reverted
from phase1.patchkit.revert import Reverted, plan_revert, revert
from phase1.patchkit.worktree import uncommitted

__all__ = ["register"]

_MANY: Final = 500  # files: fewer are read before a bar could be seen


class Format(StrEnum):
    """How the findings are told."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


Where = Annotated[str, typer.Argument(metavar="PATH|MODULE:APP", help="A directory, a file, or one app: main:app")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def register(app: typer.Typer) -> None:
    """Give `app` the three commands."""
    app.command("doctor")(run_doctor)
    app.command("patch")(run_patch)
    app.command("revert")(run_revert)


def run_doctor(
    target: Where = ".",
    *,
    how: Annotated[Format, typer.Option("--format", help="How the findings are told.")] = Format.TEXT,
    as_json: AsJson = False,
) -> None:
    """Find what blocks the event loop of an app. Reads only, never imports the app.

    Exit code 1 if a request can block the loop. What could be pooled besides is told, but is no failure.
    """
    with _clear_errors():
        diagnosis = diagnose_with_progress(target)
        _tell(diagnosis, Format.JSON if as_json else how, target)
    raise typer.Exit(1 if diagnosis.blocking else 0)


def run_patch(
    target: Where = ".",
    *,
    diff: Annotated[bool, typer.Option("--diff", help="Show the edits, write nothing. The default.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Show nothing; exit code 1 if there is an edit to make.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="Make the edits.")] = False,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Also the edits that a person should look at.")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="ID", help="Only this rule; repeatable.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before writing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write although there are uncommitted changes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put phase1 into an app, line by line. `phase1 revert` takes the lines out again.

    Shows the edits; writes them with --write: all or none, and not over uncommitted changes.
    """
    with _clear_errors():
        if diff + check + write > 1:
            _refuse("--diff, --check and --write are three ways: choose one")
        diagnosis = diagnose_with_progress(target)
        if write:
            _refuse_interrupted(diagnosis.model.tree.root)
        wanted = plan(diagnosis, unsafe=unsafe, only=only or [])
        written = write and bool(wanted.changes) and _write(diagnosis, wanted, ask=not yes, force=force)
        _tell_plan(diagnosis, wanted, written=written, quiet=check, as_json=as_json, show=not write)
    raise typer.Exit(1 if check and wanted.changes else 0)


def run_revert(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The directory that was patched.")] = Path(),
    *,
    diff: Annotated[bool, typer.Option("--diff", help="Show what would be taken back, write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take back what `phase1 patch` wrote: byte for byte, or, in files that have changed since, exactly the edits."""
    with _clear_errors():
        root = _root(path)
        files = plan_revert(root) if diff else revert(root)
        if as_json:
            _print_json(_reverted(files, written=not diff))
        else:
            if diff:
                show_diff(_reverse_diff(files, root), _out())
            show_reverted(files, _out() if not diff else _err(), written=not diff)


def diagnose_with_progress(target: str) -> Diagnosis:
    """Diagnose, with a bar on standard error while many files are read."""
    with _progress() as progress:
        return diagnose(Target.parse(target, Path()), progress)


def _tell(diagnosis: Diagnosis, how: Format, target: str) -> None:
    prefix = _prefix(diagnosis.model.tree.root)
    if how is Format.JSON:
        _print_json(document(diagnosis))
    elif how is Format.SARIF:
        _print_json(sarif(diagnosis, prefix))
    elif how is Format.GITHUB:
        for line in annotated(diagnosis, prefix):
            typer.echo(line)
        _append_summary(summary(diagnosis))
    else:
        show_diagnosis(diagnosis, _out(), command=target)


def _append_summary(text: str) -> None:
    """To the page of the workflow's run if there is one, else below the annotated."""
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if page is None:
        typer.echo(text)
        return
    with Path(page).open("a", encoding="utf-8") as file:
        file.write(text)


def _write(diagnosis: Diagnosis, wanted: Plan, *, ask: bool, force: bool) -> bool:
    """Make the edits. False if the person at the terminal does not want them."""
    root = diagnosis.model.tree.root
    dirty = uncommitted(root, {change.source.name for change in wanted.changes})
    if dirty and not force:
        _fail(f"there are uncommitted changes ({dirty[0]}): commit or stash them, or use --force")
    if ask and sys.stdin.isatty():
        show_diff(_diff(wanted, root), _out())
        if not typer.confirm(f"Write {len(wanted.changes)} file(s)?", err=True):
            return False
    Journal(root).write((change.source.name, change.source.data, change.after) for change in wanted.changes)
    return True


def _refuse_interrupted(root: Path) -> None:
    if (name := Journal(root).interrupted()) is not None:
        _fail(f"an earlier run was interrupted before it wrote {name}: phase1 revert {root} first")


def _tell_plan(  # what was done, in one of three ways
    diagnosis: Diagnosis, wanted: Plan, *, written: bool, quiet: bool, as_json: bool, show: bool
) -> None:
    root = diagnosis.model.tree.root
    left = [one for one in diagnosis.findings if one not in wanted.findings]
    if as_json:
        _print_json(_planned(diagnosis, wanted, left, written=written, root=root))
        return
    if show and not quiet:
        show_diff(_diff(wanted, root), _out())
    show_plan(wanted, _err(), written=written, left=left)
    if written:
        _err().print(f"Undo: phase1 revert {root}  (what was there is kept in {FOLDER}/manifest.json: commit it too)")


def _planned(diagnosis: Diagnosis, wanted: Plan, left: list[Finding], *, written: bool, root: Path) -> dict[str, Any]:
    findings = document(diagnosis)["findings"]
    made = {id(finding) for finding in wanted.findings}
    numbered = list(zip(diagnosis.findings, findings, strict=True))
    return {
        "schema": "phase1.patch/v1",
        "written": written,
        "files": [
            {
                "file": change.source.name,
                "diff": _text(_diff_of(change.source.name, change.source.data, change.after, root)),
            }
            for change in wanted.changes
        ],
        "edited": [entry for finding, entry in numbered if id(finding) in made],
        "left": [entry for finding, entry in numbered if finding in left],
        "problems": document(diagnosis)["problems"],
    }


def _reverted(files: list[Reverted], *, written: bool) -> dict[str, Any]:
    return {
        "schema": "phase1.revert/v1",
        "written": written,
        "files": [{"file": one.name, "exact": one.exact} for one in files],
    }


def _diff(wanted: Plan, root: Path) -> bytes:
    return b"".join(_diff_of(one.source.name, one.source.data, one.after, root) for one in wanted.changes)


def _reverse_diff(files: list[Reverted], root: Path) -> bytes:
    return b"".join(_diff_of(one.name, one.now, one.then, root) for one in files)


def _diff_of(name: str, before: bytes, after: bytes, root: Path) -> bytes:
    return unified_diff(_prefix(root) + name, before, after)


def _prefix(root: Path) -> str:
    """From the working directory to the tree: `git apply` takes paths from where it is called."""
    here = Path.cwd()
    if root == here or not root.is_relative_to(here):
        return ""
    return f"{root.relative_to(here).as_posix()}/"


def _root(path: Path) -> Path:
    if not path.exists():
        _refuse(f"{path}: there is no such file or directory")
    return (path.parent if path.is_file() else path).resolve()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


@contextmanager
def _clear_errors() -> Iterator[None]:
    """One line instead of a traceback."""
    try:
        yield
    except MissingExtraError as missing:
        _refuse(str(missing))
    except Phase1Error as error:
        _refuse(str(error))
    except RecursionError:
        _refuse("an expression in this tree is nested too deeply to be followed")
    except KeyboardInterrupt:
        typer.echo("interrupted: nothing is half done", err=True)
        raise typer.Exit(130) from None


def _refuse(text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(2)


def _fail(text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _out() -> Console:
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def _err() -> Console:
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, one line elsewhere, and nothing for a small tree."""
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=_err(), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("reading", total=None, visible=False)

        def tell(count: int, total: int) -> None:
            if total >= _MANY:
                bar.update(task, completed=count, total=total, visible=True)
                if count == 0 and not sys.stderr.isatty():
                    typer.echo(f"reading {total} files", err=True)

        yield tell
