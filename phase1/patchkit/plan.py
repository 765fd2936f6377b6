"""Which files would `phase1 patch` change, and to what? Nothing is written here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from phase1.patchkit.doctor import Diagnosis, examine
from phase1.patchkit.edits import Edit, Import, edited, is_import_of_phase1
from phase1.patchkit.errors import PatchkitError
from phase1.patchkit.findings import Finding, Safety
from phase1.patchkit.model import Model
from phase1.patchkit.proof import prove
from phase1.patchkit.rules import RULES, install, llm_dependency
from phase1.patchkit.tree import Source, Tree

__all__ = ["Change", "Plan", "plan"]


@dataclass(frozen=True, slots=True)
class Change:
    """A file, before and after."""

    source: Source
    after: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be written, and which findings that mends."""

    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]


def plan(diagnosis: Diagnosis, *, unsafe: bool = False, only: Collection[str] = ()) -> Plan:
    """The edits that are safe, or also the others; of all rules, or `only` of these (by id or name).

    Whatever is edited, `phase1.install` comes with it. Raises `PatchkitError` for an unknown rule, and if an edit does
    not prove to be what it says.
    """
    wanted = _rules(only)
    findings = tuple(one for one in _wanted(diagnosis, wanted) if _is_allowed(one, unsafe=unsafe))
    changes = _changes(diagnosis.model, findings)
    if changes:
        _prove_that_twice_is_once(diagnosis, changes, unsafe=unsafe, wanted=wanted)
    return Plan(changes, findings)


def _rules(only: Collection[str]) -> frozenset[str]:
    known = {rule.name: rule.id for rule in RULES} | {rule.id: rule.id for rule in RULES}
    unknown = sorted(set(only) - set(known))
    if unknown:
        allowed = ", ".join(rule.id for rule in RULES)
        raise PatchkitError(f"there is no rule {unknown[0]!r}; allowed are {allowed}, or their names")
    return frozenset(known[name] for name in only)


def _wanted(diagnosis: Diagnosis, wanted: frozenset[str]) -> list[Finding]:
    return [one for one in diagnosis.findings if not wanted or one.rule.id in wanted or one.rule is install.RULE]


def _is_allowed(finding: Finding, *, unsafe: bool) -> bool:
    return bool(finding.edits) and (finding.safety is Safety.SAFE or (unsafe and finding.safety is Safety.UNSAFE))


def _changes(model: Model, findings: tuple[Finding, ...]) -> tuple[Change, ...]:
    if all(finding.rule is install.RULE for finding in findings) and not model.uses_phase1:
        return ()
    edits: dict[str, list[Edit]] = {}
    for finding in findings:
        for source, edit in finding.edits:
            edits.setdefault(source.name, []).append(edit)
    _refuse_namesake(model)
    has_recipe = any(finding.rule is llm_dependency.RULE for finding in findings)
    return tuple(_change(model.tree.sources[name], edits[name], has_recipe=has_recipe) for name in sorted(edits))


def _change(source: Source, edits: list[Edit], *, has_recipe: bool) -> Change:
    has_import = is_import_of_phase1(source.module.body) or any(isinstance(edit, Import) for edit in edits)
    after = edited(source, list(dict.fromkeys([*edits, *([] if has_import else [Import()])])))
    prove(source.name, source.data, after, has_recipe=has_recipe)
    return Change(source, after)


def _refuse_namesake(model: Model) -> None:
    for name in ("phase1.py", "phase1/__init__.py"):
        if name in model.tree.sources:
            raise PatchkitError(f"{name} would hide the package phase1: rename it, or patch a directory below")


def _prove_that_twice_is_once(
    diagnosis: Diagnosis, changes: tuple[Change, ...], *, unsafe: bool, wanted: frozenset[str]
) -> None:
    tree = diagnosis.model.tree
    again = Tree(tree.root, dict(tree.sources), [])
    for change in changes:
        again.sources[change.source.name] = replace(change.source, data=change.after)
    after = examine(Model(again, diagnosis.model.target))
    left = [one for one in _wanted(after, wanted) if _is_allowed(one, unsafe=unsafe) and one.rule is not install.RULE]
    if left:
        places = ", ".join(finding.place for finding in left)
        raise PatchkitError(
            f"a second patch would change {places} once more, so nothing is written: please report this"
        )
