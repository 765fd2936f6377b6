"""Does `phase1 patch` make the example from the plain legacy app, and are `patches/` its steps?"""

from __future__ import annotations

import subprocess
from pathlib import Path

from phase1.patchkit.hunks import unified_diff
from phase1.patchkit.journal import Journal
from phase1.patchkit.revert import revert
from tests.example import apps

from .trees import found, planned, told


def test_patching_the_plain_app_gives_the_example(tmp_path: Path) -> None:
    """Reversing `patches/*.patch` gives the plain app; patching that gives the example back, byte for byte."""
    plain = apps.make_plain(tmp_path)
    changes = planned(plain.parent).changes
    assert [change.source.name for change in changes] == ["legacy_main.py"]
    assert changes[0].after == apps.EXAMPLE.read_bytes()


def test_the_edits_are_the_patches(tmp_path: Path) -> None:
    """The added and removed lines are those of `patches/*.patch`, in their order."""
    plain = apps.make_plain(tmp_path)
    change = planned(plain.parent).changes[0]
    made = _lines(unified_diff("legacy_main.py", change.source.data, change.after).decode())
    steps = [line for patch in apps.PATCHES for line in _lines(patch.read_text(encoding="utf-8").partition("---\n")[2])]
    assert sorted(made) == sorted(steps)


def test_the_example_is_done(tmp_path: Path) -> None:
    """Nothing blocks in it, and nothing is left to edit."""
    example = apps.copy_of_example(tmp_path)
    assert told(found(example.parent)) == []
    assert planned(example.parent, unsafe=True).changes == ()


def test_git_takes_the_diff(tmp_path: Path) -> None:
    """What `--diff` prints is a patch for `git apply`."""
    plain = apps.make_plain(tmp_path)
    change = planned(plain.parent).changes[0]
    patch = tmp_path / "all.patch"
    patch.write_bytes(unified_diff("examples/legacy_main.py", change.source.data, change.after))
    subprocess.run(["git", "apply", str(patch)], cwd=tmp_path, check=True, timeout=60)
    assert plain.read_bytes() == apps.EXAMPLE.read_bytes()


def test_reverting_gives_the_plain_app_back(tmp_path: Path) -> None:
    """Patch, then revert: the bytes of the plain app."""
    plain = apps.make_plain(tmp_path)
    before = plain.read_bytes()
    Journal(plain.parent).write((one.source.name, one.source.data, one.after) for one in planned(plain.parent).changes)
    assert plain.read_bytes() != before
    assert [one.exact for one in revert(plain.parent)] == [True]
    assert plain.read_bytes() == before


def _lines(diff: str) -> list[str]:
    return [line for line in diff.splitlines() if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))]
