"""How good is `phase1 doctor` on real apps, and does `phase1 patch` leave each of them whole?

    python scripts/evaluate_patchkit.py --commands FOLDER | sh     check the apps out (needs the network)
    python scripts/evaluate_patchkit.py FOLDER                     print the results
    python scripts/evaluate_patchkit.py FOLDER --write             write them into phase1/patchkit/EVALUATION.md

What is true stands in `patchkit_labels.jsonl`: for each app, whether it blocks, and which calls do. `review` corrects a
label, and says why. Nothing of the apps is run; edits are made in a temporary copy.
"""

from __future__ import annotations

import argparse
import ast
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phase1.patchkit.doctor import diagnose
from phase1.patchkit.findings import Finding
from phase1.patchkit.journal import FOLDER, Journal
from phase1.patchkit.model import Target
from phase1.patchkit.plan import Plan, plan
from phase1.patchkit.revert import revert

ROOT = Path(__file__).resolve().parent.parent
LABELS = ROOT / "scripts" / "patchkit_labels.jsonl"
PAGE = ROOT / "phase1" / "patchkit" / "EVALUATION.md"
MARK = "<!-- results -->\n"

Call = tuple[str, int]


@dataclass(frozen=True)
class Label:
    """What is true of one app."""

    folder: str
    repo: str | None
    commit: str | None
    shape: str
    blocks: bool
    calls: frozenset[Call]
    reviewed: frozenset[Call]
    why: str

    @classmethod
    def of(cls, row: dict[str, Any]) -> Label:
        """A row of the file."""
        calls = _calls(row["calls"])
        review = row.get("review", {})
        reviewed = (calls - _calls(review.get("drop", []))) | _calls(review.get("add", []))
        why = review.get("why", "")
        return cls(row["folder"], row["repo"], row["commit"], row["shape"], row["blocks"], calls, reviewed, why)


@dataclass
class Score:
    """Found and true, found and not true, true and not found."""

    hits: int = 0
    extra: int = 0
    missed: int = 0

    def count(self, found: Iterable[object], true: Iterable[object]) -> None:
        """Add one app."""
        found, true = set(found), set(true)
        self.hits += len(found & true)
        self.extra += len(found - true)
        self.missed += len(true - found)

    def __str__(self) -> str:
        precision = self.hits / (self.hits + self.extra) if self.hits + self.extra else 1.0
        recall = self.hits / (self.hits + self.missed) if self.hits + self.missed else 1.0
        return f"{precision:.3f} | {recall:.3f} | {self.hits} | {self.extra} | {self.missed}"


@dataclass
class Results:
    """What came out."""

    apps: Score = field(default_factory=Score)
    calls: Score = field(default_factory=Score)
    reviewed: Score = field(default_factory=Score)
    rows: list[str] = field(default_factory=list)
    files: int = 0
    patched: int = 0
    reverted: int = 0
    moved_in_vain: int = 0
    edited_negatives: int = 0
    failures: list[str] = field(default_factory=list)


def _calls(pairs: Iterable[tuple[str, int]]) -> frozenset[Call]:
    return frozenset((path, line) for path, line in pairs)


def labels() -> list[Label]:
    """All of them."""
    return [Label.of(json.loads(line)) for line in LABELS.read_text(encoding="utf-8").splitlines()]


def evaluate(folder: Path) -> Results:
    """Look at every app that is there."""
    results = Results()
    for label in labels():
        if not (folder / label.folder).is_dir():
            results.failures.append(f"not there: {label.folder}")
            continue
        try:
            _look(label, folder / label.folder, results)
        except Exception as error:  # noqa: BLE001 - any error is a result
            results.failures.append(f"{label.folder}: {error!r}")
    return results


def _look(label: Label, root: Path, results: Results) -> None:
    diagnosis = diagnose(Target(root))
    found = _leaves(diagnosis.blocking)
    results.apps.count({"blocks"} if found else (), {"blocks"} if label.blocks else ())
    results.calls.count(found, label.calls)
    results.reviewed.count(found, label.reviewed)
    safe, everything = plan(diagnosis), plan(diagnosis, unsafe=True)
    _try(label, root, everything, results)
    results.files += len(diagnosis.model.tree.sources)
    true = len(label.reviewed)
    agreed = len(found & label.reviewed)
    results.rows.append(
        f"| {label.repo or label.folder} | {label.shape} | {'yes' if label.blocks else 'no'} | "
        f"{'yes' if found else 'no'} | {agreed}/{true} | {len(found) - agreed} | "
        f"{len(safe.changes)} | {len(everything.changes)} |"
    )


def _leaves(findings: Iterable[Finding]) -> set[Call]:
    return {chain.steps[-1][1:] for finding in findings for chain in finding.chains}


def _try(label: Label, root: Path, wanted: Plan, results: Results) -> None:
    """Write, parse and revert in a copy."""
    if not label.blocks:
        results.moved_in_vain += sum(finding.blocks for finding in wanted.findings if wanted.changes)
    if label.shape == "negative":
        results.edited_negatives += len(wanted.changes)
    if not wanted.changes:
        return
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for change in wanted.changes:
            target = copy / change.source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / change.source.name, target)
        before = _contents(copy)
        Journal(copy).write((change.source.name, change.source.data, change.after) for change in wanted.changes)
        for change in wanted.changes:
            ast.parse((copy / change.source.name).read_bytes())
            results.patched += 1
        revert(copy)
        results.reverted += sum(_contents(copy).get(path) == data for path, data in before.items())
        if (copy / FOLDER).exists():
            results.failures.append(f"{label.folder}: the manifest is left behind")


def _contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def report(results: Results) -> Iterator[str]:
    """In Markdown."""
    yield "| | precision | recall | found and true | found, not true | true, not found |"
    yield "|---|---|---|---|---|---|"
    yield f"| apps that block | {results.apps} |"
    yield f"| calls, labels as filed | {results.calls} |"
    yield f"| calls, labels after review | {results.reviewed} |"
    yield ""
    yield f"{len(results.rows)} apps with {results.files} Python files were read. With `--unsafe`,"
    yield f"{results.patched} files were patched and parsed, and {results.reverted} of them came back byte for byte."
    yield f"Calls moved in apps that do not block: {results.moved_in_vain}."
    yield f"Files edited in the app that is a negative: {results.edited_negatives}."
    yield f"Failures: {len(results.failures)}."
    yield ""
    yield "| app | shape | blocks | found | calls found | calls too many | files, safe | files, unsafe |"
    yield "|---|---|---|---|---|---|---|---|"
    yield from results.rows
    yield ""
    yield "Labels that the review corrected:"
    yield ""
    yield from (f"- {label.repo}: {label.why}." for label in labels() if label.why)
    yield from (f"- failed: {failure}" for failure in results.failures)


def commands(folder: Path) -> Iterator[str]:
    """Shell lines that check each app out at its commit."""
    for label in labels():
        if label.repo is not None:
            target = shlex.quote(str(folder / label.folder))
            yield f"git clone --quiet https://github.com/{label.repo} {target}"
            yield f"git -C {target} checkout --quiet {label.commit}"


def main(argv: list[str] | None = None) -> int:
    """Print, or write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="one checkout for each app, named as in the labels")
    parser.add_argument("--commands", action="store_true", help="print how to fill the folder, and do nothing")
    parser.add_argument("--write", action="store_true", help="write the results into the page")
    arguments = parser.parse_args(argv)
    if arguments.commands:
        print("\n".join(commands(arguments.folder)))
        return 0
    results = evaluate(arguments.folder)
    text = "\n".join(report(results)) + "\n"
    print(text)
    if arguments.write:
        head, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
        PAGE.write_text(head + MARK + "\n" + text, encoding="utf-8")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
