"""What blocks the event loop of this app, and what could be done? Reads only, and never imports the app."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from phase1.exceptions import MissingExtraError
from phase1.patchkit.edits import is_name_taken, round_trips
from phase1.patchkit.findings import Finding, Safety
from phase1.patchkit.frames import Site
from phase1.patchkit.model import Model, Target, read_app
from phase1.patchkit.rules import APP_RULES, SITE_RULES, install
from phase1.patchkit.tree import Problem, Progress

__all__ = ["Diagnosis", "diagnose", "examine"]

_SEVERAL: Final = "there are several apps in this tree: name the one that is meant, as in `phase1 patch main:app`"
_NOT_BACK: Final = "libcst does not give this file back byte for byte"
_TAKEN: Final = "the name phase1 stands for something else in this file"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, and what could not be read."""

    model: Model
    findings: tuple[Finding, ...]
    problems: tuple[Problem, ...]

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """Those for which requests wait."""
        return tuple(finding for finding in self.findings if finding.blocks)

    @property
    def opportunities(self) -> tuple[Finding, ...]:
        """The others."""
        return tuple(finding for finding in self.findings if not finding.blocks)


def diagnose(target: Target, progress: Progress | None = None) -> Diagnosis:
    """Read the app and apply all rules. Raises `PatchkitError` if it is not there."""
    return examine(read_app(target, progress))


def examine(model: Model) -> Diagnosis:
    """Apply all rules to an app that has been read."""
    found = [finding for site in model.sites if (finding := _about(model, site)) is not None]
    found += [finding for find in APP_RULES for finding in find(model)]
    found = [_as_safe_as_the_file(_as_safe_as_the_tree(model, finding)) for finding in found]
    installed = install.find(model, found)
    found += [installed] if installed is not None else []
    found.sort(key=lambda finding: (not finding.blocks, finding.source.name, finding.line, finding.rule.id))
    return Diagnosis(model, tuple(found), tuple(model.tree.problems))


def _about(model: Model, site: Site) -> Finding | None:
    return next((found for rule in SITE_RULES if (found := rule.find(model, site)) is not None), None)


def _as_safe_as_the_tree(model: Model, finding: Finding) -> Finding:
    return _stopped(finding, _SEVERAL) if finding.edits and model.has_several_apps else finding


def _as_safe_as_the_file(finding: Finding) -> Finding:
    """Without the extra nothing can be edited anyway."""
    sources = {source for source, _ in finding.edits}
    if any(is_name_taken(source) for source in sources):
        return _stopped(finding, _TAKEN)
    try:
        comes_back = all(round_trips(source) for source in sources)
    except MissingExtraError:
        return finding
    return finding if comes_back else _stopped(finding, _NOT_BACK)


def _stopped(finding: Finding, reason: str) -> Finding:
    return replace(finding, safety=Safety.REPORT, reasons=(*finding.reasons, reason), edits=())
