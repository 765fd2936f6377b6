"""How do edits get to the disk, all or none, and what is kept to take them back? `.phase1/manifest.json`.

The manifest is written first and says for each file what it is before and after. Each file is replaced as a whole. So
whatever stops the writing, every file is either old or new, and its hash tells which: the manifest is true.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from phase1.patchkit.errors import PatchkitError
from phase1.patchkit.hunks import Hunk, hunks_between

__all__ = ["FOLDER", "Entry", "Journal", "digest", "replace_all"]

FOLDER: Final = ".phase1"
_FILE: Final = "manifest.json"
_SCHEMA: Final = "phase1.patchkit/v1"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of one run."""

    name: str
    before: str
    after: str
    hunks: tuple[Hunk, ...]

    @classmethod
    def of(cls, name: str, before: bytes, after: bytes) -> Entry:
        """What is kept of a change."""
        return cls(name, digest(before), digest(after), hunks_between(before, after))


class Journal:
    """The runs that were written below `root`, oldest first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / FOLDER / _FILE
        self.runs: list[tuple[Entry, ...]] = _load(self.path)

    def interrupted(self) -> str | None:
        """A file that the last run was to change and has not."""
        for entry in self.runs[-1] if self.runs else ():
            path = self.root / entry.name
            if entry.before != entry.after and path.is_file() and digest(path.read_bytes()) == entry.before:
                return entry.name
        return None

    def write(self, changes: Iterable[tuple[str, bytes, bytes]]) -> None:
        """Note (name, before, after) of each change, then make them. Raises `PatchkitError`; then none is made."""
        wanted = list(changes)
        for name, before, _ in wanted:
            if (self.root / name).read_bytes() != before:
                raise PatchkitError(f"{name} has changed while it was read: run this again")
        self.runs.append(tuple(Entry.of(*change) for change in wanted))
        self.save()
        try:
            replace_all(self.root, wanted)
        except PatchkitError:
            self.runs.pop()
            self.save()
            raise

    def save(self) -> None:
        """Write the manifest, or remove it when nothing is left to revert."""
        if not self.runs:
            self.path.unlink(missing_ok=True)
            if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()
            return
        self.path.parent.mkdir(exist_ok=True)
        document = {"schema": _SCHEMA, "runs": [{"files": [_as_json(entry) for entry in run]} for run in self.runs]}
        _replace(self.path, (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode())


def digest(data: bytes) -> str:
    """The hash by which a file is known."""
    return hashlib.sha256(data).hexdigest()


def replace_all(root: Path, changes: list[tuple[str, bytes, bytes]]) -> None:
    """Give each file its new bytes; if one cannot be written, those before it get their old ones back."""
    done: list[tuple[str, bytes]] = []
    for name, before, after in changes:
        try:
            _replace(root / name, after)
        except OSError as error:
            for written, old in done:
                _replace(root / written, old)
            raise PatchkitError(f"{name} cannot be written ({error.strerror}): nothing is changed") from error
        done.append((name, before))


def _replace(path: Path, data: bytes) -> None:
    """Write beside it and rename, so that nobody ever sees half a file."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".phase1", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(name, path.stat().st_mode)  # noqa: PTH101 - beside the other calls on this name
        else:
            os.chmod(name, 0o644)  # noqa: PTH101 - mkstemp's 0600 is not what a file of the project has
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _load(path: Path) -> list[tuple[Entry, ...]]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise PatchkitError(f"{path}: the manifest cannot be read ({error})") from error
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        raise PatchkitError(f"{path}: not a manifest of this version (schema {_SCHEMA})")
    try:
        return [tuple(_entry(path.parent.parent, file) for file in run["files"]) for run in document["runs"]]
    except (KeyError, TypeError, ValueError) as error:
        raise PatchkitError(f"{path}: the manifest is damaged ({error!r})") from error


def _as_json(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "before": entry.before,
        "after": entry.after,
        "hunks": [
            {
                "start": hunk.start,
                **{
                    side: [_text(line) for line in getattr(hunk, side)]
                    for side in ("before", "after", "above", "below")
                },
            }
            for hunk in entry.hunks
        ],
    }


def _entry(root: Path, file: dict[str, Any]) -> Entry:
    name = str(file["name"])
    if not (root / name).resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{name} is not below {root}")
    hunks = tuple(
        Hunk(
            int(hunk["start"]),
            *(tuple(_bytes(line) for line in hunk[side]) for side in ("before", "after", "above", "below")),
        )
        for hunk in file["hunks"]
    )
    return Entry(name, str(file["before"]), str(file["after"]), hunks)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _bytes(line: str) -> bytes:
    return line.encode("utf-8", "surrogateescape")
