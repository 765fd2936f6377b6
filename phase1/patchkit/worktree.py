"""Would edits be mixed with changes that nobody has committed?"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from phase1.patchkit.journal import FOLDER

__all__ = ["uncommitted"]


def uncommitted(root: Path, names: Collection[str]) -> list[str]:
    """Files below `root` with uncommitted changes, and those of `names` that git does not know; none outside of git."""
    git = shutil.which("git")
    if git is None:
        return []
    command = [
        git,
        "-c",
        "core.fsmonitor=false",
        "-C",
        str(root),
        "status",
        "--porcelain",
        "-z",
        "--untracked-files=all",
    ]
    try:
        done = subprocess.run([*command, "--", "."], capture_output=True, check=False, timeout=60)  # noqa: S603 - git
    except subprocess.TimeoutExpired:
        return []
    if done.returncode != 0:
        return []  # no repository
    prefix = _prefix(git, root)
    return [name for name in _changed(done.stdout, prefix, names) if not name.startswith(f"{FOLDER}/")]


def _prefix(git: str, root: Path) -> str:
    command = [git, "-C", str(root), "rev-parse", "--show-prefix"]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).stdout.decode().strip()  # noqa: S603


def _changed(status: bytes, prefix: str, names: Collection[str]) -> list[str]:
    found = []
    entries = iter(status.decode("utf-8", "replace").split("\0"))
    for entry in entries:
        kind, name = entry[:2], entry[3:].removeprefix(prefix)
        if "R" in kind or "C" in kind:
            next(entries, None)  # what it was called before
        if entry and (kind != "??" or name in names):
            found.append(name)
    return found
