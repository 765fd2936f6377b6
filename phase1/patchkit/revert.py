"""How are the edits taken back? Byte for byte; where a file has changed since, exactly the edits and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phase1.patchkit.errors import PatchkitError
from phase1.patchkit.hunks import Moved, taken_out
from phase1.patchkit.journal import FOLDER, Entry, Journal, digest, replace_all

__all__ = ["Reverted", "plan_revert", "revert"]


@dataclass(frozen=True, slots=True)
class Reverted:
    """A file, now and as it will be. `exact`: the very bytes from before the first patch."""

    name: str
    now: bytes
    then: bytes
    exact: bool


def plan_revert(root: Path) -> list[Reverted]:
    """What `revert` would write. Raises `PatchkitError` with all reasons if something cannot be taken out."""
    journal = _journal(root)
    found: dict[str, Reverted] = {}
    reasons: list[str] = []
    for run in reversed(journal.runs):
        for entry in run:
            known = found.get(entry.name) or _now(root, entry)
            if known is None:
                continue  # the file is gone, and its edits with it
            try:
                found[entry.name] = _without(known, entry)
            except Moved as moved:
                reasons.append(f"{entry.name}: {moved}")
    if reasons:
        raise PatchkitError("\n".join(("nothing is reverted, these edits are not as they were made:", *reasons)))
    return [one for one in found.values() if one.now != one.then]


def revert(root: Path) -> list[Reverted]:
    """Take out all edits below `root`, all or none. Raises `PatchkitError`."""
    planned = plan_revert(root)
    journal = _journal(root)
    replace_all(root, [(one.name, one.now, one.then) for one in planned])
    journal.runs.clear()
    journal.save()
    return planned


def _journal(root: Path) -> Journal:
    journal = Journal(root)
    if not journal.runs:
        raise PatchkitError(f"nothing to revert: there is no {FOLDER}/manifest.json in {root}")
    return journal


def _now(root: Path, entry: Entry) -> Reverted | None:
    path = root / entry.name
    if not path.is_file():
        return None
    data = path.read_bytes()
    return Reverted(entry.name, data, data, exact=True)


def _without(known: Reverted, entry: Entry) -> Reverted:
    current = digest(known.then)
    if current == entry.before:
        return known  # this edit was never made, or is taken back already
    then = taken_out(known.then, entry.hunks)
    return Reverted(
        known.name, known.now, then, exact=known.exact and current == entry.after and digest(then) == entry.before
    )
